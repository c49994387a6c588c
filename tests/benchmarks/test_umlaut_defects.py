"""The defects of UMLAUT that concern supervisor and metrics: each test fails on what it did."""

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from ml.benchmarks.cpu import CPUMetric
from ml.benchmarks.database import Benchmark
from ml.benchmarks.energy import EnergyMetric, PowerMetric
from ml.benchmarks.memory import MemoryMetric
from ml.benchmarks.supervisor import BenchmarkSupervisor
from ml.benchmarks.time_metrics import LatencyMetric, ThroughputMetric, TimeMetric
from ml.io.sampler import process_sampler
from tests.benchmarks.recorder import ListRecorder, ToldMetric

LIMIT_S = 60.0


def rows_of(path: Path) -> pd.DataFrame:
    """What pandas reads of a database."""
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        return pd.read_sql_query("SELECT * FROM measurements", engine)
    finally:
        engine.dispose()


def test_throughput_is_logged_and_the_result_of_the_function_is_not_lost(tmp_path):
    throughput, outcome = ThroughputMetric("predict"), object()
    with Benchmark(tmp_path / "b.db") as benchmark:

        @BenchmarkSupervisor([throughput], benchmark)
        def predict():
            throughput.track(32)
            return outcome

        assert predict() is outcome

    (row,) = rows_of(tmp_path / "b.db").itertuples()
    assert (row.type, row.unit) == ("throughput", "entries/s")
    assert row.value == pytest.approx(32 / row.duration_s)


def test_three_calls_are_three_measurements_and_never_their_sum():
    recorder = ListRecorder()
    latency = LatencyMetric("predict", clock=recorder.clock)

    @BenchmarkSupervisor([latency, TimeMetric("predict")], recorder)
    def predict():
        recorder.clock.advance(0.4)
        latency.track(4)

    for _ in range(3):
        predict()

    assert [row.value for row in recorder.rows if row.type == "latency"] == pytest.approx([0.1, 0.1, 0.1])
    assert [row.value for row in recorder.rows if row.type == "time"] == pytest.approx([0.4, 0.4, 0.4])


def test_without_energy_counters_the_function_runs_and_there_is_a_reason_instead_of_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    nothing, recorder = tmp_path / "powercap", ListRecorder()
    metrics = [EnergyMetric("train", root=nothing), PowerMetric("train", root=nothing)]

    assert BenchmarkSupervisor(metrics, recorder)(lambda: "trained")() == "trained"
    assert [(row.value, row.source) for row in recorder.rows] == [(None, "unavailable")] * 2
    assert all(row.reason for row in recorder.rows)


def test_waiting_for_the_next_sample_burns_no_cpu_whatever_is_missing(tmp_path):
    nothing, recorder = tmp_path / "powercap", ListRecorder()
    metrics = [PowerMetric("train", interval=1e6, root=nothing), CPUMetric("train", 1e6), MemoryMetric("train", 1e6)]
    with BenchmarkSupervisor(metrics, recorder).measure("train"):
        before_s = process_sampler().cost_s
        threading.Event().wait(0.1)
        spent_s = process_sampler().cost_s - before_s

    # The thread sleeps until the first sample is due: it has done nothing that could be measured.
    assert spent_s < 0.02


def test_a_short_call_does_not_wait_for_the_interval_and_still_has_a_sample():
    recorder = ListRecorder()
    with BenchmarkSupervisor([MemoryMetric("load", interval=1e6)], recorder).measure("load"):
        pass  # would end in eleven days

    peak, _ = recorder.rows
    assert len(peak.samples) == 1
    assert peak.value > 0


