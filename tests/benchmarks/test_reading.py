"""Reading a benchmark database back: what is chosen, in which order, in bounded memory, and what is refused."""

import math
import sqlite3
import tracemalloc

import pandas as pd
import pytest

import ml.benchmarks.reading
from ml.benchmarks import Benchmark, Measurement, merge, open_benchmark
from ml.benchmarks.identity import RUN_VARIABLE
from ml.benchmarks.stored import StoredMeasurement
from ml.benchmarks.summary import summarize
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


DAMAGES = [
    "update measurements set value = 'abc'",
    "update measurements set at_s = 'abc'",
    "update measurements set time = 'abc'",
    "update measurements set data = '{' || data",
    "update samples set value = 'abc'",
    "update samples set at_s = x'00'",
    "update runs set argv = '5'",
    "update runs set argv = '[5]'",
    "update runs set versions = '[]'",
    "update runs set started = 'abc'",
    "update runs set sampler_cpu_s = 'abc'",
    "update runs set lost = 'abc'",
]


def everything_of(benchmarks):
    return benchmarks.runs(), [list(benchmarks.samples(measurement)) for measurement in benchmarks.measurements()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_a_column_holds_that_it_cannot_is_a_format_error(file, tmp_path, damage):
    with Benchmark(file) as benchmark:
        benchmark.record([Measurement("x", "cpu", 1.0, data=[1], samples=[(0.0, 1.0)])])
    with sqlite3.connect(file) as connection:
        connection.execute(damage)
    connection.close()

    with open_benchmark(file) as benchmarks, pytest.raises(FormatError):
        everything_of(benchmarks)


def test_a_version_that_is_none_is_no_database_for_benchmarks(file):
    Benchmark(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("update schema_versions set version = 'abc'")
    connection.close()

    with pytest.raises(ConfigError, match="no database for benchmarks"):
        open_benchmark(file)


def test_samples_far_apart_are_found_at_once(file):
    with Benchmark(file) as benchmark:
        benchmark.record([Measurement("x", "cpu", 1.0, samples=[(0.0, 1.0), (1.0, 2.0)])])
    with sqlite3.connect(file) as connection:
        connection.execute("update samples set sample = 9000000000000000000 where sample = 1")
    connection.close()

    with open_benchmark(file) as benchmarks:
        assert [sample.value for sample in benchmarks.samples(next(benchmarks.measurements()))] == [1.0, 2.0]


def test_a_source_that_is_damaged_in_the_middle_is_a_format_error(file, tmp_path):
    with Benchmark(file) as benchmark:
        benchmark.record([Measurement("x", "cpu", 1.0, samples=[(float(n), 1.0) for n in range(60_000)])])
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100_000] = b"\xff" * 100_000
    file.write_bytes(content)

    with pytest.raises(FormatError):
        merge([file], into=tmp_path / "into.db")


def test_numbers_that_are_none_or_as_large_as_can_be_are_summarized():
    def of(*values):
        rows = [
            Measurement("x", "x", value)._asdict() | {"uuid": "", "process": 1, "number": 1, "time": None}
            for value in values
        ]
        return summarize(StoredMeasurement(**{name: row[name] for name in StoredMeasurement._fields}) for row in rows)[
            0
        ]

    for values in ([math.nan, 1.0, 2.0, 3.0], [3.0, math.nan, 1.0, 2.0], [1.0, 2.0, 3.0, math.nan]):
        one = of(*values)
        assert (one.median, one.mean, one.low, one.high, one.stdev) == (2.0, 2.0, 1.0, 3.0, 1.0)
    nothing = of(math.nan, math.nan)
    assert (repr(nothing.median), repr(nothing.low), nothing.mean) == ("nan", "nan", None)
    huge = of(1.7e308, 1.7e308)
    assert (huge.median, huge.mean, huge.stdev) == (1.7e308, 1.7e308, 0.0)
    assert of(1.7e308, -1.7e308).stdev == math.inf
    assert of(1e200, 3e200).stdev == pytest.approx(2**0.5 * 1e200)
