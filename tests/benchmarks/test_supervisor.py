"""The supervisor: one measurement a call and metric, and a function that notices nothing."""

import asyncio
import contextvars
import functools
import gc
import inspect
import os
import threading
import types
from collections.abc import Callable

import pytest

from ml.benchmarks import Benchmark, open_benchmark
from ml.benchmarks.cpu import CPUMetric
from ml.benchmarks.measurement import Sample
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.series import Series
from ml.benchmarks.supervisor import BenchmarkSupervisor
from ml.benchmarks.time_metrics import TimeMetric
from ml.benchmarks.watching import CHUNK_SAMPLES, MAX_ERROR
from ml.core.errors import ConfigError
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.sampler import process_sampler
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import FakeClock, Gate
from tests.benchmarks.recorder import ListRecorder, ToldMetric


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


def supervised(recorder: ListRecorder, *metrics: Metric, **settings: object) -> BenchmarkSupervisor:
    return BenchmarkSupervisor(metrics or [TimeMetric("time")], recorder, **settings)  # type: ignore[arg-type]


def test_every_call_is_a_measurement_of_its_own(recorder):
    @supervised(recorder)
    def load(seconds):
        recorder.clock.advance(seconds)

    for seconds in (1.0, 2.0, 4.0):
        load(seconds)

    name = load.__qualname__
    assert [(row.method, row.call, row.value, row.at_s) for row in recorder.rows] == [
        (name, 1, 1.0, 0.0),
        (name, 2, 2.0, 1.0),
        (name, 3, 4.0, 3.0),
    ]
    row = recorder.rows[0]
    assert (row.description, row.type, row.unit, row.source) == ("time", "time", "s", "process")
    assert (row.status, row.error, row.rank, row.duration_s, row.time_s) == ("ok", "", 1, 1.0, 1_700_000_000.0)


def test_the_order_is_begin_clock_function_clock_samples_ends(recorder):
    notes: list[str] = []

    class Clock(FakeClock):
        def __call__(self) -> float:
            notes.append("clock")
            return super().__call__()

    recorder.context = RunContext(".", clock=Clock())
    first, second = (ToldMetric(name, notes=notes) for name in ("first", "second"))
    supervised(recorder, first, second)(lambda: notes.append("function"))()

    assert notes == [
        *("first begin", "second begin", "clock", "function", "clock"),
        *("second sample", "first sample", "first end", "second end"),
    ]


def test_a_call_that_raises_is_recorded_and_raises_the_same(recorder):
    error = ValueError("no such batch")

    @supervised(recorder)
    def load():
        raise error

    with pytest.raises(ValueError, match="no such batch") as caught:
        load()

    assert caught.value is error
    assert error.__context__ is None
    assert [(row.status, row.error) for row in recorder.rows] == [("error", "ValueError: no such batch")]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()])
def test_what_is_no_exception_is_recorded_too(recorder, error):
    @supervised(recorder)
    def load():
        raise error

    with pytest.raises(type(error)):
        load()

    assert [(row.status, row.error.split(":")[0]) for row in recorder.rows] == [("error", type(error).__name__)]


def test_an_error_whose_text_cannot_be_had_is_recorded_by_its_type(recorder):
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @supervised(recorder)
    def load():
        raise OddError

    with pytest.raises(OddError):
        load()

    assert recorder.rows[0].error == "OddError"


@pytest.mark.parametrize("stage", ["begin", "sample", "end"])
@pytest.mark.parametrize("raises", [False, True])
def test_a_metric_that_fails_costs_itself_alone_and_is_told_once(recorder, caplog, stage, raises):
    failing, sound = ToldMetric("bad", fails_in=stage), ToldMetric("good")
    outcome = object()

    @supervised(recorder, failing, sound)
    def load():
        if raises:
            raise LookupError
        return outcome

    for _ in range(3):
        if raises:
            with pytest.raises(LookupError):
                load()
        else:
            assert load() is outcome

    bad = [row for row in recorder.rows if row.description == "bad"]
    assert [(row.value, row.source, row.type, row.unit) for row in bad] == [(None, "unavailable", "told", "x")] * 3
    assert all(row.reason == f"{stage} failed: RuntimeError: it broke" for row in bad)
    assert [row.value for row in recorder.rows if row.description == "good"] == [1.0] * 3
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert f"ToldMetric 'bad' failed in {stage}" in told[0]


