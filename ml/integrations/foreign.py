"""What the readers of other programs' runs share: settings that are data, bounded, and what is known of a run.

Whatever a program noted as a setting is a text, a number or a tree of them. A text that looks like an interpolation
is one all the same, ``${oc.env:HOME}`` too: nothing of the process that imports it gets into the run.
"""

import json
from collections.abc import Mapping
from typing import Literal, NamedTuple

from ml.core.plain import escaped
from ml.loggers.sources import Tell

MAX_DEPTH = 32
"""How deep settings, and names of values, may be nested."""

_MAX_SETTINGS_BYTES = 2**21  # as YAML that is less than what is read of a run's configuration
_MAX_INTERPOLATION_CHARACTERS = 2**16  # each costs whoever reads the configuration 10 us
_NODE_BYTES = 40  # so that there are up to 50,000, which take OmegaConf half a minute


class About(NamedTuple):
    """What a program noted of a run as a whole.

    Attributes:
        name: What it is called for people; empty where it has no name.
        status: How it ended.
        details: More of it, as JSON has it: ``project``, ``tags``, ``notes``, ``summary``.
    """

    name: str
    status: Literal["finished", "failed"]
    details: dict[str, object]


NOTHING_KNOWN = About("", "finished", {})


def literal_settings(settings: Mapping[str, object], what: str, tell: Tell) -> dict[str, object]:
    """Returns settings of which a configuration makes what they are, whatever interpolations they look like.

    Args:
        settings: As JSON, YAML or a protocol buffer has them.
        what: They are, for messages: ``"configuration of attempt 1"``.
        tell: Told what is left out: what is too deep, and texts that would take long to read; or all of it, if it is
            more than a run can keep.
    """
    copy = _Copy(what, tell)
    try:
        return copy.mapping(settings, ())
    except _TooLargeError:
        tell(f"The {what} is left out: it takes more than {_MAX_SETTINGS_BYTES} bytes.")
        return {}


class _TooLargeError(Exception):
    pass


class _Copy:
    """Copies settings, and counts what they take."""

    def __init__(self, what: str, tell: Tell) -> None:
        self._what, self._tell = what, tell
        self._left_bytes, self._left_characters = _MAX_SETTINGS_BYTES, _MAX_INTERPOLATION_CHARACTERS

    def mapping(self, node: Mapping[str, object], path: tuple[str, ...]) -> dict[str, object]:
        copy: dict[str, object] = {}
        for key, value in node.items():
            name = str(key)
            self._spend(name)
            if (reason := self._refusal(value, depth=len(path) + 1)) is None:
                copy[name] = self._value(value, (*path, name))
            else:
                self._tell_left_out((*path, name), reason)
        return copy

    def _value(self, node: object, path: tuple[str, ...]) -> object:
        if isinstance(node, Mapping):
            return self.mapping(node, path)
        if isinstance(node, list | tuple):
            copy: list[object] = []
            for index, item in enumerate(node):
                below = (*path, str(index))
                if (reason := self._refusal(item, depth=len(path) + 1)) is None:
                    copy.append(self._value(item, below))
                else:
                    self._tell_left_out(below, reason)
                    copy.append(None)
            return copy
        self._spend(node)
        return escaped(node) if isinstance(node, str) and "${" in node else node

    def _refusal(self, node: object, depth: int) -> str | None:
        if isinstance(node, Mapping | list | tuple) and depth >= MAX_DEPTH:
            return f"it is more than {MAX_DEPTH} levels deep"
        if isinstance(node, str) and "${" in node:
            if len(node) > self._left_characters:
                return f"texts with '${{' have up to {_MAX_INTERPOLATION_CHARACTERS} characters, all together"
            self._left_characters -= len(node)
        return None

    def _spend(self, leaf: object) -> None:
        size = len(leaf) if isinstance(leaf, str) else 0
        if size <= self._left_bytes:  # else its JSON is not worth its making
            size = len(json.dumps(leaf)) if isinstance(leaf, str) else 0
        self._left_bytes -= size + _NODE_BYTES
        if self._left_bytes < 0:
            raise _TooLargeError

    def _tell_left_out(self, path: tuple[str, ...], reason: str) -> None:
        name = ".".join(path)
        self._tell(f"'{name:.60}' of the {self._what} is left out: {reason}.")