def test_a_function_that_raises_is_recorded(tmp_path):
    with Benchmark(tmp_path / "b.db") as benchmark:

        @BenchmarkSupervisor([TimeMetric("load"), MemoryMetric("load")], benchmark)
        def load():
            raise FileNotFoundError("no such data")

        with pytest.raises(FileNotFoundError, match="no such data"):
            load()

    rows = rows_of(tmp_path / "b.db")
    assert set(rows["type"]) == {"time", "memory", "memory_growth"}
    assert set(rows["status"]) == {"error"}
    assert set(rows["error"]) == {"FileNotFoundError: no such data"}


def test_a_metric_that_raises_does_not_stop_the_function_from_running():
    recorder, ran = ListRecorder(), []

    BenchmarkSupervisor([ToldMetric(fails_in="begin")], recorder)(lambda: ran.append(True))()

    assert ran == [True]
    assert recorder.rows[0].reason == "begin failed: RuntimeError: it broke"


def test_the_decorated_function_keeps_its_name_and_kind():
    supervisor = BenchmarkSupervisor([TimeMetric("t")], ListRecorder())

    @supervisor
    def load(path: str) -> str:
        """Loads."""
        return path

    @supervisor
    async def fetch() -> int:
        return 5

    @supervisor
    def batches():
        yield 1

    assert (load.__name__, load.__doc__) == ("load", "Loads.")
    assert inspect.iscoroutinefunction(fetch)
    assert inspect.isgeneratorfunction(batches)
    assert asyncio.run(fetch()) == 5
    assert list(batches()) == [1]
    with supervisor.measure("block"):
        pass


def test_a_decorated_function_may_call_itself_and_run_in_several_threads():
    recorder = ListRecorder()

    @BenchmarkSupervisor([TimeMetric("t"), MemoryMetric("m")], recorder)
    def countdown(n):
        return n if n == 0 else countdown(n - 1)

    threads = [threading.Thread(target=countdown, args=(3,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(row.call for row in recorder.rows if row.type == "time") == list(range(1, 17))


def test_the_first_samples_of_cpu_are_kept_so_a_short_call_has_some():
    recorder = ListRecorder()
    with BenchmarkSupervisor([CPUMetric("short", interval=1e6)], recorder).measure("short"):
        sum(range(10_000))

    (row,) = recorder.rows
    assert len(row.samples) == 1
    assert row.value is not None
    assert row.value > 0


def test_times_are_monotonic_and_a_clock_that_is_set_back_changes_none(monkeypatch):
    recorder = ListRecorder()
    supervisor = BenchmarkSupervisor([TimeMetric("t")], recorder)
    for wall_s in (2_000.0, 1_000.0):
        recorder.context.wall_clock = lambda wall_s=wall_s: wall_s
        with supervisor.measure("load"):
            recorder.clock.advance(1.5)

    assert [(row.value, row.at_s) for row in recorder.rows] == [(1.5, 0.0), (1.5, 1.5)]
    assert [row.time_s for row in recorder.rows] == [2_000.0, 1_000.0]


def test_a_killed_process_leaves_no_file_that_the_next_run_takes_for_its_own(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from ml.benchmarks import Benchmark, BenchmarkSupervisor, MemoryMetric, TimeMetric\n"
        "benchmark = Benchmark(sys.argv[1], 'killed')\n"
        "with BenchmarkSupervisor([TimeMetric('t'), MemoryMetric('m')], benchmark).measure('load'): pass\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "b.db"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", program, str(path)], cwd=tmp_path, env=env, timeout=LIMIT_S)
    assert killed.returncode == -9
    with Benchmark(path, "next") as benchmark, BenchmarkSupervisor([TimeMetric("t")], benchmark).measure("load"):
        pass

    engine = sa.create_engine(f"sqlite:///{path}")
    query = "SELECT uuid, type FROM measurements JOIN runs ON runs.id = run_id"
    of_next = pd.read_sql_query(query, engine)
    of_next = of_next[of_next["uuid"] == benchmark.uuid]
    engine.dispose()
    assert list(of_next["type"]) == ["time"]
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left <= {"b.db", "b.db-wal", "b.db-shm"}, "no directory of temporary files"
