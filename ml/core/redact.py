"""Takes secrets out of configuration, command lines and text, before anything is written.

A secret is known by the name that it stands under (``ml.core.secret_names``), by its
place or form in a text (``ml.core.secret_text``), or by its value: what the
environment, the command line and the configuration have under a secret's name is
taken out wherever it appears, also as base64, as hexadecimal digits, percent-encoded
or with escapes. In its stead stands ``***``.
"""

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus, unquote

from omegaconf import DictConfig

from ml.core.plain import Plain, escaped, plain_mapping, resolved_mapping
from ml.core.secret_names import is_secret, secrecy
from ml.core.secret_text import PIECE_LENGTH, Span, secrets_in

__all__ = ["MASK", "Redactor", "is_secret"]

MASK = "***"

_MIN_VALUE_LENGTH = 8  # a shorter value, such as 1 or test, would be found everywhere
_MIN_LINE_LENGTH = 16
_SHELL_DIRECTORIES = ("PWD", "OLDPWD")
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_SETTING = re.compile(r"[-+~]{0,2}(?P<name>[\w.-]{1,100})=(?P<value>[^{\[].*)", re.DOTALL)
_ARGUMENT = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]{1,100})["']?[ \t]{0,8}[:=][ \t]{0,8}["']?(?P<value>[^\s,;&"'{}\[\]]+)"""
)


class Redactor:
    """Takes secrets out; knows the values of those that it was told of.

    Asking changes nothing: what ``learn_config`` and ``learn_argv`` are given is known from then on.

    Args:
        environ: Variables. The values of those with a secret's name, from 8
            characters on, are taken out wherever they appear; so are passwords in URLs.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._known: frozenset[str] = frozenset()
        self._needles: tuple[str, ...] = ()
        self._longest = 0
        directories = [environ.get(name) for name in _SHELL_DIRECTORIES]
        named = [(name, value) for name, value in environ.items() if value not in directories]
        self._learn(value for name, value in named if is_secret(name, value))
        self._learn(secret for _, value in named if "://" in value for secret in _found(value))

    def learn_config(self, config: object) -> None:
        """Takes the secrets of a configuration out of every text from now on: what stands under a secret's name.

        Single words, such as ``kerberos`` under ``auth``, are not taken out of other texts.

        Args:
            config: What ``redact_config`` takes.
        """
        plain = resolved_mapping(plain_mapping(config))
        self._learn(secret for name, secret in _secret_settings(plain, "") if not _is_word(name, secret))
        self._learn(secret for text in _strings(plain) for secret in _found(text) if not secret.isalpha())

    def learn_argv(self, argv: Sequence[str]) -> None:
        """Takes the secrets of a command line out of every text from now on, except for single words."""
        found = (argument[start:end] for argument, spans in _secrets_of_argv(argv) for start, end in spans)
        self._learn(part for secret in found for part in _parts(secret) if not part.isalpha())

    def redact_text(self, text: str, breathe: Callable[[], None] | None = None) -> str:
        """Returns any text without its secrets: a patch, a traceback, a URL, a logged string.

        Args:
            text: Any text; the time grows with its length.
            breathe: Called at least every few milliseconds while it is looked through.
        """
        return _masked_text(text, [*self._known_in(text, breathe), *secrets_in(text, breathe)])

    def redact_argv(self, argv: Sequence[str]) -> list[str]:
        """Returns a command line without the values of ``--api-key X``, ``--api-key=X`` and ``db.api_key=X``."""
        return [
            _masked_text(argument, [*self._known_in(argument, None), *spans])
            for argument, spans in _secrets_of_argv(argv)
        ]

    def redact_config(self, config: object) -> DictConfig:
        """Returns a copy of a configuration that holds no secret, and that nothing fails to read.

        Interpolations are resolved; one that cannot be stays as its text. A missing
        value stays ``???``. A value that no configuration can hold becomes its text.

        Args:
            config: A mapping, a DictConfig, or an object with attributes, such as a
                dataclass or an ``argparse.Namespace``. ``None`` stands for an empty one.
        """
        # Masked first: what an interpolation carries elsewhere is then the mask.
        masked = self._masked(plain_mapping(config), under="")
        assert isinstance(masked, dict), "a mapping stays one"
        return DictConfig(self._texts(resolved_mapping(masked)))

    def _learn(self, values: Iterable[str]) -> None:
        found = {value.strip() for value in values}
        lines = {line.strip() for value in found for line in value.splitlines() if not line.startswith("-----")}
        known = {value for value in found if len(value) >= _MIN_VALUE_LENGTH}
        known |= {line for line in lines if len(line) >= _MIN_LINE_LENGTH}
        if not known <= self._known:
            self._known |= known
            # Replaced as a whole: a backend's thread may be reading it.
            forms = {form for value in self._known for form in _forms(value)}
            self._longest = max(map(len, forms))
            self._needles = tuple(sorted(forms))

    def _known_in(self, text: str, breathe: Callable[[], None] | None) -> Iterator[Span]:
        needles, longest = self._needles, self._longest
        for start in range(0, len(text), PIECE_LENGTH):
            stop = start + PIECE_LENGTH + longest
            for needle in needles:
                at = text.find(needle, start, stop)
                while at >= 0:
                    yield at, at + len(needle)
                    at = text.find(needle, at + 1, stop)
            if breathe is not None:
                breathe()

    def _masked(self, node: Plain, under: str) -> Plain:
        if isinstance(node, dict):
            labelled = _labelled(node)
            return {
                self.redact_text(key) if isinstance(key, str) else key: self._masked(
                    value, str(key) if is_secret(str(key), "text") else labelled if key == "value" else under
                )
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [self._masked(value, under) for value in node]
        return MASK if under and is_secret(under, node) else node

    def _texts(self, node: Plain) -> Plain:
        if isinstance(node, dict):
            return {key: self._texts(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._texts(value) for value in node]
        return escaped(self.redact_text(node)) if isinstance(node, str) else node


def _masked_text(text: str, spans: list[Span]) -> str:
    """Returns text with the mask in the place of secrets; those that overlap are one."""
    if not spans:
        return text
    parts: list[str] = []
    done = -1
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[max(done, 0) : start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])


def _found(text: str) -> Iterator[str]:
    """Yields the secrets in a text, as they may stand in others."""
    for start, end in secrets_in(text):
        yield from _parts(text[start:end])


def _parts(secret: str) -> Iterator[str]:
    """Yields a secret; of ``user:password`` also the password; and what they stand for if they are percent-encoded."""
    password = secret.partition(":")[2]
    yield from {secret, password, unquote(secret), unquote(password)}


def _forms(value: str) -> Iterator[str]:
    """Yields how a text may be written inside of others."""
    data = value.encode("utf-8", "surrogatepass")
    escaped = json.dumps(value)[1:-1]
    yield from (value, quote(value, safe="", errors="replace"), quote(value, errors="replace"))
    yield from (quote_plus(value, errors="replace"), html.escape(value), data.hex(), data.hex().upper())
    yield from (escaped, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(escaped)[1:-1], repr(value)[1:-1])
    for before in range(3):  # what base64 makes of a text depends on where it begins; its ends, on what is beside it
        encoded = base64.b64encode(b"\0" * before + data)
        inner = encoded[(0, 2, 3)[before] : (before + len(data)) * 8 // 6].decode("ascii")
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))


