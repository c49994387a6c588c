"""A curve of any length in as many points as a picture has columns: the least and the greatest of each column.

It takes samples as they come, in bounded memory, and need not know how many there will be, or until when: when they
reach beyond the last column, each two become one, and a column is twice as wide.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

COLUMNS = 1000
_BEYOND_S = 1e300  # no clock tells it, and no two of them could be subtracted


class Outline(NamedTuple):
    """What is drawn of a time series.

    Attributes:
        at_s: Shape (N,), N <= 4 * columns, not falling.
        values: Shape (N,): all samples, if they are as few; else the least and the greatest of each column in the
            order in which they came, NaN where a column has samples and none that is finite.
        num_samples: How many samples there were.
    """

    at_s: np.ndarray
    values: np.ndarray
    num_samples: int


class Decimator:
    """Keeps the outline of one series.

    Args:
        columns: At least so many the series is divided into, once it is long; at most twice as many.
    """

    def __init__(self, columns: int = COLUMNS) -> None:
        self._columns = columns
        self._count = 0
        self._first: list[tuple[np.ndarray, np.ndarray]] = []
        self._start_s = self._width_s = 0.0
        empty = np.full(2 * columns, np.nan)
        self._low, self._high, self._low_at, self._high_at = empty, empty.copy(), empty.copy(), empty.copy()
        self._seen = np.zeros(2 * columns, dtype=bool)

    def add(self, at_s: np.ndarray, values: np.ndarray) -> None:
        """Takes samples.

        Args:
            at_s: Shape (N,); what is not finite, or beyond 1e300, has no place. What comes before the first is drawn
                there.
            values: Shape (N,). What is not finite is a gap.
        """
        self._count += len(values)
        has_place = np.abs(at_s) < _BEYOND_S
        at_s, values = at_s[has_place], values[has_place]
        if not len(values):
            return
        if self._width_s:
            self._fold(at_s, values)
            return
        self._first.append((at_s, values))
        if sum(len(chunk) for chunk, _ in self._first) > 4 * self._columns:
            self._start_s = float(self._first[0][0][0])
            last_s = float(max(chunk.max() for chunk, _ in self._first))
            self._width_s = max((last_s - self._start_s) / self._columns, 1e-9)
            for chunk in self._first:
                self._fold(*chunk)
            self._first.clear()

    def outline(self) -> Outline:
        """Returns what is drawn of the samples so far."""
        if not self._width_s:
            at_s, values = (np.concatenate([chunk[part] for chunk in self._first] or [np.empty(0)]) for part in (0, 1))
            order = np.argsort(at_s, kind="stable")
            return Outline(at_s[order], np.where(np.isfinite(values), values, np.nan)[order], self._count)
        columns = np.flatnonzero(self._seen)
        middle = self._start_s + (columns + 0.5) * self._width_s
        at_s = np.stack([self._low_at[columns], self._high_at[columns]])
        at_s = np.where(np.isnan(at_s), middle, at_s)
        values = np.stack([self._low[columns], self._high[columns]])
        order = np.argsort(at_s, axis=0, kind="stable")
        at_s, values = np.take_along_axis(at_s, order, 0).T.ravel(), np.take_along_axis(values, order, 0).T.ravel()
        return Outline(at_s, values, self._count)

    def _fold(self, at_s: np.ndarray, values: np.ndarray) -> None:
        while float(at_s.max()) - self._start_s >= self._width_s * len(self._low):
            self._halve()
        passed_s = np.maximum(at_s - self._start_s, 0)  # first, as far back may be more columns than a float can count
        places = np.minimum(passed_s / self._width_s, len(self._low) - 1).astype(np.int64)
        order = np.lexsort((values, places))  # by column, then by value; NaN last
        places, at_s, values = places[order], at_s[order], values[order]
        self._seen[places] = True
        is_finite = np.isfinite(values)
        places, at_s, values = places[is_finite], at_s[is_finite], values[is_finite]
        if not len(places):
            return
        starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]])
        ends = np.r_[starts[1:], len(places)] - 1
        columns = places[starts]
        low, high = values[starts], values[ends]
        is_lower = ~(self._low[columns] <= low)  # also where there is none yet
        is_higher = ~(self._high[columns] >= high)
        self._low[columns[is_lower]], self._low_at[columns[is_lower]] = low[is_lower], at_s[starts][is_lower]
        self._high[columns[is_higher]], self._high_at[columns[is_higher]] = high[is_higher], at_s[ends][is_higher]

    def _halve(self) -> None:
        """Makes one column of each two."""
        half = self._columns
        takes_second = ~(self._low[0::2] <= self._low[1::2]) & ~np.isnan(self._low[1::2])
        low = np.where(takes_second, self._low[1::2], self._low[0::2])
        low_at = np.where(takes_second, self._low_at[1::2], self._low_at[0::2])
        takes_second = ~(self._high[0::2] >= self._high[1::2]) & ~np.isnan(self._high[1::2])
        high = np.where(takes_second, self._high[1::2], self._high[0::2])
        high_at = np.where(takes_second, self._high_at[1::2], self._high_at[0::2])
        seen = self._seen[0::2] | self._seen[1::2]
        for kept, new in (
            (self._low, low), (self._low_at, low_at), (self._high, high), (self._high_at, high_at)
        ):  # fmt: skip
            kept[:half], kept[half:] = new, np.nan
        self._seen[:half], self._seen[half:] = seen, False
        self._width_s *= 2


def decimated(chunks: Iterable[tuple[Sequence[float], Sequence[float]]], columns: int = COLUMNS) -> Outline:
    """Returns what is drawn of a series.

    Args:
        chunks: Times and values, some thousand at a time, as ``Benchmarks.sample_columns`` has them. Read once.
        columns: As ``Decimator`` takes them.
    """
    decimator = Decimator(columns)
    for at_s, values in chunks:
        decimator.add(np.asarray(at_s, dtype=np.float64), np.asarray(values, dtype=np.float64))
    return decimator.outline()