def test_a_value_that_is_no_number_costs_its_metric_alone(recorder):
    outcome = supervised(recorder, ToldMetric(findings=[Finding("much")]), TimeMetric("time"))(lambda: 5)()

    assert outcome == 5
    assert [row.value for row in recorder.rows] == [None, 0.0]


def test_a_metric_whose_sample_never_returns_is_left_to_itself(recorder, monkeypatch, caplog):
    gate = Gate()

    class Stuck(ToldMetric):
        def note(self, did: str) -> None:
            if did == "sample":
                gate.wait()

    @supervised(recorder, Stuck(interval_s=1e-4), TimeMetric("time"))
    def load():
        gate.wait_for_arrival()
        return 5

    assert load() == 5
    gate.open()
    assert [(row.value, row.reason) for row in recorder.rows] == [(None, "its sample does not return"), (0.0, "")]


def test_a_benchmark_that_fails_reaches_the_log_and_not_the_function(recorder, monkeypatch, caplog):
    def record(measurements):
        raise OSError("disk full")

    monkeypatch.setattr(recorder, "record", record)
    assert supervised(recorder)(lambda: 5)() == 5
    assert "disk full" in caplog.text


def test_a_metric_may_find_several_things(recorder):
    findings = [Finding(1.0), Finding(2.0, "rapl", "dram too", "other", "J", [Sample(0.5, 2.0)])]
    supervised(recorder, ToldMetric(findings=findings))(lambda: None)()

    assert [(row.type, row.unit, row.value, row.source, row.reason) for row in recorder.rows] == [
        ("told", "x", 1.0, "process", ""),
        ("other", "J", 2.0, "rapl", "dram too"),
    ]
    assert recorder.rows[1].samples == [Sample(0.5, 2.0)]


# functions of every kind


def test_name_documentation_and_signature_are_kept(recorder):
    def load(path: str, *, count: int = 3) -> str:
        """Loads."""
        return path * count

    measured = supervised(recorder)(load)

    assert (measured.__name__, measured.__doc__, measured.__module__) == ("load", "Loads.", __name__)
    assert inspect.signature(measured) == inspect.signature(load)
    assert measured.__wrapped__ is load
    assert measured("a", count=2) == "aa"


def test_methods_of_every_kind_are_measured(recorder):
    supervisor = supervised(recorder)

    class Model:
        def __init__(self) -> None:
            self.factor = 2

        @supervisor
        def predict(self, x):
            return self.factor * x

        @supervisor
        @staticmethod
        def outside(x):
            return x

        @staticmethod
        @supervisor
        def inside(x):
            return x

        @supervisor
        @classmethod
        def make(cls):
            return cls

        @property
        @supervisor
        def size(self):
            return 7

    model = Model()
    assert (model.predict(4), Model.outside(1), model.outside(2), model.inside(3), model.size) == (8, 1, 2, 3, 7)
    assert model.make() is Model.make() is Model
    methods = [row.method.rpartition(".")[2] for row in recorder.rows]
    assert methods == ["predict", "outside", "outside", "inside", "size", "make", "make"]


def test_objects_that_are_called_are_measured(recorder):
    class Model:
        def __call__(self, x):
            return x

    supervisor = supervised(recorder)
    assert supervisor(Model())(3) == 3
    assert supervisor(functools.partial(max, 4))(2) == 4
    assert supervisor(len)([1]) == 1
    assert [row.method.rpartition(".")[2] for row in recorder.rows] == ["Model", "partial", "len"]


