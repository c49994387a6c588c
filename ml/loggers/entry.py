"""One call of a ``log_*`` method, as it waits for the step to end."""

import os
from typing import NamedTuple

from ml.core.errors import LogValueError
from ml.core.state import Phase
from ml.loggers.kinds import Kind
from ml.loggers.reduce import ACROSS_RANKS, REDUCES, AcrossRanks, Reduce, ReduceOptions

Ident = tuple[Kind, str, str]
"""``(kind, namespace, key)``: what makes two values the same series."""


class Held(NamedTuple):
    """What is known of a value that is no callable: who logged it, and its version at that time."""

    origin: str
    version: object


Entry = tuple[Ident, object, object, Held | None]
"""``(ident, value or callable, options, held)``: one call of a ``log_*`` method."""


def shown(value: object) -> str:
    """Returns how a value is shown in a message, also one that cannot be shown."""
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__name__}"


def is_sound(options: object) -> bool:
    """Returns whether a value cannot fail by its options alone, in any phase."""
    if type(options) is not ReduceOptions:
        return True
    reduce, weight, across_ranks = options
    return (
        (type(weight) is float or type(weight) is int)
        and weight >= 0
        and (reduce is None or (across_ranks is None and reduce in REDUCES))
        and (across_ranks is None or across_ranks in ACROSS_RANKS)
    )


def reduce_of(entry: Entry, phase: Phase) -> Reduce | None:
    """Returns how a value is reduced over its window; ``None``: not at all."""
    if not entry[0][0].reducible:
        return None
    options = entry[2] if isinstance(entry[2], ReduceOptions) else ReduceOptions()
    if phase == "train":
        return None if options.reduce == "last" else options.reduce
    return options.reduce or options.across_ranks or "mean"


def across_ranks_of(entry: Entry, phase: Phase) -> AcrossRanks | None:
    """Returns how a value is reduced over the ranks; ``None``: not at all.

    Raises:
        LogValueError: In no way that there is.
    """
    options = entry[2]
    if not isinstance(options, ReduceOptions) or options.across_ranks is None:
        return None
    if options.across_ranks not in ACROSS_RANKS:
        raise LogValueError(f"across_ranks is one of {', '.join(ACROSS_RANKS)}, got {options.across_ranks!r}")
    if phase == "train" and options.reduce is not None:
        raise LogValueError(
            f"in training it is reduced over steps or over ranks, got reduce={options.reduce!r} and"
            f" across_ranks={options.across_ranks!r}",
            "Leave one of them out, or log two keys.",
        )
    return options.across_ranks


def origin_of(entry: Entry) -> str:
    """Returns ``file.py:line`` of the callable, or of the line that logged the value."""
    value, held = entry[1], entry[3]
    code = getattr(value, "__code__", None)
    if code is not None:
        return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    return os.path.basename(held.origin) if held is not None else ""
