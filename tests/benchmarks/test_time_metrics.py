"""Time, latency and throughput, on a clock that the test moves."""

import asyncio
import contextvars
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.benchmarks.supervisor import BenchmarkSupervisor
from ml.benchmarks.time_metrics import LatencyMetric, ThroughputMetric, TimeMetric, weighted_percentiles
from tests.benchmarks.recorder import ListRecorder


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


def values(recorder: ListRecorder, type_: str) -> list[float | None]:
    return [row.value for row in recorder.rows if row.type == type_]


def test_time_is_what_the_call_took(recorder):
    with BenchmarkSupervisor([TimeMetric("time")], recorder).measure("load"):
        recorder.clock.advance(2.5)

    assert (recorder.rows[0].value, recorder.rows[0].unit) == (2.5, "s")


def test_latency_is_time_over_entries_and_throughput_entries_over_time(recorder):
    latency, throughput = LatencyMetric("l", clock=recorder.clock), ThroughputMetric("t")

    @BenchmarkSupervisor([latency, throughput], recorder)
    def predict():
        recorder.clock.advance(4.0)
        latency.track(8)
        throughput.track(8)

    predict()
    assert [(row.type, row.value, row.unit) for row in recorder.rows] == [
        ("latency", 0.5, "s/entry"),
        ("throughput", 2.0, "entries/s"),
    ]


def test_entries_of_several_tracks_are_added_up_and_have_percentiles(recorder):
    latency, throughput = LatencyMetric("l", clock=recorder.clock), ThroughputMetric("t")

    @BenchmarkSupervisor([latency, throughput], recorder)
    def predict():
        for seconds, count in ((1.0, 10), (2.0, 85), (4.0, 4), (8.0, 1)):  # 0.1, 2/85, 1 and 8 s an entry
            recorder.clock.advance(seconds)
            latency.track(count)
            throughput.track(count)

    predict()
    assert values(recorder, "latency") == [0.15]
    assert values(recorder, "throughput") == [100 / 15]
    assert [values(recorder, f"latency_p{p}") for p in (50, 95, 99)] == [[2 / 85], [0.1], [1.0]]
    assert {row.unit for row in recorder.rows if row.type.startswith("latency")} == {"s/entry"}


def test_a_call_that_tracks_nothing_is_one_entry_and_says_so(recorder):
    with BenchmarkSupervisor([LatencyMetric("l"), ThroughputMetric("t")], recorder).measure("load"):
        recorder.clock.advance(4.0)

    assert [row.value for row in recorder.rows] == [4.0, 0.25]
    assert all("nothing was tracked" in row.reason for row in recorder.rows)


def test_a_call_shorter_than_the_clock_has_no_throughput_and_no_error(recorder):
    with BenchmarkSupervisor([ThroughputMetric("t")], recorder).measure("load"):
        pass

    assert recorder.rows[0].value is None
    assert "shorter" in recorder.rows[0].reason


def test_nested_calls_do_not_mix_their_entries(recorder):
    metric = ThroughputMetric("t")

    @BenchmarkSupervisor([metric], recorder)
    def work(depth):
        recorder.clock.advance(1.0)
        metric.track(10**depth)
        if depth:
            work(depth - 1)
        metric.track(10**depth)

    work(2)
    assert values(recorder, "throughput") == [2 * 1 / 1, 2 * 10 / 2, 2 * 100 / 3]


def test_a_call_inside_that_lacks_the_metric_tracks_for_the_one_around_it(recorder):
    metric = ThroughputMetric("t")
    outer, inner = BenchmarkSupervisor([metric], recorder), BenchmarkSupervisor([TimeMetric("time")], recorder)
    with outer.measure("outer"), inner.measure("inner"):
        recorder.clock.advance(2.0)
        metric.track(6)

    assert values(recorder, "throughput") == [3.0]


def test_threads_do_not_mix_their_entries(recorder):
    metric, barrier = ThroughputMetric("t"), threading.Barrier(4)

    @BenchmarkSupervisor([metric], recorder)
    def work(count):
        barrier.wait()
        metric.track(count)
        if barrier.wait() == 0:
            recorder.clock.advance(1.0)
        barrier.wait()

    threads = [threading.Thread(target=work, args=(10**power,)) for power in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(values(recorder, "throughput")) == [1.0, 10.0, 100.0, 1000.0]


def test_tasks_do_not_mix_their_entries(recorder):
    metric = ThroughputMetric("t")

    @BenchmarkSupervisor([metric], recorder)
    async def work(count):
        await asyncio.sleep(0)
        metric.track(count)
        await asyncio.sleep(0)
        recorder.clock.advance(1.0)

    async def main():
        await asyncio.gather(work(1), work(10))

    asyncio.run(main())
    assert values(recorder, "throughput") == [1.0, 5.0]  # a second each, one after the other


def test_a_generator_tracks_its_own_entries_and_its_consumer_its_own(recorder):
    metric = ThroughputMetric("t")
    supervisor = BenchmarkSupervisor([metric], recorder)

    @supervisor
    def batches():
        for _ in range(2):
            metric.track(3)
            recorder.clock.advance(1.0)
            yield

    with supervisor.measure("outer"):
        for _ in batches():
            metric.track(100)

    assert values(recorder, "throughput") == [6 / 2, 200 / 2]


def test_a_thread_with_a_copy_of_the_context_tracks_for_the_call(recorder):
    metric = ThroughputMetric("t")
    with BenchmarkSupervisor([metric], recorder).measure("work"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(metric.track, 8))
        thread.start()
        thread.join()
        recorder.clock.advance(1.0)

    assert values(recorder, "throughput") == [8.0]


@pytest.mark.parametrize("entries", [-1, 1.5, "many", None, float("nan"), float("inf")])
def test_what_is_no_number_of_entries_is_told_once_and_raises_nothing(recorder, caplog, entries):
    metric = ThroughputMetric("t")
    with BenchmarkSupervisor([metric], recorder).measure("work"):
        metric.track(entries)
        metric.track(entries)
        metric.track(4)
        recorder.clock.advance(2.0)

    assert values(recorder, "throughput") == [2.0]
    assert len(caplog.records) == 1
    assert repr(entries) in caplog.text


def test_entries_outside_of_a_call_are_told_once(caplog):
    metric = LatencyMetric("l")
    metric.track(3)
    metric.track(3)

    assert len(caplog.records) == 1
    assert "outside of a measured call" in caplog.text


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 20)), min_size=1, max_size=50))
def test_percentiles_are_those_of_all_entries(pairs):
    entries = sorted(value for value, count in pairs for _ in range(count))
    found = weighted_percentiles([v for v, _ in pairs], [c for _, c in pairs], (50, 95, 99))

    # The smallest value that so many percent of the entries do not exceed, counted out.
    expected = [entries[-(-percent * len(entries) // 100) - 1] for percent in (50, 95, 99)]
    assert found == expected
