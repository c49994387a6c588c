"""The memory that a call needs, in MiB: its peak, by how much that lies above what there was before, and its course.

Between two samples a peak is seen only where the system keeps one, which it does for the resident memory of this
process and for a control group; and then only if it is the highest ever: it says nothing about a call that stays
below an earlier peak.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml.benchmarks.cpu import Scope, check_scope
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.series import Series
from ml.core.errors import ConfigError
from ml.io.cgroup import Cgroup
from ml.io.process import MEMORY_KINDS, Family, MemoryKind, ThisProcess, system_memory_bytes
from ml.io.sampler import process_sampler

MIB = 2**20
_UNSEEN = "what was to be measured ended before its memory was read; a smaller interval would have seen it"


class Readers(NamedTuple):
    """How memory is read.

    Attributes:
        now: Returns bytes.
        peak: Returns the highest bytes ever, or ``None`` where nobody knows.
    """

    now: Callable[[], int]
    peak: Callable[[], int | None]


class MemoryMetric(Metric):
    """The highest memory of a call; ``memory_growth`` is how much more that is than before the call.

    Args:
        description: What its measurements are called.
        interval: Seconds between two samples, above 0.
        of: Whose, as ``CPUMetric`` has it.
        kind: Of a process: ``rss``, what is resident; ``uss``, what no other process shares; ``pss``, which counts a
            page that n processes share as one n-th for each, and so is right for a ``tree``. All but ``rss`` take the
            kernel about a millisecond a gigabyte to find out.

    Raises:
        ConfigError: There is no such ``of``, ``kind`` or interval.
    """

    type, unit = "memory", "MiB"

    def __init__(
        self, description: str, interval: float = 1, *, of: Scope = "process", kind: MemoryKind = "rss"
    ) -> None:
        super().__init__(description)
        check_scope("MemoryMetric", interval, of)
        if kind not in MEMORY_KINDS:
            raise ConfigError(f"kind= of a MemoryMetric is one of {', '.join(MEMORY_KINDS)}, got {kind!r}.")
        if kind != "rss" and of in ("system", "cgroup"):
            raise ConfigError(f"kind={kind!r} is of processes; the memory of={of!r} has no kinds. Leave kind= out.")
        self.interval_s, self.of, self.kind = float(interval), of, kind
        self._process = ThisProcess()
        self._family = Family() if of in ("tree", "children") else None
        if self._family is not None:
            self._family.find()

    def begin(self) -> Probe:
        """Reads the memory for the first time."""
        source = self.of if self.kind == "rss" else f"{self.of} {self.kind}"
        return MemoryProbe(self.interval_s, source, self._readers())

    def _readers(self) -> Readers:
        match self.of:
            case "system":
                return Readers(system_memory_bytes, _unknown)
            case "cgroup":
                group = Cgroup()
                return Readers(group.memory_bytes, group.peak_memory_bytes)
            case "process" if self.kind == "rss":
                return Readers(self._process.rss_bytes, self._process.peak_rss_bytes)
            case "process":
                return Readers(lambda: self._process.memory_bytes(self.kind), _unknown)
        return Readers(self._family_bytes, _unknown)

    def _family_bytes(self) -> int:
        assert self._family is not None
        if process_sampler().is_here:  # which takes milliseconds, and so is not for the thread that makes the call
            self._family.find()
        own = self._process.memory_bytes(self.kind) if self.of == "tree" else 0
        return own + self._family.memory_bytes(self.kind)


class MemoryProbe(Probe):
    """Measures one call."""

    def __init__(self, interval_s: float, source: str, readers: Readers) -> None:
        self.interval_s, self._source, self._readers = interval_s, source, readers
        self.series: Series = Series()
        self._peak_before = readers.peak()
        self._first = readers.now()

    def sample(self, at_s: float) -> None:
        """Reads."""
        self.series.add(at_s, self._readers.now() / MIB)

    def end(self, duration_s: float) -> Sequence[Finding]:
        """Returns the peak, and how far it lies above the first reading."""
        first = self._first / MIB
        highest = max(first, self.series.highest)
        peak = self._readers.peak()
        if peak is not None and self._peak_before is not None and peak > self._peak_before:
            highest = max(highest, peak / MIB)
        if not highest:  # which no process takes: of the children none was seen
            return [Finding(None, "unavailable", _UNSEEN)]
        return [
            Finding(highest, self._source, samples=self.series),
            Finding(highest - first, self._source, type="memory_growth"),
        ]


def _unknown() -> None:
    return None
