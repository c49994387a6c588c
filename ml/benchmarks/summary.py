"""What many calls amount to: count, median, mean, spread and ends, of each thing that was measured of each function."""

import math
import statistics
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ml.benchmarks.reading import StoredMeasurement

_HUGE = 1e150  # from here on a square is more than a float can hold


class Subject(NamedTuple):
    """What numbers of a run are of; all ranks together.

    Attributes:
        uuid: Of the run.
        type: What was measured.
        description: What the user called it.
        method: The function; ``""`` of a tracker.
        unit: Of the numbers.
        source: Where they come from.
    """

    uuid: str
    type: str
    description: str
    method: str
    unit: str
    source: str


class Summary(NamedTuple):
    """What the measurements of one subject amount to.

    Attributes:
        subject: What they are of.
        values: The numbers of all calls that returned, in order.
        failed: How many calls raised; their numbers are not among ``values``.
        missing: How many measurements have no number, such as an energy that nobody could tell.
        reason: Why the first of those has none, or what the numbers were estimated from.
        error: What the first of the failed calls raised.
    """

    subject: Subject
    values: "array[float]"
    failed: int
    missing: int
    reason: str
    error: str

    @property
    def finite(self) -> "array[float]":
        """Those of the numbers that are finite."""
        return array("d", filter(math.isfinite, self.values))

    @property
    def median(self) -> float | None:
        """``None`` where there is no number, as of the others. NaN is left out, unless there is nothing else."""
        if not (ordered := sorted(self._comparable)):
            return None
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return low if low == high else low / 2 + high / 2  # as the sum may be more than a float can hold

    @property
    def mean(self) -> float | None:
        """Arithmetic, of those that are finite."""
        finite = self.finite
        if not finite:
            return None
        try:
            return math.fsum(finite) / len(finite)
        except OverflowError:  # of the sum
            return math.fsum(value / len(finite) for value in finite)

    @property
    def stdev(self) -> float | None:
        """Of a sample, of those that are finite: ``None`` of fewer than two."""
        finite = self.finite
        if len(finite) < 2:
            return None
        scale = max(map(abs, finite)) if max(map(abs, finite)) > _HUGE else 1.0
        return scale * statistics.stdev(value / scale for value in finite)

    @property
    def low(self) -> float | None:
        """The least; NaN is left out, unless there is nothing else."""
        return min(self._comparable, default=None)

    @property
    def high(self) -> float | None:
        """The greatest; NaN is left out, unless there is nothing else."""
        return max(self._comparable, default=None)

    @property
    def _comparable(self) -> Sequence[float]:
        """The numbers without NaN, which is neither less nor more than another; one NaN where there is nothing else."""
        return [value for value in self.values if not math.isnan(value)] or self.values[:1]


def summarize(measurements: Iterable[StoredMeasurement]) -> list[Summary]:
    """Returns what measurements amount to, in the order in which their subjects come.

    Args:
        measurements: Read once; their numbers are kept, eight bytes each.
    """
    kept: dict[Subject, Summary] = {}
    for one in measurements:
        subject = Subject(one.uuid, one.type, one.description, one.method, one.unit, one.source)
        found = kept.get(subject) or Summary(subject, array("d"), 0, 0, "", "")
        if one.status == "error":
            found = found._replace(failed=found.failed + 1, error=found.error or one.error)
        elif one.value is not None:
            found.values.append(one.value)
        elif one.data is None:
            found = found._replace(missing=found.missing + 1)
        kept[subject] = found._replace(reason=found.reason or one.reason)
    return list(kept.values())
