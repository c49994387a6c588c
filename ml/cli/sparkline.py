"""A curve in one line of text."""

import itertools
import math
from collections.abc import Sequence

_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_NON_FINITE, _ASCII_NON_FINITE = "×", "x"


def sparkline(values: Sequence[float], width: int, *, has_unicode: bool = True) -> str:
    """Returns a curve of up to ``width`` characters, lowest to highest finite value.

    Values are taken in their order; where there are more than characters, one
    shows the mean of its neighbours. Where all of those are NaN or infinite stands
    a cross.

    Args:
        values: Any numbers.
        width: 1 or more.
        has_unicode: Whether block characters can be shown.
    """
    blocks, non_finite = (_BLOCKS, _NON_FINITE) if has_unicode else (_ASCII_BLOCKS, _ASCII_NON_FINITE)
    means = [_mean(part) for part in _parts(values, min(width, len(values)))]
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


def _parts(values: Sequence[float], count: int) -> list[Sequence[float]]:
    bounds = [len(values) * number // count for number in range(count + 1)] if count else []
    return [values[start:stop] for start, stop in itertools.pairwise(bounds)]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(value / len(finite) for value in finite) if finite else None
