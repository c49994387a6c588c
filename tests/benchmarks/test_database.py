"""The benchmark database: what is measured is kept, on SQLite and on a real PostgreSQL, whatever else happens."""

import json
import math
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

import ml.benchmarks.writing
from ml.benchmarks import Benchmark, Measurement, Sample, merge, open_benchmark
from ml.benchmarks.identity import RUN_VARIABLE
from ml.benchmarks.schema import METADATA, RUNS
from ml.core.errors import ConfigError, LogValueError
from ml.core.run import RunContext
from ml.db import connect
from ml.testing import FakeClock
from ml.testing.hostile import HALF_SURROGATE, NAMES, TEXTS
from tests.postgres import server

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
INJECTIONS = ["'); DROP TABLE measurements; --", "%s %(x)s :x ?", '"; SELECT 1', "\\", "\x00"]

ODD_TEXTS = list(dict.fromkeys([*TEXTS.values(), *NAMES.values(), *INJECTIONS, HALF_SURROGATE]))


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """An empty database."""
    return str(tmp_path / "benchmarks.db") if request.param == "sqlite" else server().new_database()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "benchmarks.db"


def start(program, *arguments, **environ):
    command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environ
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process):
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return error


def kept(where, **selected):
    with open_benchmark(where) as benchmarks:
        return list(benchmarks.measurements(**selected))


def values(where):
    return [measurement.value for measurement in kept(where)]


# what is kept