def _secrets_of_argv(argv: Sequence[str]) -> Iterator[tuple[str, list[Span]]]:
    """Yields each argument, and where its secrets are."""
    flag = ""
    for argument in argv:
        is_flag = _FLAG.fullmatch(argument) is not None
        setting = _SETTING.fullmatch(argument)
        if flag and not is_flag and is_secret(flag, argument):
            yield argument, [(0, len(argument))]
        elif setting is not None and is_secret(setting["name"], setting["value"].strip("\"'")):
            yield argument, [_unquoted(argument, setting.span("value"))]
        else:
            named = (match for match in _ARGUMENT.finditer(argument) if is_secret(match["name"], match["value"]))
            yield argument, [*(match.span("value") for match in named), *secrets_in(argument)]
        flag = argument if is_flag else ""


def _unquoted(text: str, span: Span) -> Span:
    start, end = span
    is_quoted = end - start > 1 and text[start] in "\"'" and text[end - 1] == text[start]
    return (start + 1, end - 1) if is_quoted else span


def _secret_settings(node: Plain, under: str) -> Iterator[tuple[str, str]]:
    """Yields ``(name, text)`` of the settings that stand under a secret's name, at whatever depth."""
    if isinstance(node, dict):
        labelled = _labelled(node)
        for key, value in node.items():
            name = str(key) if is_secret(str(key), "text") else labelled if key == "value" else under
            yield from _secret_settings(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _secret_settings(value, under)
    elif under and is_secret(under, node):
        yield under, str(node)


def _labelled(node: Mapping[str | int | float | bool, Plain]) -> str:
    """Returns the name that a setting ``{name: API_KEY, value: x}`` gives to its value, if a secret has it."""
    name = node.get("name", node.get("key"))
    return name if isinstance(name, str) and is_secret(name, "text") else ""


def _strings(node: Plain) -> Iterator[str]:
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node


def _is_word(name: str, value: str) -> bool:
    """Whether a value would be taken out of ordinary sentences: a word, under a name that leaves doubt."""
    return value.isalpha() and (secrecy(name) != "certain" or is_secret(value, "text"))
