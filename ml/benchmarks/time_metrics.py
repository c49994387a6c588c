"""How long a call takes, and what that is for each of the entries that it works on.

::

    latency, throughput = LatencyMetric("predict"), ThroughputMetric("predict")

    @BenchmarkSupervisor([latency, throughput], benchmark)
    def predict(batches):
        for batch in batches:
            model(batch)
            latency.track(len(batch))
            throughput.track(len(batch))

``track`` may be called once, at any moment, or after each batch: its numbers are added up. It belongs to the innermost
running call of the metric in the same thread or task; a thread that the function starts has a context of its own, and
tracks where it is given a copy (``contextvars.copy_context().run``, as ``asyncio.to_thread`` does). A call that tracks
nothing counts as one entry.
"""

import logging
import time
from array import array
from collections.abc import Callable, Sequence

from ml.benchmarks.calls import probe_of
from ml.benchmarks.metric import Finding, Metric, Probe

PERCENTILES = (50, 95, 99)

_ONE_ENTRY = "nothing was tracked: the call counts as one entry"

_log = logging.getLogger("ml")


class TimeMetric(Metric):
    """The time of a call, in seconds."""

    type, unit = "time", "s"

    def begin(self) -> Probe:
        """Begins; the supervisor's own clock is what counts."""
        return _Time()


class _Time(Probe):
    def end(self, duration_s: float) -> Sequence[Finding]:
        return [Finding(duration_s)]


class _EntriesMetric(Metric):
    """Counts entries.

    Args:
        description: What its measurements are called.
        clock: Monotonic seconds.
    """

    def __init__(self, description: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(description)
        self._clock = clock
        self._told = False

    def track(self, num_entries: int) -> None:
        """Says that the running call has worked on so many entries more. Never raises; what is wrong is told once.

        Args:
            num_entries: 0 or more.
        """
        probe = probe_of(self)
        if isinstance(probe, _Entries):
            try:
                probe.track(num_entries, self._clock())
                return
            except Exception as error:  # of an object that is no number, anything
                problem = f"track takes a number of entries, 0 or more, got {num_entries!r} ({error})"
        else:
            problem = "track was called outside of a measured call, or in a thread of its own: nothing is counted"
        if not self._told:
            self._told = True
            _log.warning("%s '%s': %s.", type(self).__name__, self.description, problem)


class ThroughputMetric(_EntriesMetric):
    """Entries a second: those that ``track`` was told, over the time of the call."""

    type, unit = "throughput", "entries/s"

    def begin(self) -> Probe:
        """Begins to count."""
        return _Throughput()


class LatencyMetric(_EntriesMetric):
    """Seconds an entry: the time of the call over the entries that ``track`` was told.

    Where it was told more than once, there are ``latency_p50``, ``latency_p95`` and ``latency_p99`` too: what an entry
    of its batch took, from one ``track`` to the next, over all entries.
    """

    type, unit = "latency", "s/entry"

    def begin(self) -> Probe:
        """Begins to count."""
        return _Latency(self._clock())


class _Entries(Probe):
    def __init__(self) -> None:
        self._count = 0

    def track(self, num_entries: int, now_s: float) -> None:
        """Adds entries. Raises if that is no number of them."""
        number = int(num_entries)
        if number < 0 or number != num_entries:
            raise ValueError("it is negative, or no whole number")
        self._count += number


class _Throughput(_Entries):
    def end(self, duration_s: float) -> Sequence[Finding]:
        if duration_s <= 0:
            return [Finding(None, reason="the call was shorter than the clock can tell")]
        return [Finding((self._count or 1) / duration_s, reason="" if self._count else _ONE_ENTRY)]


class _Latency(_Entries):
    def __init__(self, now_s: float) -> None:
        super().__init__()
        self._since_s = now_s
        self._each_s, self._counts = array("d"), array("q")  # sixteen bytes a call of track

    def track(self, num_entries: int, now_s: float) -> None:
        before = self._count
        super().track(num_entries, now_s)
        if number := self._count - before:
            self._each_s.append((now_s - self._since_s) / number)
            self._counts.append(number)
            self._since_s = now_s

    def end(self, duration_s: float) -> Sequence[Finding]:
        if not self._count:
            return [Finding(duration_s, reason=_ONE_ENTRY)]
        found = [Finding(duration_s / self._count)]
        if len(self._counts) > 1:
            values = weighted_percentiles(self._each_s, self._counts, PERCENTILES)
            found += [Finding(value, type=f"latency_p{p}") for p, value in zip(PERCENTILES, values, strict=True)]
        return found


def weighted_percentiles(values: Sequence[float], counts: Sequence[int], percentiles: Sequence[float]) -> list[float]:
    """Returns the smallest values that so many percent of all entries do not exceed.

    Args:
        values: Each of ``counts`` entries; at least one.
        counts: How many entries have that value, above 0.
        percentiles: In (0, 100], rising.
    """
    pairs = sorted(zip(values, counts, strict=True))
    total, passed, found = sum(counts), 0, []
    wanted = list(percentiles)
    for value, count in pairs:
        passed += count
        while wanted and passed * 100 >= wanted[0] * total:
            found.append(value)
            wanted.pop(0)
    return found
