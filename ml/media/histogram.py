"""Bins numbers of any range and dtype, in C and in chunks, so that other threads go on."""

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array

Floats: TypeAlias = npt.NDArray[np.float64]

# Large enough that the interpreter lock is asked for seldom, small enough that np.bincount, which keeps it, takes
# less than a millisecond.
_CHUNK = 2**18


class Histogram(NamedTuple):
    """Equally wide bins over the finite values of an array, and what they do not show.

    ``count + nan + pos_inf + neg_inf`` is the number of values represented. With no
    finite value, ``min``, ``max``, ``mean`` and ``std`` are NaN and the edges run from 0 to 1.

    Attributes:
        counts: int64 (bins,), values in each bin; sums to ``count``.
        edges: float64 (bins + 1,), ascending, from ``min`` to ``max``. A bin includes its
            left edge, the last also its right one. Equal values have edges around them.
        count: Finite values.
        min: The smallest finite value.
        max: The largest finite value.
        mean: Of the finite values.
        std: Of the finite values, divided by their number.
        nan: How many are NaN.
        pos_inf: How many are +inf.
        neg_inf: How many are -inf.
    """

    counts: npt.NDArray[np.int64]
    edges: Floats
    count: int  # type: ignore[assignment]  # tuple.count, which nobody asks here
    min: float
    max: float
    mean: float
    std: float
    nan: int
    pos_inf: int
    neg_inf: int


