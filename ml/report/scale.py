"""Where a number lies on an axis, which of them are written at it, and what colour stands for it. Pure functions."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ml.report.charts import Dimension

GOOD_TO_BAD = ((33, 113, 181), (122, 131, 140), (217, 95, 14))
"""RGB, what lies between them mixed: all can be seen on white and on black, and by who is colour-blind."""


_WIDE = 20
"""How many times the least value the greatest is where an axis is logarithmic."""

_APART = 0.08
_LEAST = 1e-300  # shorter ones could not be divided


class Limits(NamedTuple):
    """The ends of an axis; ``low < high``."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Returns how far along the axis a value lies, from 0 to 1."""
        # Halves, since the length of an axis may be more than a float can hold.
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)


def tight(values: Iterable[float], *, room: float = 0.0) -> Limits:
    """Returns an axis from the least to the greatest finite one of ``values``, and ``room`` more at both ends."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or max(finite) / 2 - min(finite) / 2 + room < _LEAST:
        return limits(finite)
    return Limits(min(finite) - room, max(finite) + room)


def limits(values: Iterable[float], *, from_zero: bool = False) -> Limits:
    """Returns an axis on which the finite ones of ``values`` have room, and 0 where it is not far away.

    Args:
        values: Any number.
        from_zero: Whether it holds 0 in any case.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Limits(0.0, 1.0)
    low, high = float(min(finite)), float(max(finite))
    if from_zero or 0 < low < 0.5 * high:
        low = min(low, 0.0)
    if from_zero or 0.5 * low < high < 0:
        high = max(high, 0.0)
    if high / 2 - low / 2 < _LEAST:
        room = abs(low) / 10 or 0.5
        low, high = low - room, high + room
    return Limits(low, high)


def ticks(axis: Limits, count: int, *, whole: bool = False) -> list[float]:
    """Returns round numbers on an axis, 1, 2 or 5 times a power of ten apart.

    Args:
        axis: Its ends.
        count: About how many, >= 2.
        whole: Whether all are whole numbers.
    """
    rough = axis.high / count - axis.low / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
    if whole:
        step = max(1.0, float(round(step)))
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [number * step for number in range(first, min(last, first + 10 * count) + 1)] or [axis.low, axis.high]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Returns what is written at ticks: with as many digits as tell them apart."""
    for digits in range(6, 17):
        texts = [f"{value + 0.0:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


class Placed(NamedTuple):
    """A dimension of which each value has its place.

    Attributes:
        shares: For each value how far up the axis it lies, 0 to 1; ``None`` where it has no place: it is not finite.
        marks: What is written at the axis: how far up, and the text.
    """

    shares: Sequence[float | None]
    marks: Sequence[tuple[float, str]]


def placed(dimension: Dimension, *, max_marks: int = 12) -> Placed:
    """Gives each value of a dimension its place: numbers by size, texts in the order in which they come."""
    numbers = [value for value in dimension.values if not isinstance(value, str | bool)]
    if len(numbers) == len(dimension.values):
        return _placed_numbers(numbers)
    names = list(dict.fromkeys(str(value) for value in dimension.values))
    place = {name: (number + 0.5) / len(names) for number, name in enumerate(names)}
    every = math.ceil(len(names) / max_marks)
    return Placed([place[str(value)] for value in dimension.values], [(place[name], name) for name in names[::every]])


def _placed_numbers(numbers: Sequence[float]) -> Placed:
    finite = [number for number in numbers if math.isfinite(number)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > _WIDE:  # a learning rate
        logs = _placed_numbers([math.log10(number) if 0 < number < math.inf else math.nan for number in numbers])
        low, high = math.log10(min(finite)), math.log10(max(finite))
        powers = range(math.ceil(low), math.floor(high) + 1)
        ends = [(0.0, f"{min(finite):.3g}"), (1.0, f"{max(finite):.3g}")]
        return Placed(logs.shares, _between(ends, [((n - low) / (high - low), f"{10.0**n:g}") for n in powers]))
    is_one = not finite or max(finite) / 2 - min(finite) / 2 < _LEAST
    axis = tight(finite)
    shares = [axis.share(number) if math.isfinite(number) else None for number in numbers]
    inner = ticks(axis, 4)
    ends = [(axis.share(value), f"{value:.4g}") for value in sorted(set(finite))[:: max(1, len(set(finite)) - 1)]]
    marks = [(axis.share(value), text) for value, text in zip(inner, tick_texts(inner), strict=True)]
    return Placed(shares, ends if is_one else _between(ends, marks))


def _between(ends: list[tuple[float, str]], marks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Returns the marks at both ends of an axis, and those between that do not run into them."""
    return sorted([*ends, *(mark for mark in marks if _APART < mark[0] < 1 - _APART)])


def colour(badness: float) -> tuple[int, int, int]:
    """Returns the RGB of what is good, 0, to what is bad, 1."""
    position = min(max(badness, 0.0), 1.0) * (len(GOOD_TO_BAD) - 1)
    index = min(int(position), len(GOOD_TO_BAD) - 2)
    between = position - index
    red, green, blue = (
        round(a + between * (b - a)) for a, b in zip(GOOD_TO_BAD[index], GOOD_TO_BAD[index + 1], strict=True)
    )
    return red, green, blue


def thinned(names: Sequence[str], count: int) -> list[tuple[int, str]]:
    """Returns every so many of ``names``, at most ``count``, each with its place."""
    every = max(1, math.ceil(len(names) / count))
    return [(place, name) for place, name in enumerate(names) if place % every == 0]


def cut(text: str, length: int) -> str:
    """Returns ``text``, at most ``length`` characters of it, with an ellipsis where there were more."""
    return text if len(text) <= length else text[: length - 1] + "…"
