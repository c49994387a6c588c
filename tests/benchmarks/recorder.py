"""Where a supervisor's measurements go in a test that needs no database, and metrics that are what a test says."""

from collections.abc import Iterable, Sequence

from ml.benchmarks.measurement import Measurement, Sample
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.core.run import RunContext
from ml.testing import FakeClock


class ListedSeries:
    """The samples of a call that still ran."""

    def __init__(self, number: int, begun: Measurement) -> None:
        self.number, self.begun = number, begun
        self.chunks: list[list[Sample]] = []

    def add(self, samples: Iterable[Sample]) -> None:
        self.chunks.append(list(samples))


class ListRecorder:
    """Keeps everything in lists, on a clock that stands still."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock(100.0)
        self.context = RunContext(".", rank=1, world_size=2, clock=self.clock, wall_clock=lambda: 1_700_000_000.0)
        self.sampler_cpu_s = 0.0
        self.rows: list[Measurement] = []
        self.series: list[ListedSeries] = []
        self._started_s = self.clock()

    def elapsed_s(self) -> float:
        return self.clock() - self._started_s

    def record(self, measurements: Iterable[Measurement]) -> None:
        self.rows += measurements

    def begin_series(self, measurement: Measurement) -> ListedSeries:
        self.series.append(ListedSeries(len(self.series) + 1, measurement))
        return self.series[-1]

    def calls(self) -> list[tuple[str, int, str]]:
        """Method, number and status of each row."""
        return [(row.method, row.call, row.status) for row in self.rows]


class ToldMetric(Metric):
    """Notes what is done to it, and raises where it is told to."""

    type, unit = "told", "x"

    def __init__(
        self,
        description: str = "told",
        *,
        notes: list[str] | None = None,
        fails_in: str = "",
        error: BaseException | None = None,
        interval_s: float | None = 1e6,
        findings: Sequence[Finding] = (Finding(1.0),),
    ) -> None:
        super().__init__(description)
        self.notes = [] if notes is None else notes
        self.fails_in, self.error = fails_in, error or RuntimeError("it broke")
        self.interval_s, self.findings = interval_s, findings

    def begin(self) -> Probe:
        self.note("begin")
        return ToldProbe(self)

    def note(self, did: str) -> None:
        self.notes.append(f"{self.description} {did}")
        if did == self.fails_in:
            raise self.error


class ToldProbe(Probe):
    def __init__(self, metric: ToldMetric) -> None:
        self._metric, self.interval_s = metric, metric.interval_s

    def sample(self, at_s: float) -> None:
        self._metric.note("sample")

    def end(self, duration_s: float) -> Sequence[Finding]:
        self._metric.note("end")
        return self._metric.findings