@pytest.mark.parametrize("target", [int, 5, property(lambda self: 1)])
def test_what_is_no_function_is_refused(recorder, target):
    with pytest.raises(ConfigError, match="decorates functions and methods"):
        supervised(recorder)(target)


@pytest.mark.parametrize("metric", [TimeMetric, "time", 3])
def test_what_is_no_metric_is_refused(recorder, metric):
    with pytest.raises(ConfigError, match="takes metrics"):
        BenchmarkSupervisor([metric], recorder)


def test_a_coroutine_is_measured_until_it_ends(recorder):
    @supervised(recorder)
    async def load(seconds):
        await asyncio.sleep(0)
        recorder.clock.advance(seconds)
        return seconds

    assert inspect.iscoroutinefunction(load)
    assert asyncio.run(load(2.0)) == 2.0
    assert [(row.value, row.status) for row in recorder.rows] == [(2.0, "ok")]


def test_a_coroutine_that_is_cancelled_is_recorded(recorder):
    @supervised(recorder)
    async def load():
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(load())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [(row.status, row.error) for row in recorder.rows] == [("error", "CancelledError")]


def test_a_coroutine_that_nobody_finishes_disturbs_nobody(recorder):
    @types.coroutine
    def forever():
        while True:
            yield

    @supervised(recorder)
    async def load():
        await forever()

    coroutine = load()
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()  # in another context than it began in

    assert [(row.status, row.error) for row in recorder.rows] == [("error", "GeneratorExit")]


def test_a_generator_is_one_call_from_its_first_item_to_its_end(recorder):
    @supervised(recorder)
    def batches():
        for number in range(3):
            recorder.clock.advance(1.0)
            yield number
        return "done"

    assert inspect.isgeneratorfunction(batches)
    batches()
    assert recorder.rows == []
    assert list(batches()) == [0, 1, 2]
    assert [(row.call, row.value, row.status) for row in recorder.rows] == [(1, 3.0, "ok")]


def test_what_is_sent_and_thrown_reaches_the_generator_and_its_result_comes_back(recorder):
    @supervised(recorder)
    def echo():
        got = []
        while len(got) < 3:
            try:
                got.append((yield len(got)))
            except KeyError as error:
                got.append(error)
        return got

    generator, error = echo(), KeyError("k")
    assert next(generator) == 0
    assert generator.send("a") == 1
    assert generator.throw(error) == 2
    with pytest.raises(StopIteration) as stopped:
        generator.send("b")

    assert stopped.value.value == ["a", error, "b"]
    assert recorder.calls() == [(echo.__qualname__, 1, "ok")]


def test_a_generator_that_is_closed_early_has_done_its_work(recorder):
    closed = []

    @supervised(recorder)
    def batches():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    for _ in batches():
        break
    gc.collect()

    assert closed == [True]
    assert [row.status for row in recorder.rows] == ["ok"]


def test_a_generator_that_raises_is_recorded(recorder):
    @supervised(recorder)
    def batches():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(batches())

    assert [(row.status, row.error) for row in recorder.rows] == [("error", "OSError: gone")]


def test_an_asynchronous_generator_is_one_call(recorder):
    @supervised(recorder)
    async def batches(error=None):
        for number in range(3):
            await asyncio.sleep(0)
            recorder.clock.advance(1.0)
            yield number
        if error is not None:
            raise error

    async def collect(generator, stop_at=None):
        found = []
        async for item in generator:
            found.append(item)
            if item == stop_at:
                await generator.aclose()
                break
        return found

    assert inspect.isasyncgenfunction(batches)
    assert asyncio.run(collect(batches())) == [0, 1, 2]
    assert asyncio.run(collect(batches(), stop_at=1)) == [0, 1]
    with pytest.raises(OSError, match="gone"):
        asyncio.run(collect(batches(OSError("gone"))))
    assert [(row.value, row.status) for row in recorder.rows] == [(3.0, "ok"), (2.0, "ok"), (3.0, "error")]


