"""The memory of a program that this process started, with all that it starts in turn."""

from collections.abc import Sequence

from ml.benchmarks.memory import MemoryMetric
from ml.benchmarks.metric import Finding, Metric, Probe

_UNSEEN = "the program ended before its memory was read; a smaller interval would have seen it"


class ProgramMemoryMetric(Metric):
    """The highest memory of all processes that this one started, together, at one of the samples.

    A program that was never seen has no value: not 0, which no program takes. (What the kernel keeps of a process that
    has ended would be no better: there the memory of its parent, when it was forked, is its own.)

    Args:
        description: What its measurements are called.
        interval: Seconds between two samples, above 0.

    Raises:
        ConfigError: There is no such interval.
    """

    type, unit = "memory", "MiB"

    def __init__(self, description: str, interval: float) -> None:
        super().__init__(description)
        self._inner = MemoryMetric(description, interval, of="children")

    def begin(self) -> Probe:
        """Has the memory read now and then."""
        return _ProgramProbe(self._inner.begin())


class _ProgramProbe(Probe):
    def __init__(self, inner: Probe) -> None:
        self._inner = inner
        self.interval_s, self.series = inner.interval_s, inner.series

    def sample(self, at_s: float) -> None:
        self._inner.sample(at_s)

    def end(self, duration_s: float) -> Sequence[Finding]:
        highest = self._inner.end(duration_s)[0]
        if not highest.value:
            return [Finding(None, "unavailable", _UNSEEN)]
        return [highest]