def histogram(values: object, *, total: int | None = None, bins: int = 64) -> Histogram:
    """Returns the histogram of an array.

    Args:
        values: Any shape, and any dtype of bools, integers or floats; computed in
            float64. Not empty.
        total: How many values these stand for, if they are a sample of more: all
            counts are scaled to sum to it exactly.
        bins: At least 1.

    Raises:
        LogValueError: There are no values, or they are complex or no numbers;
            ``total`` is less than there are; ``bins`` is below 1.
    """
    array = as_array(values).reshape(-1)
    if not array.size:
        raise LogValueError("a histogram holds at least one value, got an empty array", "Skip empty arrays.")
    if bins < 1:
        raise LogValueError(f"a histogram has at least 1 bin, got {bins}", "Raise the number of bins.")
    total = array.size if total is None else total
    if total < array.size:
        raise LogValueError(f"{array.size} values cannot stand for {total}", "Pass the number of all values as total.")

    low, high, outside = _range(array)
    if low > high:  # nothing is finite
        counts, edges, mean, std = np.zeros(bins, np.int64), np.linspace(0.0, 1.0, bins + 1), math.nan, math.nan
        low = high = math.nan
    elif low == high:
        counts, edges, mean, std = np.zeros(bins, np.int64), _edges(*_around(low), bins), low, 0.0
        counts[bins // 2] = array.size - sum(outside)
    else:
        counts, mean, std = _binned(array, low, high, bins, has_outside=any(outside))
        edges = _edges(low, high, bins)
    if total > array.size:
        *scaled, nan, pos_inf, neg_inf = _apportioned([*counts.tolist(), *outside], total)
        counts, outside = np.array(scaled, np.int64), (nan, pos_inf, neg_inf)
    return Histogram(counts, edges, int(counts.sum()), low, high, mean, std, *outside)


def histogram_from(counts: npt.ArrayLike, edges: npt.ArrayLike, *, max_bins: int) -> Histogram:
    """Returns the histogram of which somebody else kept the bins alone.

    Mean and deviation are those of the centres of the bins; NaN where nothing was counted.

    Args:
        counts: Shape (bins,), values in each bin; rounded to whole numbers.
        edges: Shape (bins + 1,), finite, in ascending order; bins may differ in width.
        max_bins: More are refused.

    Raises:
        ValueError: These are no counts and edges of 1 to ``max_bins`` bins.
    """
    numbers, ends = np.asarray(counts, np.float64), np.asarray(edges, np.float64)
    if numbers.ndim != 1 or not 0 < len(numbers) <= max_bins or ends.shape != (len(numbers) + 1,):
        raise ValueError(f"a histogram has 1 to {max_bins} bins, and one edge more; got {numbers.shape}, {ends.shape}")
    if not np.isfinite(ends).all() or (ends[1:] < ends[:-1]).any():
        raise ValueError("the edges of a histogram are finite, and in order")
    if not ((numbers >= 0) & (numbers < 2.0**63)).all():
        raise ValueError("the counts of a histogram are not below 0, and have 64 bits")
    numbers = np.rint(numbers)
    whole = numbers.astype(np.int64)
    mean = deviation = math.nan
    if numbers.any():
        exponent = math.frexp(float(np.abs(ends).max()))[1] + 1  # so that nothing overflows
        scaled = np.ldexp(ends, -exponent)
        centers = (scaled[:-1] + scaled[1:]) / 2
        mean = float(np.average(centers, weights=numbers))
        deviation = math.sqrt(float(np.average((centers - mean) ** 2, weights=numbers)))
        mean, deviation = math.ldexp(mean, exponent), math.ldexp(deviation, exponent)
    low, high = float(ends[0]), float(ends[-1])
    return Histogram(whole, ends, sum(whole.tolist()), low, high, mean, deviation, 0, 0, 0)


def coarsened(counts: npt.NDArray[np.int64], edges: Floats, max_bins: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Returns at most ``max_bins`` bins, each of as many neighbours as are needed for that; the last one of the rest.

    Args:
        counts: Shape (bins,).
        edges: Shape (bins + 1,).
        max_bins: At least 1.
    """
    starts = np.arange(0, len(counts), -(-len(counts) // max_bins))
    return np.add.reduceat(counts, starts), np.append(edges[starts], edges[-1])


def _chunks(array: Array, *, only_finite: bool) -> Iterator[Floats]:
    """Yields private float64 copies of parts of an array."""
    for start in range(0, array.size, _CHUNK):
        with np.errstate(over="ignore"):  # beyond float64 is infinite
            chunk = array[start : start + _CHUNK].astype(np.float64)
        yield chunk[np.isfinite(chunk)] if only_finite else chunk


def _range(array: Array) -> tuple[float, float, tuple[int, int, int]]:
    """Returns the smallest and largest finite value, and how many are NaN, +inf and -inf.

    With no finite value the smallest is inf, the largest -inf.
    """
    low, high, nan, pos_inf, neg_inf = math.inf, -math.inf, 0, 0, 0
    for chunk in _chunks(array, only_finite=False):
        chunk_low, chunk_high = float(chunk.min()), float(chunk.max())
        if not (math.isfinite(chunk_low) and math.isfinite(chunk_high)):
            nan += int(np.count_nonzero(np.isnan(chunk)))
            pos_inf += int(np.count_nonzero(chunk == np.inf))
            neg_inf += int(np.count_nonzero(chunk == -np.inf))
            finite = np.isfinite(chunk)
            chunk_low = float(np.min(chunk, where=finite, initial=np.inf))
            chunk_high = float(np.max(chunk, where=finite, initial=-np.inf))
        low, high = min(low, chunk_low), max(high, chunk_high)
    return low, high, (nan, pos_inf, neg_inf)


def _binned(
    array: Array, low: float, high: float, bins: int, *, has_outside: bool
) -> tuple[npt.NDArray[np.int64], float, float]:
    """Returns the counts, mean and standard deviation of the finite values.

    All is computed on positions in [0, 1]: nothing overflows, and since both ends
    are taken, their squares do not cancel out.
    """
    scale = 1.0 if math.isfinite(high - low) else 0.5
    offset, width = low * scale, high * scale - low * scale
    counts = np.zeros(bins, np.int64)
    count, total, squares = 0, 0.0, 0.0
    for chunk in _chunks(array, only_finite=has_outside):
        if scale != 1.0:
            chunk *= scale
        chunk -= offset
        chunk /= width
        count += chunk.size
        total += float(chunk.sum())
        squares += float(np.square(chunk).sum())
        chunk *= bins
        indices = chunk.astype(np.intp)
        np.minimum(indices, bins - 1, out=indices)  # the largest value
        counts += np.bincount(indices, minlength=bins)
    mean = total / count
    deviation = math.sqrt(max(0.0, squares / count - mean * mean))
    return counts, low * (1 - mean) + high * mean, width * (deviation / scale)


def _edges(low: float, high: float, bins: int) -> Floats:
    position = np.arange(bins + 1) / bins
    edges = low * (1 - position) + high * position  # high - low may be infinite
    edges[0], edges[-1] = low, high
    return np.clip(np.maximum.accumulate(edges), low, high)


def _around(value: float) -> tuple[float, float]:
    """Returns a range around one value: 1 wide, or wider where floats are so sparse that 64 edges would coincide."""
    half = max(0.5, abs(value) * 2.0**-40)
    largest = float(np.finfo(np.float64).max)
    return max(value - half, -largest), min(value + half, largest)


def _apportioned(counts: list[int], total: int) -> list[int]:
    """Scales counts to sum to ``total``, by largest remainder."""
    size = sum(counts)
    shares = [divmod(count * total, size) for count in counts]
    scaled = [share for share, _ in shares]
    by_remainder = sorted(range(len(counts)), key=lambda index: -shares[index][1])
    for index in by_remainder[: total - sum(scaled)]:
        scaled[index] += 1
    return scaled