def test_what_is_sent_and_thrown_reaches_the_asynchronous_generator(recorder):
    @supervised(recorder)
    async def echo():
        got = []
        while len(got) < 2:
            try:
                got.append((yield len(got)))
            except KeyError:
                got.append("thrown")
        yield got

    async def main():
        generator = echo()
        assert await generator.__anext__() == 0
        assert await generator.asend("a") == 1
        assert await generator.athrow(KeyError()) == ["a", "thrown"]
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()

    asyncio.run(main())
    assert [row.status for row in recorder.rows] == ["ok"]


def test_a_block_is_measured_also_when_it_raises(recorder):
    supervisor = supervised(recorder)
    with supervisor.measure("load"):
        recorder.clock.advance(3.0)
    with pytest.raises(KeyError), supervisor.measure("load"):
        raise KeyError("k")

    assert recorder.calls() == [("load", 1, "ok"), ("load", 2, "error")]
    assert recorder.rows[0].value == 3.0


def test_one_block_may_be_entered_again_inside_of_itself(recorder):
    block = supervised(recorder).measure("load")
    with block:
        recorder.clock.advance(1.0)
        with block:
            recorder.clock.advance(2.0)

    assert [(row.call, row.value) for row in recorder.rows] == [(2, 2.0), (1, 3.0)]


def test_a_recursive_call_is_a_call_within_a_call(recorder):
    @supervised(recorder)
    def factorial(n):
        recorder.clock.advance(1.0)
        return n * factorial(n - 1) if n else 1

    assert factorial(3) == 6
    assert [(row.call, row.value) for row in recorder.rows] == [(4, 1.0), (3, 2.0), (2, 3.0), (1, 4.0)]


