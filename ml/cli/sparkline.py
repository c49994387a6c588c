"""A curve in one line of text."""

import math
from array import array
from collections.abc import Sequence

_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_NON_FINITE, _ASCII_NON_FINITE = "×", "x"


def sparkline(steps: Sequence[int], values: Sequence[float], width: int, *, has_unicode: bool = True) -> str:
    """Returns a curve of up to ``width`` characters, lowest to highest finite value.

    There are no more characters than values. Each stands for as many steps as the
    others, however often was logged, and shows the mean of its values; a cross where
    all of those are NaN or infinite; and where there are none what stands before it.

    Args:
        steps: Where the values lie.
        values: Any numbers, as many.
        width: 1 or more.
        has_unicode: Whether block characters can be shown.
    """
    blocks, non_finite = (_BLOCKS, _NON_FINITE) if has_unicode else (_ASCII_BLOCKS, _ASCII_NON_FINITE)
    means = [_mean(part) for part in _parts(steps, values, min(width, len(values)))]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return non_finite * len(means)
    least, greatest = min(finite), max(finite)
    # Halves, since the distance of two large numbers may be infinite.
    extent = greatest / 2 - least / 2

    def block(mean: float) -> str:
        share = (mean / 2 - least / 2) / extent if extent else 0.5
        return blocks[min(len(blocks) - 1, int(share * len(blocks)))]

    return "".join(non_finite if mean is None else block(mean) for mean in means)


def _parts(steps: Sequence[int], values: Sequence[float], count: int) -> "list[array[float]]":
    parts = [array("d") for _ in range(count)]
    first, last = min(steps, default=0), max(steps, default=0)
    for step, value in zip(steps, values, strict=True):
        parts[(step - first) * count // (last - first + 1)].append(value)
    for number, part in enumerate(parts):
        parts[number] = part or parts[number - 1]  # the first has the first step
    return parts


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(value / len(finite) for value in finite) if finite else None
