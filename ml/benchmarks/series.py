"""A time series that is still growing: two numbers a sample, sixteen bytes, until somebody asks for them."""

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from ml.benchmarks.measurement import Sample


class Series(Sequence[Sample]):
    """The samples of a call, in order; each is made when it is asked for.

    Of a long call the supervisor takes what there is now and then, and hands it on: as a sequence this holds what was
    not yet taken.

    Attributes:
        added: How many samples there were.
        highest: The largest value of them; minus infinity before the first.
        total: The sum of their values.
    """

    def __init__(self) -> None:
        self._at_s, self._values = array("d"), array("d")
        self.added, self.highest, self.total = 0, -math.inf, 0.0

    def add(self, at_s: float, value: float) -> None:
        """Appends a sample."""
        self._at_s.append(at_s)
        self._values.append(value)
        self.added += 1
        self.total += value
        self.highest = max(self.highest, value)

    def take(self) -> list[Sample]:
        """Returns the samples, and forgets them."""
        taken = list(self)
        self._at_s, self._values = array("d"), array("d")
        return taken

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self._at_s, self._values)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return list(map(Sample, self._at_s[index], self._values[index]))
        return Sample(self._at_s[index], self._values[index])