def test_a_run_says_what_ran_where_and_how_it_ended(where, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1", "--api-key", "s3cr3t-k3y-0123456789"])
    with Benchmark(where, description="digits", name="train.py", context=RunContext("", rank=1, world_size=2)) as one:
        one.sampler_cpu_s = 0.25

    with open_benchmark(where) as benchmarks:
        (run,) = benchmarks.runs()
        (process,) = run.processes
    assert (run.uuid, run.description, run.name, run.status) == (one.uuid, "digits", "train.py", "finished")
    assert run.started <= run.ended
    assert (process.rank, process.world_size, process.pid) == (1, 2, os.getpid())
    assert process.argv[:3] == ["train.py", "--lr", "0.1"]
    assert "s3cr3t" not in json.dumps(process.argv)
    assert process.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert process.host
    assert process.sampler_cpu_s == 0.25
    assert process.lost == 0


def test_the_commit_of_the_code_is_kept(file, tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (tmp_path / "code.py").write_text("1\n")
    git("init", "-q")
    git("add", "code.py")
    git("commit", "-qm", "x")
    (tmp_path / "code.py").write_text("2\n")
    monkeypatch.chdir(tmp_path)
    Benchmark(file).close()

    with open_benchmark(file) as benchmarks:
        (process,) = benchmarks.runs()[0].processes
    assert process.git_commit == git("rev-parse", "HEAD")
    assert process.git_dirty is True


def test_a_measurement_comes_back_whole(where):
    measurement = Measurement(
        "epoch",
        "energy",
        1.5,
        unit="J",
        source="rapl",
        reason="package and dram",
        method="train.<locals>.epoch",
        call=7,
        status="error",
        error="ValueError: no",
        rank=3,
        at_s=0.25,
        duration_s=0.5,
        time_s=1_767_323_045.678901,
        data={"a": [1, None, "b"]},
        samples=(Sample(0.3, 1.0), Sample(0.4, 2.0)),
    )
    with Benchmark(where) as benchmark:
        benchmark.record([measurement])

    with open_benchmark(where) as benchmarks:
        (stored,) = benchmarks.measurements()
        samples = tuple(benchmarks.samples(stored))
    fields = {name: getattr(stored, name) for name in measurement._fields if name in stored._fields}
    again = measurement._replace(**fields, time_s=stored.time.timestamp(), samples=samples)
    assert again == measurement


def test_no_number_is_not_the_same_as_nan(where):
    numbers = [None, math.nan, math.inf, -math.inf, 0.0, -0.5, 1e308, 5e-324]
    with Benchmark(where) as benchmark:
        benchmark.record([Measurement("x", "x", number) for number in numbers])
        benchmark.record([Measurement("x", "x", 1.0, samples=[Sample(0.0, n) for n in numbers[1:]])])

    with open_benchmark(where) as benchmarks:
        *stored, series = benchmarks.measurements()
        samples = [sample.value for sample in benchmarks.samples(series)]
        frame = benchmarks.to_pandas()
    assert [repr(measurement.value) for measurement in stored] == [repr(number) for number in numbers]
    assert [repr(value) for value in samples] == [repr(number) for number in numbers[1:]]
    assert frame["has_value"].tolist() == [False, *[True] * 8]
    assert [repr(value) for value in frame["value"][1:8]] == [repr(number) for number in numbers[1:]]


def test_data_that_json_lacks_is_kept_as_text(where):
    with Benchmark(where) as benchmark:
        benchmark.log("x", "x", {"curve": [math.nan, math.inf, -math.inf, 0.5], 3: None})

    assert kept(where)[0].data == {"curve": ["NaN", "Infinity", "-Infinity", 0.5], "3": None}


def test_any_text_is_a_description_a_type_a_unit_and_a_value(where):
    with Benchmark(where) as benchmark:
        for text in ODD_TEXTS:
            benchmark.log(text, text, text, text, text)

    assert [(m.description, m.type, m.data, m.unit, m.method) for m in kept(where)] == [
        (text,) * 5 for text in ODD_TEXTS
    ]
    for text in ODD_TEXTS:
        assert len(kept(where, descriptions=[text], types=[text])) == 1
    with open_benchmark(where) as benchmarks:
        assert len(benchmarks.to_pandas()) == len(ODD_TEXTS)
        assert sorted(kind.type for kind in benchmarks.kinds()) == sorted(ODD_TEXTS)


@pytest.mark.parametrize("text", [TEXTS["control"], TEXTS["long"], HALF_SURROGATE, INJECTIONS[0]])
def test_any_text_describes_a_run(where, text):
    Benchmark(where, description=text, name=text).close()

    with open_benchmark(where) as benchmarks:
        (run,) = benchmarks.runs()
    assert (run.description, run.name) == (text, text)


def test_times_come_from_the_clocks_of_the_run_and_never_run_backwards(file):
    clock, wall_clock = FakeClock(), FakeClock()
    with Benchmark(file, context=RunContext("", clock=clock, wall_clock=wall_clock)) as benchmark:
        benchmark.log("a", "x", 1)
        clock.advance(2.0)
        wall_clock.advance(-3600.0)
        benchmark.log("b", "x", 1)

    first, second = kept(file)
    assert second.at_s - first.at_s == 2.0
    assert (second.time - first.time).total_seconds() == -3600.0


def test_secrets_are_taken_out(file):
    with Benchmark(file, description="password=hunter2secret") as benchmark:
        benchmark.record([Measurement("x", "x", 1.0, status="error", error="OSError: postgresql://u:hunter2secret@h")])

    assert kept(file)
    assert b"hunter2secret" not in b"".join(path.read_bytes() for path in file.parent.iterdir())


# time series


def test_a_series_is_kept_while_its_call_runs_and_its_measurement_ends_it(where):
    with Benchmark(where) as benchmark:
        series = benchmark.begin_series(Measurement("load", "cpu", None, status="running"))
        series.add((float(i), 2.0 * i) for i in range(25_000))
        assert benchmark.flush()
        (running,) = kept(where)
        benchmark.log("meanwhile", "x", 1)
        benchmark.record([Measurement("load", "cpu", 5.0, series=series.number, samples=(Sample(25_000.0, 0.5),))])

    with open_benchmark(where) as benchmarks:
        ended, other = benchmarks.measurements()
        samples = list(benchmarks.samples(ended))
        assert benchmarks.count_samples(ended) == len(samples)
        assert list(benchmarks.samples(other)) == []
        frame = benchmarks.samples_to_pandas(ended)
    assert (running.status, running.value) == ("running", None)
    assert (ended.status, ended.value) == ("ok", 5.0)
    assert samples == [*(Sample(float(i), 2.0 * i) for i in range(25_000)), Sample(25_000.0, 0.5)]
    assert frame["value"].tolist() == [sample.value for sample in samples]


@pytest.mark.slow
def test_a_million_samples_leave_memory_flat(file):
    program = """
import resource, sys
from ml.benchmarks import Benchmark, Measurement
benchmark = Benchmark(sys.argv[1])
series = benchmark.begin_series(Measurement("load", "cpu", None))
for first in range(0, 1_000_000, 1000):
    series.add((float(i), 1.0) for i in range(first, first + 1000))
    if first == 100_000:
        benchmark.flush()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if first % 100_000 == 0:
        benchmark.flush()
benchmark.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, file],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) < 16 * 1024  # KiB; the samples alone are 16 MB
    with open_benchmark(file) as benchmarks:
        (measurement,) = benchmarks.measurements()
        assert benchmarks.count_samples(measurement) == 1_000_000


# modes


def test_a_adds_a_run_and_w_begins_anew_and_deletes_nothing(file):
    for description in ("first", "second"):
        Benchmark(file, description=description, mode="a").close()
    with Benchmark(file, description="third", mode="w") as benchmark:
        benchmark.log("x", "x", 1)
    Benchmark(file, description="fourth", mode="w").close()

    def described(path):
        with open_benchmark(path) as benchmarks:
            return [run.description for run in benchmarks.runs()]

    assert described(file) == ["fourth"]
    assert described(f"{file}.old-1") == ["first", "second"]
    assert described(f"{file}.old-2") == ["third"]


def test_w_takes_the_log_of_sqlite_along_and_who_writes_meanwhile_goes_on_in_the_new_file(file):
    writing = Benchmark(file, description="old")
    writing.log("before", "x", 1)
    assert writing.flush()
    assert Path(f"{file}-wal").stat().st_size > 0

    Benchmark(file, description="new", mode="w").close()
    writing.log("after", "x", 2)
    writing.close()

    assert values(f"{file}.old-1") == [1]
    assert values(file) == [2]
    with open_benchmark(file) as benchmarks:
        assert [run.description for run in benchmarks.runs()] == ["old", "new"]


def test_w_on_a_server_is_refused_and_says_what_to_do():
    with pytest.raises(ConfigError, match=r"Use mode 'a'.*"):
        Benchmark(server().new_database(), mode="w")


def test_r_reads_with_sqlalchemy_and_begins_no_run(where):
    with Benchmark(where, description="x") as benchmark:
        benchmark.log("a", "x", 1)
        with pytest.raises(ConfigError, match="needs mode 'r'"):
            benchmark.query(RUNS)
        assert benchmark.session.scalars(sa.select(RUNS.c.uuid)).all() in ([], [benchmark.uuid])

    with Benchmark(where, mode="r") as reading:
        assert reading.uuid == ""
        assert reading.query(RUNS.c.uuid, RUNS.c.description).all() == [(benchmark.uuid, "x")]
        assert reading.session.get_bind().dialect.name in where or where.endswith(".db")
        for write in (lambda: reading.log("a", "x", 1), lambda: reading.record([]), reading.check_writes):
            with pytest.raises(ConfigError, match="open for reading"):
                write()
        with pytest.raises(sa.exc.SQLAlchemyError):
            reading.session.execute(RUNS.delete())


def test_what_is_no_database_for_benchmarks_is_refused_and_left_as_it_was(tmp_path):
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("my notes " * 1000)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, uid TEXT)")
    connection.close()
    before = text.read_bytes(), other.read_bytes()

    for path in (text, other):
        for mode in ("a", "r"):
            with pytest.raises((ConfigError, ValueError)):  # noqa: PT012
                Benchmark(path, mode=mode)
                open_benchmark(path)
    assert (text.read_bytes(), sqlite3.connect(other).execute("SELECT sql FROM sqlite_master").fetchall()) == (
        before[0],
        [("CREATE TABLE runs (id INTEGER PRIMARY KEY, uid TEXT)",)],
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "x"},
        {"description": 3},
        {"name": None},
        {"db_file": ""},
        {"db_file": "sqlite://"},
        {"db_file": "no://x"},
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(tmp_path, arguments):
    with pytest.raises(ConfigError):
        Benchmark(**{"db_file": tmp_path / "x.db"} | arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_missing_is_not_made_by_reading(tmp_path):
    with pytest.raises(FileNotFoundError):
        Benchmark(tmp_path / "x.db", mode="r")
    assert list(tmp_path.iterdir()) == []


# versions of the tables


def test_an_older_database_is_brought_up_to_date_and_can_be_read_before(where):
    with Benchmark(where, description="old") as benchmark:
        benchmark.log("a", "x", 1)
    with connect(where).begin() as connection:
        connection.execute(sa.text("ALTER TABLE runs DROP COLUMN git_dirty"))
        connection.execute(sa.text("ALTER TABLE measurements DROP COLUMN data"))
        connection.execute(sa.text("UPDATE schema_versions SET version = 0"))

    assert values(where) == [1]
    with Benchmark(where, description="new") as benchmark:
        benchmark.log("b", "x", [2])
    assert [(m.value, m.data) for m in kept(where)] == [(1, None), (None, [2])]


def test_a_newer_database_is_refused(where):
    Benchmark(where).close()
    with connect(where).begin() as connection:
        connection.execute(sa.text("UPDATE schema_versions SET version = 99"))

    with pytest.raises(ConfigError, match="99"):
        Benchmark(where)
    with pytest.raises(ConfigError, match="99"):
        open_benchmark(where)


# several processes


def test_four_append_and_one_is_killed_and_no_row_is_lost_but_its_last_batch(where):
    Benchmark(where, description="makes the tables").close()
    others = [start("appends.py", where, name, 80) for name in ("a", "b", "c")]
    victim = start("appends.py", where, "victim", 0)
    acknowledged = 0

    with open_benchmark(where) as benchmarks:

        def rows():
            by_process = {}
            for measurement in benchmarks.measurements():
                by_process.setdefault(measurement.process, []).append(measurement.number)
            for numbers in by_process.values():
                assert numbers == list(range(1, len(numbers) + 1))
            return by_process

        while acknowledged < 50:
            acknowledged = int(victim.stdout.readline())
            rows()
        victim.kill()
        for other in others:
            while other.poll() is None and other.stdout.readline():
                rows()
        messages = [ended(other) for other in others]
        rest = victim.stdout.read()  # not of communicate, which knows nothing of what readline has read ahead
        acknowledged = max([acknowledged, *map(int, rest.split())])
        victim.communicate(timeout=60)

        runs = {run.description: run for run in benchmarks.runs()}
        counts = {name: len(rows().get(runs[name].processes[0].id, [])) for name in ("a", "b", "c", "victim")}
    assert victim.returncode == -signal.SIGKILL
    assert messages == ["", "", ""]
    assert counts == {"a": 80, "b": 80, "c": 80, "victim": counts["victim"]}
    assert acknowledged <= counts["victim"] <= acknowledged + 10
    assert runs["victim"].status == "running"
    assert {runs[name].status for name in ("a", "b", "c")} == {"finished"}


def test_a_benchmark_that_is_left_open_is_closed_at_exit(file):
    ended(start("appends.py", file, "a", 13, "LEFT_OPEN"))

    assert values(file) == list(range(1, 14))
    with open_benchmark(file) as benchmarks:
        assert benchmarks.runs()[0].status == "finished"


@pytest.mark.parametrize(
    ("last_line", "status"),
    [("", "finished"), ("raise ValueError('no')", "failed"), ("raise KeyboardInterrupt", "interrupted")],
)
def test_how_a_program_ended_is_known_also_of_a_benchmark_that_is_left_open(file, last_line, status):
    program = f"from ml.benchmarks import Benchmark\nleft_open = Benchmark({str(file)!r})\n{last_line}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False, timeout=60)

    with open_benchmark(file) as benchmarks:
        assert benchmarks.runs()[0].status == status


def test_a_working_directory_that_was_removed_is_no_failure(file, tmp_path):
    program = (
        "import os\nos.mkdir('gone'); os.chdir('gone'); os.rmdir(os.getcwd())\n"
        "from ml.benchmarks import Benchmark\n"
        f"with Benchmark({str(file)!r}) as benchmark: benchmark.log('x', 'x', 1)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, timeout=60)

    assert values(file) == [1]


def test_a_time_of_day_that_is_set_back_makes_no_run_shorter(file):
    clock, time_of_day = FakeClock(100.0), FakeClock(1.7e9)
    with Benchmark(file, context=RunContext("", clock=clock, wall_clock=time_of_day)):
        clock.advance(60.0)
        time_of_day.advance(-3600.0)

    with open_benchmark(file) as benchmarks:
        (run,) = benchmarks.runs()
    assert (run.ended - run.started).total_seconds() == 60.0


def test_a_forked_child_is_told_where_to_log_and_not_that_a_queue_is_full(file, caplog):
    with Benchmark(file) as benchmark:
        child = os.fork()
        if child == 0:
            benchmark.log("child", "x", 2)
            is_right = "Log from the parent" in caplog.text and "queue_full" not in caplog.text
            os._exit(0 if is_right and benchmark.stats().dropped == {"closed": 1} else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_writes_nothing_and_the_parent_goes_on(where):
    with Benchmark(where) as benchmark:
        benchmark.log("before", "x", 1)
        assert benchmark.flush()
        child = os.fork()
        if child == 0:
            benchmark.log("child", "x", 2)
            benchmark.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        benchmark.log("after", "x", 3)

    assert values(where) == [1, 3]


def test_a_benchmark_cannot_be_pickled(file):
    with Benchmark(file) as benchmark, pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(benchmark)


def test_processes_that_are_told_one_run_share_it(where, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "job-4711")
    for rank in (1, 0):
        with Benchmark(where, description="job", context=RunContext("", rank=rank, world_size=2)) as benchmark:
            benchmark.log("rank", "rank", rank)

    with open_benchmark(where) as benchmarks:
        (run,) = benchmarks.runs()
    assert run.uuid == "job-4711"
    assert [process.rank for process in run.processes] == [1, 0]
    assert [(m.uuid, m.rank, m.value) for m in kept(where)] == [("job-4711", 1, 1), ("job-4711", 0, 0)]


def test_a_run_that_cannot_be_a_name_is_refused(file, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "a/b")
    with pytest.raises(ConfigError, match=RUN_VARIABLE):
        Benchmark(file)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one.db", "rank-{rank}.db"])
def test_the_ranks_of_a_job_are_one_run_in_one_file_or_in_merged_ones(tmp_path, name):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [str(PROGRAMS / "rank.py"), str(tmp_path / name)]
    subprocess.run([*command, *program], env=environment, check=True, capture_output=True, timeout=100)

    merge(sorted(tmp_path.glob("*.db")), tmp_path / "merged")
    with open_benchmark(tmp_path / "merged") as benchmarks:
        (run,) = benchmarks.runs()
        assert sorted(process.rank for process in run.processes) == [0, 1]
        assert sorted(m.value for m in benchmarks.measurements()) == [0, 1]


def test_merging_keeps_every_row_and_merging_again_adds_what_is_new(tmp_path, where, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "job")
    files = [tmp_path / "rank-0.db", tmp_path / "rank-1.db"]
    ranks = [Benchmark(file, context=RunContext("", rank=i, world_size=2)) for i, file in enumerate(files)]
    for rank in ranks:
        rank.record([Measurement("x", "x", math.nan, rank=rank.context.rank, samples=[Sample(0.0, 1.0)])])
        assert rank.flush()

    assert merge(files, where) == 2
    for rank in ranks:
        rank.log("late", "x", 2)
        rank.close()
    assert merge(files, where) == 2

    with open_benchmark(where) as benchmarks:
        (run,) = benchmarks.runs()
        stored = list(benchmarks.measurements())
        assert run.status == "finished"
        assert [(m.rank, m.description) for m in stored] == [(0, "x"), (0, "late"), (1, "x"), (1, "late")]
        assert [list(benchmarks.samples(m)) for m in stored[::2]] == [[Sample(0.0, 1.0)]] * 2
    with pytest.raises(ConfigError, match="into itself"):
        merge(files, files[0])
    with pytest.raises(FileNotFoundError):
        merge([tmp_path / "missing.db"], where)


# what goes wrong


def test_a_locked_database_holds_nobody_up_and_loses_nothing(file):
    benchmark = Benchmark(file)
    assert benchmark.flush()
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(100):
            benchmark.log("x", "x", number)
        assert values(file) == []
        other.execute("ROLLBACK")
    other.close()
    benchmark.close()

    assert values(file) == list(range(100))
    assert benchmark.stats().dropped == {}


def test_a_database_that_is_away_is_tried_again(caplog):
    postgres = server()
    where = postgres.new_database()
    benchmark = Benchmark(where)
    assert benchmark.flush()
    postgres.stop()
    try:
        benchmark.log("x", "x", 1)
        assert benchmark.flush(timeout_s=0.2) is False
    finally:
        postgres.start()
    assert benchmark.flush()
    benchmark.close()

    assert values(where) == [1]
    assert "tried again" in caplog.text
    assert benchmark.stats().dropped == {}


def test_what_does_not_fit_the_queue_is_counted_and_told(file, monkeypatch, caplog):
    monkeypatch.setattr(ml.benchmarks.writing, "MAX_QUEUE_BYTES", 20_000)
    benchmark = Benchmark(file)
    assert benchmark.flush()
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(100):
            benchmark.log("x", "x", number)
        other.execute("ROLLBACK")
    other.close()
    assert benchmark.flush() is False
    benchmark.close()

    stats, stored = benchmark.stats(), values(file)
    assert stats.accepted == 100 == stats.written + stats.dropped["queue_full"]
    assert stats.written == len(stored) < 100
    assert stored[-1] == 99
    assert "rows are lost" in caplog.text
    with open_benchmark(file) as benchmarks:
        assert benchmarks.runs()[0].processes[0].lost == stats.dropped["queue_full"]


def test_a_measurement_that_cannot_be_kept_costs_no_other(where, caplog):
    bad = [
        Measurement("bad", "x", 1.0, time_s=math.inf),
        Measurement("bad", "x", 1.0, call=2**70),
        Measurement("bad", "x", 1.0, data={"x": object()}),
        Measurement("bad", "x", "text"),
        Measurement(None, "x", 1.0),
        Measurement("half", "x", 1.0, samples=[("a", "b")]),
    ]
    with Benchmark(where) as benchmark:
        for number, measurement in enumerate(bad):
            benchmark.record([Measurement("good", "x", float(number)), measurement])
        assert benchmark.flush() is False
        benchmark.log("last", "x", 1)

    assert [m.value for m in kept(where, descriptions=["good"])] == [0, 1, 2, 3, 4, 5]
    assert kept(where)[-1].description == "last"
    assert {m.description for m in kept(where)} == {"good", "half", "last"}
    assert sum(benchmark.stats().failed.values()) == 6
    assert "rows are lost" in caplog.text


@pytest.mark.parametrize("value", [None, object(), 1j, [1, object()], {"a": {1, object()}}, b"bytes"])
def test_a_value_that_is_none_is_refused_with_the_reason(file, value):
    with Benchmark(file) as benchmark, pytest.raises(LogValueError):
        benchmark.log("x", "x", value)
    assert kept(file) == []


def test_a_database_that_is_removed_meanwhile_is_made_anew_and_that_is_told(file, caplog):
    benchmark = Benchmark(file)
    benchmark.log("before", "x", 1)
    assert benchmark.flush()
    for path in file.parent.iterdir():
        path.unlink()
    benchmark.log("after", "x", 2)
    benchmark.close()

    assert values(file) == [2]
    assert "moved or removed" in caplog.text


def test_after_closing_nothing_is_taken_and_nothing_raised(file, caplog):
    benchmark = Benchmark(file)
    benchmark.close()
    benchmark.close()
    benchmark.log("late", "x", 1)

    assert kept(file) == []
    assert benchmark.stats().dropped == {"closed": 1}
    assert benchmark.flush() is False


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_ends_by_an_error_says_so(file, error, status):
    with pytest.raises(error), Benchmark(file):
        raise error
    with open_benchmark(file) as benchmarks:
        assert benchmarks.runs()[0].status == status


# the defects of UMLAUT


def test_umlaut_three_calls_are_three_rows_and_never_their_sum(where):
    with Benchmark(where) as benchmark:
        for call in (1, 2, 3):
            benchmark.record([Measurement("epoch", "latency", 0.1, call=call, method="train")])

    assert [(m.call, m.value) for m in kept(where)] == [(1, 0.1), (2, 0.1), (3, 0.1)]


def test_umlaut_two_values_with_one_description_are_both_kept_when_it_closes(where):
    with Benchmark(where) as benchmark:
        benchmark.log("loss", "loss", [0.5])
        benchmark.log("loss", "loss", [0.25])

    assert [m.data for m in kept(where)] == [[0.5], [0.25]]


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_umlaut_nothing_is_pickled_and_no_files_of_other_runs_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "umlaut_tmp").mkdir()
    (tmp_path / "umlaut_tmp" / "1").write_bytes(pickle.dumps(Bomb()))
    with Benchmark("one.db") as one, Benchmark("two.db") as two:
        with pytest.raises(LogValueError):
            one.log("x", "x", Bomb())
        one.log("x", "x", 1)
        two.log("x", "x", 2)

    assert (values("one.db"), values("two.db")) == ([1], [2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.db", "two.db", "umlaut_tmp"]


def test_umlaut_rows_of_a_killed_run_stay_its_own(file):
    victim = start("appends.py", file, "victim", 0)
    victim.stdout.readline()
    victim.kill()
    victim.communicate(timeout=60)
    with Benchmark(file, description="next") as benchmark:
        benchmark.log("x", "x", 1)

    assert [m.value for m in kept(file, uuids=[benchmark.uuid])] == [1]
    with open_benchmark(file) as benchmarks:
        assert [(run.description, run.status) for run in benchmarks.runs()] == [
            ("victim", "running"),
            ("next", "finished"),
        ]


def test_umlaut_the_thread_that_writes_sleeps_until_there_is_something(file):
    with Benchmark(file) as benchmark:
        assert benchmark.flush()
        assert benchmark.check_writes()._idle() is None  # it asks for no time after which to be called again


def test_umlaut_data_is_json_once_and_not_json_in_json(file):
    with Benchmark(file) as benchmark:
        benchmark.log("x", "x", [[1, 2], [3, 4]])

    (text,) = sqlite3.connect(file).execute("SELECT data FROM measurements").fetchone()
    assert json.loads(text) == [[1, 2], [3, 4]]
    assert set(METADATA.tables) == {"runs", "measurements", "samples"}
