"""One call of a ``log_*`` method, as it waits for the step to end."""

import os
from typing import NamedTuple

from ml.core.state import Phase
from ml.loggers.kinds import Kind
from ml.loggers.reduce import Reduce, ReduceOptions

Ident = tuple[Kind, str, str]
"""``(kind, namespace, key)``: what makes two values the same series."""


class Held(NamedTuple):
    """What is known of a value that is no callable: who logged it, and its version at that time."""

    origin: str
    version: object


Entry = tuple[Ident, object, object, Held | None]
"""``(ident, value or callable, options, held)``: one call of a ``log_*`` method."""


def reduce_of(entry: Entry, phase: Phase) -> Reduce | None:
    """Returns how a value is reduced over its window; ``None``: not at all."""
    if not entry[0][0].reducible:
        return None
    asked = entry[2].reduce if isinstance(entry[2], ReduceOptions) else None
    if phase == "train":
        return None if asked == "last" else asked
    return asked or "mean"


def origin_of(entry: Entry) -> str:
    """Returns ``file.py:line`` of the callable, or of the line that logged the value."""
    value, held = entry[1], entry[3]
    code = getattr(value, "__code__", None)
    if code is not None:
        return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    return os.path.basename(held.origin) if held is not None else ""
