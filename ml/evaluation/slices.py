"""Parts of the samples that have something in common: a value of a column, or that it lies in the same quantile."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ml.core.errors import ConfigError
from ml.evaluation.columns import ColumnKind
from ml.evaluation.judging import boxes_of

BINS: Final = 4
MAX_WHOLE: Final = 12
"""Different whole numbers up to which each is a slice of its own."""

MISSING: Final = "missing"


class Slice(NamedTuple):
    """Some samples.

    Attributes:
        name: What they have in common: ``"cat"``, ``"0.25 to 0.5"``, ``"missing"``.
        members: Their positions among all, ascending.
    """

    name: str
    members: tuple[int, ...]


def slices(values: Sequence[object], kind: ColumnKind | None, *, bins: int = BINS) -> list[Slice]:
    """Returns the slices of samples by a column: each sample is in one of them.

    Texts and booleans are a slice a value, whole numbers too if there are ``MAX_WHOLE`` different ones or fewer. Other
    numbers and moments are put in ``bins`` of about equal size, between quantiles; equal ones stay together, so there
    may be fewer. Boxes count. ``None`` and NaN are ``"missing"``, the last slice.

    Args:
        values: One a sample.
        kind: Of the column.
        bins: >= 1.

    Raises:
        ConfigError: ``bins`` is below 1, or values of this kind have no order and are never equal.
    """
    if bins < 1:
        raise ConfigError(f"bins is 1 or more, got {bins!r}.")
    if kind not in ("string", "boolean", "integer", "number", "timestamp", "boxes", None):
        raise ConfigError(f"Slices are by texts, numbers, moments or boxes, not by values of kind {kind}.")
    if kind == "boxes":
        values = [None if (boxes := boxes_of(value)) is None else len(boxes) for value in values]
    members = defaultdict[object, list[int]](list)
    missing = list[int]()
    for position, value in enumerate(values):
        (missing if value is None or value != value else members[value]).append(position)
    found = _categories(members) if _are_categories(members, kind) else _quantiles(members, bins)
    return [*found, *([Slice(MISSING, tuple(missing))] if missing else [])]


def _are_categories(members: dict[object, list[int]], kind: ColumnKind | None) -> bool:
    return kind in ("string", "boolean") or (kind in ("integer", "boxes") and len(members) <= MAX_WHOLE)


def _categories(members: dict[object, list[int]]) -> list[Slice]:
    return [Slice(_text(value), tuple(members[value])) for value in _sorted(members)]


def _quantiles(members: dict[object, list[int]], bins: int) -> list[Slice]:
    """Returns slices whose ends are the values that are there: bin b ends with the first value that b/bins reach."""
    total = sum(map(len, members.values()))
    found, inside, below = list[Slice](), list[object](), 0
    for value in _sorted(members):
        before, below = below, below + len(members[value])
        # The value's share reaches past the end of a bin: it is the last one of it.
        is_last = before * bins // total < below * bins // total
        inside.append(value)
        if is_last:
            positions = sorted(position for one in inside for position in members[one])
            ends = dict.fromkeys((_text(inside[0]), _text(inside[-1])))
            found.append(Slice(" to ".join(ends), tuple(positions)))
            inside = []
    return found


def _sorted(members: dict[object, list[int]]) -> list[object]:
    return sorted(members)  # type: ignore[type-var]  # of one kind, so they have an order


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
