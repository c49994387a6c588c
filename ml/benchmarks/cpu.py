"""How busy the processor is while a call runs, in percent of one core: 250 is two cores and a half.

The value is CPU time over wall time from right before the call to right after it, which is exact however short it was;
the series behind it has the same of each interval, for a plot. CPU time of the measuring itself is part of it.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.series import Series
from ml.core.errors import ConfigError
from ml.io.cgroup import Cgroup
from ml.io.process import Family, ThisProcess, now_s, system_cpu_s, waited_for_cpu_s
from ml.io.sampler import process_sampler

Scope = Literal["process", "tree", "children", "system", "cgroup"]
_TICK_S = 0.01  # the kernel says so exactly when a process was started

SCOPES: tuple[Scope, ...] = get_args(Scope)


class CPUMetric(Metric):
    """CPU time over wall time, in percent of one core.

    Args:
        description: What its measurements are called.
        interval: Seconds between two samples of the series, above 0.
        of: Whose: this ``process``; the ``tree`` of it and all that it started; its ``children`` alone; the whole
            ``system``; the ``cgroup`` that it lies in, of a container.
        clock: Monotonic seconds.

    Raises:
        ConfigError: There is no such ``of`` or interval.
    """

    type, unit = "cpu", "%"

    def __init__(
        self,
        description: str,
        interval: float = 1,
        *,
        of: Scope = "process",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(description)
        check_scope("CPUMetric", interval, of)
        self.interval_s, self.of, self._clock = float(interval), of, clock
        self._family = Family() if of in ("tree", "children") else None
        if self._family is not None:
            self._family.find()

    def begin(self) -> Probe:
        """Reads the CPU time for the first time."""
        return CPUProbe(self.interval_s, self.of, self._reader(), self._clock)

    def _reader(self) -> Callable[[], float]:
        match self.of:
            case "system":
                return system_cpu_s
            case "cgroup":
                return Cgroup().cpu_s
            case "process":
                return ThisProcess.cpu_s
        assert self._family is not None
        return FamilyCPU(self._family, with_parent=self.of == "tree")


def check_scope(name: str, interval: float, of: str) -> None:
    """Finds what no metric can be made of.

    Raises:
        ConfigError: There is no such ``of`` or interval.
    """
    if of not in SCOPES:
        raise ConfigError(f"of= of a {name} is one of {', '.join(SCOPES)}, got {of!r}.")
    if not 0 < interval < math.inf:
        raise ConfigError(f"The interval of a {name} is in seconds, above 0, got {interval!r}.")


class CPUProbe(Probe):
    """Measures one call.

    Args:
        interval_s: Between two samples.
        source: Of its finding.
        read: Returns CPU seconds, a total.
        clock: Monotonic seconds.
    """

    def __init__(self, interval_s: float, source: str, read: Callable[[], float], clock: Callable[[], float]) -> None:
        self.interval_s: float = interval_s
        self._source, self._read, self._clock = source, read, clock
        self.series: Series = Series()
        self._last_cpu_s = self._first_cpu_s = read()
        self._last_s = self._first_s = clock()

    def sample(self, at_s: float) -> None:
        """Reads, and adds a point to the series: of the time since the one before."""
        cpu_s, now_s = self._read(), self._clock()
        passed_s = now_s - self._last_s
        # At the end of a call the time since the last sample may be too short to say anything.
        if passed_s > 0 and (passed_s >= self.interval_s / 10 or not self.series.added):
            self.series.add(at_s, 100 * (cpu_s - self._last_cpu_s) / passed_s)
            self._last_cpu_s, self._last_s = cpu_s, now_s
        self._total_cpu_s, self._total_s = cpu_s - self._first_cpu_s, now_s - self._first_s

    def end(self, duration_s: float) -> Sequence[Finding]:
        """Returns the mean over the whole call."""
        if self._total_s <= 0:
            return [Finding(None, self._source, "the call was shorter than the clock can tell")]
        return [Finding(100 * self._total_cpu_s / self._total_s, self._source, samples=self.series)]


class FamilyCPU:
    """CPU seconds of a family of processes since this was made, those that have ended meanwhile included.

    A process that has ended and was waited for is in its parent's time. What a process used before it was first seen
    is left out if it is older than this, and counts if it is not. The family is looked for on the sampler's thread
    alone; a call that ends before its first sample has the members that were known when it began.
    """

    def __init__(self, family: Family, *, with_parent: bool) -> None:
        self._family, self._with_parent = family, with_parent
        self._made_s = now_s() - _TICK_S
        self._seen: set[tuple[int, float]] = set()
        self._before_s = self._parent_s()
        self._highest_s = 0.0
        self()

    def __call__(self) -> float:
        """Returns the total, which never falls."""
        if process_sampler().is_here:
            self._family.find()
        total_s = self._parent_s()
        for member in self._family.members():
            total_s += member.cpu_s
            if (identity := (member.pid, member.started_s)) not in self._seen:
                self._seen.add(identity)
                if member.started_s < self._made_s:
                    self._before_s += member.cpu_s
        self._highest_s = max(self._highest_s, total_s - self._before_s)
        return self._highest_s

    def _parent_s(self) -> float:
        return waited_for_cpu_s() + (ThisProcess.cpu_s() if self._with_parent else 0.0)
