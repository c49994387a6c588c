"""Reading a benchmark database back: what is chosen, in which order, in bounded memory, and what is refused."""

import tracemalloc

import pandas as pd
import pytest

import ml.benchmarks.reading
from ml.benchmarks import Benchmark, Measurement, open_benchmark
from ml.benchmarks.identity import RUN_VARIABLE
from ml.core.errors import ConfigError, FormatError
from ml.core.run import RunContext


@pytest.fixture
def file(tmp_path):
    return tmp_path / "benchmarks.db"


def run(file, uuid, measurements, monkeypatch, **arguments):
    monkeypatch.setenv(RUN_VARIABLE, uuid)
    with Benchmark(file, description=f"run {uuid}", **arguments) as benchmark:
        benchmark.record(measurements)


@pytest.fixture
def benchmarks(file, monkeypatch):
    """Two runs; of the second there are two ranks."""
    run(file, "aa11", [Measurement("train", "time", 1.0, "s"), Measurement("load", "cpu", 2.0)], monkeypatch)
    for rank in (0, 1):
        context = RunContext("", rank=rank, world_size=2)
        run(file, "ab22", [Measurement("train", "time", 3.0 + rank, "s", rank=rank)], monkeypatch, context=context)
    with open_benchmark(file) as benchmarks:
        yield benchmarks


def test_measurements_are_chosen_by_run_type_and_description_and_stay_in_order(benchmarks):
    def values(**chosen):
        return [measurement.value for measurement in benchmarks.measurements(**chosen)]

    assert values() == [1, 2, 3, 4]
    assert values(uuids=["ab22"]) == [3, 4]
    assert values(uuids=["ab", "aa11", "aa"]) == [3, 4, 1, 2]
    assert values(types=["time"]) == [1, 3, 4]
    assert values(types=["time", "cpu"], descriptions=["load"]) == [2]
    assert values(types=["none"]) == []


def test_the_beginning_of_a_uuid_is_enough_where_it_fits_one_run(benchmarks):
    assert [run.uuid for run in benchmarks.runs(["aa"])] == ["aa11"]
    with pytest.raises(ConfigError, match="aa11, ab22"):
        benchmarks.runs(["a"])
    with pytest.raises(ConfigError, match="no run"):
        list(benchmarks.measurements(uuids=["zz"]))
    with pytest.raises(ConfigError, match="sequence"):
        benchmarks.runs("aa11")


def test_a_whole_uuid_is_meant_also_where_another_one_begins_with_it(file, benchmarks, monkeypatch):
    run(file, "aa111", [], monkeypatch)

    assert [run.uuid for run in benchmarks.runs(["aa11"])] == ["aa11"]


def test_kinds_say_of_what_there_are_measurements(benchmarks):
    assert [tuple(kind) for kind in benchmarks.kinds()] == [
        ("aa11", "cpu", "load", 1),
        ("aa11", "time", "train", 1),
        ("ab22", "time", "train", 2),
    ]


def test_frames_have_the_types_that_pandas_counts_with(benchmarks):
    frame, runs = benchmarks.to_pandas(types=["time"]), benchmarks.runs_to_pandas()

    assert frame.groupby("uuid")["value"].mean().to_dict() == {"aa11": 1.0, "ab22": 3.5}
    assert isinstance(frame["time"].dtype, pd.DatetimeTZDtype)
    assert frame["value"].dtype == "float64"
    assert runs["uuid"].tolist() == ["aa11", "ab22", "ab22"]
    assert list(benchmarks.to_pandas(types=["none"]).columns) == list(frame.columns)


def test_a_run_of_several_processes_has_ended_when_all_have(file, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "job")
    first, second = (Benchmark(file, context=RunContext("", rank=rank, world_size=2)) for rank in (0, 1))
    first.close()
    assert second.flush()
    with open_benchmark(file) as benchmarks:
        assert [(run.status, run.ended) for run in benchmarks.runs()] == [("running", None)]
        second.close()
        (run,) = benchmarks.runs()
    assert (run.status, run.ended) == ("finished", run.processes[1].ended)


def test_long_runs_and_series_are_read_in_bounded_memory(file, monkeypatch):
    monkeypatch.setattr(ml.benchmarks.reading, "_MEASUREMENTS_AT_ONCE", 100)
    with Benchmark(file) as benchmark:
        benchmark.record([Measurement("x", "x", float(number)) for number in range(1050)])
        benchmark.record([Measurement("long", "x", 1.0, samples=[(float(i), 1.0) for i in range(100_000)])])

    with open_benchmark(file) as benchmarks:
        *others, long = benchmarks.measurements()
        assert [measurement.value for measurement in others] == list(range(1050))
        for _ in benchmarks.samples(others[0]):
            raise AssertionError("it has none")
        tracemalloc.start()
        try:
            assert [at_s for at_s, _ in benchmarks.samples(long) if at_s % 10_000 == 0] == [1e4 * i for i in range(10)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 100_000 * 80  # what all samples would take


def test_samples_that_were_given_up_in_the_middle_leave_the_others(file):
    with Benchmark(file) as benchmark:
        benchmark.record([Measurement("x", "x", 1.0, samples=[(float(i), 1.0) for i in range(35_000)])])
    with Benchmark(file, mode="a") as writing:
        writing.session.execute(
            ml.benchmarks.schema.SAMPLES.delete().where(ml.benchmarks.schema.SAMPLES.c.sample < 25_000)
        )
        writing.session.commit()

    with open_benchmark(file) as benchmarks:
        (measurement,) = benchmarks.measurements()
        assert [sample.at_s for sample in benchmarks.samples(measurement)] == [float(i) for i in range(25_000, 35_000)]


def test_reading_changes_no_file(file, benchmarks):
    benchmarks.close()
    before = file.read_bytes()
    with open_benchmark(file) as again:
        list(again.measurements())
        again.to_pandas()

    assert file.read_bytes() == before


def test_what_cannot_be_read_is_told_apart(file, tmp_path):
    with pytest.raises(FileNotFoundError):
        open_benchmark(file)
    assert not file.exists()
    file.write_text("no database " * 1000)
    with pytest.raises(FormatError, match="no database"):
        open_benchmark(file)
    (tmp_path / "empty.db").touch()
    with pytest.raises(ConfigError, match="no database for benchmarks"):
        open_benchmark(tmp_path / "empty.db")
    with pytest.raises(ConfigError, match="cannot be read"):
        open_benchmark("postgresql+psycopg://user:hunter2@127.0.0.1:1/name")
    for where in ("", "no://x", "sqlite://"):
        with pytest.raises(ConfigError):
            open_benchmark(where)


def test_damaged_data_is_a_format_error_and_runs_no_code(file):
    with Benchmark(file) as benchmark:
        benchmark.log("x", "x", [1])
    with Benchmark(file, mode="a") as writing:
        writing.session.execute(ml.benchmarks.schema.MEASUREMENTS.update().values(data="[1, NaN, __import__('os')]"))
        writing.session.commit()

    with open_benchmark(file) as benchmarks, pytest.raises(FormatError):
        list(benchmarks.measurements())