def test_calls_in_threads_are_counted_exactly(recorder):
    @supervised(recorder)
    def work():
        barrier.wait()

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=lambda: [work() for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(row.call for row in recorder.rows) == list(range(1, 161))


def test_the_name_may_be_chosen(recorder):
    supervised(recorder, name="load")(lambda: None)()

    assert recorder.calls() == [("load", 1, "ok")]


def test_a_call_that_returns_in_a_forked_child_is_the_parents(recorder):
    @supervised(recorder, ToldMetric(interval_s=1e-3))
    def fork():
        return os.fork()

    pid = fork()
    if pid == 0:
        os._exit(0 if recorder.rows == [] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(recorder.rows) == 1


# samples


class Counted(Metric):
    """Its probe adds samples to a series, and opens a gate after so many."""

    type, unit = "counted", "x"

    def __init__(self, wanted: int, interval_s: float) -> None:
        super().__init__("counted")
        self.wanted, self.interval_s = wanted, interval_s
        self.reached = threading.Event()

    def begin(self) -> Probe:
        return _CountedProbe(self)


class _CountedProbe(Probe):
    def __init__(self, metric: Counted) -> None:
        self._metric, self.interval_s = metric, metric.interval_s
        self.series: Series = Series()

    def sample(self, at_s: float) -> None:
        while True:
            self.series.add(at_s, float(self.series.added))
            if self.series.added % 100 == 0 or self.series.added >= self._metric.wanted:
                break
        if self.series.added >= self._metric.wanted:
            self._metric.reached.set()

    def end(self, duration_s: float) -> list[Finding]:
        return [Finding(self.series.highest, samples=self.series), Finding(0.0, type="other")]


def test_a_call_that_is_shorter_than_the_interval_has_one_sample_and_waits_for_nothing(recorder):
    notes: list[str] = []
    supervised(recorder, ToldMetric(notes=notes, interval_s=1e6))(lambda: None)()

    assert notes == ["told begin", "told sample", "told end"]


def test_a_metric_without_an_interval_is_never_sampled(recorder):
    notes: list[str] = []
    supervised(recorder, ToldMetric(notes=notes, interval_s=None))(lambda: None)()

    assert notes == ["told begin", "told end"]


def test_samples_are_taken_on_the_samplers_thread_and_the_last_on_the_callers(recorder):
    here: list[bool] = []
    reached = threading.Event()

    class Noting(ToldMetric):
        def note(self, did: str) -> None:
            if did == "sample":
                here.append(process_sampler().is_here)
                if len(here) == 2:
                    reached.set()

    assert supervised(recorder, Noting(interval_s=1e-3))(lambda: reached.wait(20))()

    assert here[:2] == [True, True]
    assert here[-1] is False


def test_the_samples_of_a_long_call_are_handed_on_while_it_runs(recorder):
    metric = Counted(wanted=2 * CHUNK_SAMPLES + 50, interval_s=1e-4)
    seen: list[int] = []

    @supervised(recorder, metric)
    def train():
        assert metric.reached.wait(20)
        seen.append(sum(map(len, recorder.series[0].chunks)))

    train()

    (series,) = recorder.series
    assert seen[0] >= 2 * CHUNK_SAMPLES - 100
    assert (series.begun.status, series.begun.value, series.begun.method) == ("running", None, train.__qualname__)
    whole, other = recorder.rows
    assert (whole.series, other.series) == (series.number, 0)
    values = [sample.value for chunk in [*series.chunks, whole.samples] for sample in chunk]
    assert values == list(map(float, range(len(values))))
    assert whole.value == values[-1]
    assert max(map(len, [*series.chunks, whole.samples])) < CHUNK_SAMPLES + 200


def test_what_sampling_costs_is_told_the_benchmark(recorder):
    metric = Counted(wanted=300, interval_s=1e-4)
    supervised(recorder, metric)(lambda: metric.reached.wait(20))()

    assert recorder.sampler_cpu_s > 0


def test_a_call_that_cannot_begin_leaves_no_sampling_behind(recorder):
    supervisor = supervised(recorder, ToldMetric("a"), ToldMetric("b", fails_in="begin", error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        supervisor(lambda: None)()

    assert not process_sampler()._subscriptions


# into the loggers


def test_every_value_is_a_scalar_of_the_run(recorder, tmp_path):
    logger, memory = MultiLogger("bench"), MemoryLogger(BaseLoggerConfig("memory"))
    metrics: list[Metric] = [
        ToldMetric(
            "one", findings=[Finding(2.5), Finding(None, "unavailable", type="none"), Finding(4.0, type="more")]
        ),
        TimeMetric("time"),
    ]

    @supervised(recorder, *metrics, logger=logger, name="load")
    def load():
        recorder.clock.advance(3.0)

    with LoggerGroup([memory], RunContext(tmp_path), on_error="raise") as logs:
        load()
        logs.write([logger], State(num_steps=1))

    logged = {(entry.step, entry.namespace, entry.key): entry.value for entry in memory.entries}
    assert logged == {
        (1, "benchmark", "load/told"): 2.5,
        (1, "benchmark", "load/more"): 4.0,
        (1, "benchmark", "load/time"): 3.0,
    }


def test_two_metrics_of_one_type_are_logged_apart(recorder, tmp_path):
    logger, memory = MultiLogger("bench"), MemoryLogger(BaseLoggerConfig("memory"))
    metrics = [ToldMetric("a"), ToldMetric("b"), TimeMetric("time")]
    with LoggerGroup([memory], RunContext(tmp_path), on_error="raise") as logs:
        supervised(recorder, *metrics, logger=logger, name="load")(lambda: None)()
        logs.write([logger], State(num_steps=1))

    assert sorted(entry.key for entry in memory.entries) == ["load/time", "load/told/a", "load/told/b"]


def test_a_long_series_is_whole_in_a_real_benchmark(tmp_path):
    from ml.benchmarks.database import Benchmark
    from ml.benchmarks.reading import open_benchmark

    metric = Counted(wanted=2 * CHUNK_SAMPLES + 50, interval_s=1e-4)
    with Benchmark(tmp_path / "b.db", "test") as benchmark:
        BenchmarkSupervisor([metric], benchmark)(lambda: metric.reached.wait(20))()

    with open_benchmark(tmp_path / "b.db") as stored:
        (row,) = stored.measurements(types=["counted"])
        values = [sample.value for sample in stored.samples(row)]
    assert values == list(map(float, range(len(values))))
    assert (row.value, row.status) == (values[-1], "ok")
    assert len(values) >= 2 * CHUNK_SAMPLES + 50


def test_a_supervisor_measures_with_real_metrics_what_a_real_benchmark_keeps(tmp_path):
    import sqlite3

    from ml.benchmarks.database import Benchmark

    with Benchmark(tmp_path / "b.db", "test") as benchmark:
        measured: Callable[[], int] = BenchmarkSupervisor([TimeMetric("t"), CPUMetric("c")], benchmark)(lambda: 5)
        assert [measured() for _ in range(3)] == [5, 5, 5]

    with sqlite3.connect(tmp_path / "b.db") as connection:
        rows = connection.execute("SELECT type, call, status FROM measurements ORDER BY call, type").fetchall()
        (samples,) = connection.execute("SELECT count(*) FROM samples").fetchone()
    assert rows == [(kind, call, "ok") for call in (1, 2, 3) for kind in ("cpu", "time")]
    assert samples == 3


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("it has no text")


@pytest.mark.parametrize("stage", ["begin", "sample", "end"])
def test_a_metric_whose_error_has_no_text_costs_itself_alone(recorder, stage):
    metrics = [ToldMetric("bad", fails_in=stage, error=UnspeakableError()), TimeMetric("time")]

    assert BenchmarkSupervisor(metrics, recorder)(lambda: 5)() == 5
    assert [row.reason for row in recorder.rows] == [f"{stage} failed: UnspeakableError", ""]


def test_a_logger_that_fails_costs_neither_result_nor_measurement_and_is_told_once(recorder, monkeypatch, caplog):
    def fail(key, value, *, namespace):
        raise RuntimeError("the logger broke")

    logger = MultiLogger("run")
    monkeypatch.setattr(logger, "log_scalar", fail)
    measured = supervised(recorder, logger=logger)(lambda: 5)

    assert (measured(), measured(), len(recorder.rows)) == (5, 5, 2)
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert "the logger broke" in caplog.text


def test_of_a_very_long_error_the_beginning_is_kept(recorder, tmp_path):
    def raises():
        raise ValueError("x" * 30_000_000)

    with Benchmark(tmp_path / "x.db") as benchmark:
        supervisor = BenchmarkSupervisor([TimeMetric(str(number)) for number in range(3)], benchmark)
        with pytest.raises(ValueError, match="xxx"):
            supervisor(raises)()
        assert benchmark.flush(60)

    with open_benchmark(tmp_path / "x.db") as benchmarks:
        errors = {row.error for row in benchmarks.measurements()}
    assert errors == {f"ValueError: {'x' * MAX_ERROR}… (30000000 characters)"}


def test_what_keeps_nothing_is_refused_at_once(tmp_path):
    Benchmark(tmp_path / "x.db").close()
    with pytest.raises(ConfigError, match="open for reading"):
        BenchmarkSupervisor([TimeMetric("time")], Benchmark(tmp_path / "x.db", mode="r"))
    for nothing in (None, tmp_path / "x.db"):
        with pytest.raises(ConfigError, match="needs a Benchmark"):
            BenchmarkSupervisor([TimeMetric("time")], nothing)


def test_metrics_that_are_no_list_are_refused(recorder):
    for metrics in (TimeMetric("time"), recorder):
        with pytest.raises(ConfigError, match="a list of metrics"):
            BenchmarkSupervisor(metrics, recorder)


@pytest.mark.parametrize("name", [None, 5, b"x"])
def test_what_things_are_called_is_a_text(recorder, name):
    with pytest.raises(ConfigError, match="TimeMetric is a text"):
        TimeMetric(name)
    with pytest.raises(ConfigError, match="under a name"):
        supervised(recorder).measure(name)
