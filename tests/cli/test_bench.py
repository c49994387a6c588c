import csv
import io
import json
import math
import os
import pty
import select
import signal
import subprocess
import sys

import pytest
from PIL import Image

from ml.benchmarks.database import Benchmark
from ml.benchmarks.measurement import Measurement, Sample
from ml.benchmarks.reading import open_benchmark
from ml.benchmarks.trackers import LossTracker

HOSTILE = '=1+1,"</script><img src=x onerror=alert(1)>\x1b[2J'


def call(value, type_="time", **fields):
    rest = {"unit": "s", "source": "process", "method": "train", "time_s": 1.7e9} | fields
    return Measurement(
        fields.pop("description", "work"), type_, value, **{k: v for k, v in rest.items() if k != "description"}
    )


@pytest.fixture
def make(tmp_path):
    """Adds a run to a database."""

    def make(name, *measurements, description="a run"):
        with Benchmark(tmp_path / name, description, name="train.py") as benchmark:
            benchmark.record(measurements)
        return benchmark.uuid

    return make


@pytest.fixture
def database(make, tmp_path):
    """Two runs: times, a CPU series, an energy that nobody measured, a call that raised, and a loss."""
    samples = tuple(Sample(float(n), 10.0 * n) for n in range(4))
    make("b.db", *(call(value, call=n) for n, value in enumerate([3.0, 1.0, 2.0], start=1)), description="first")
    with Benchmark(tmp_path / "b.db", "second", name="train.py") as benchmark:
        benchmark.record(
            [
                call(4.0, call=1),
                call(75.0, "cpu", unit="%", samples=samples),
                call(None, "energy", unit="J", source="unavailable", reason="no counters here"),
                call(9.0, call=2, status="error", error="ValueError: no"),
            ]
        )
        LossTracker(benchmark).track([1.0, 0.5], "loss")
    return "b.db"


def rows_of(text):
    return [line.split() for line in text.splitlines()]


# ls and show


def test_runs_are_listed_with_what_was_measured(mlog, database, tmp_path):
    said = mlog("bench", "ls", database)

    first, second = (run.uuid[:8] for run in open_benchmark(tmp_path / database).runs())
    assert said.status == 0
    rows = rows_of(said.out)
    assert [row[0] for row in rows] == ["run", first, second]
    assert rows[1][-3:] == ["time", "train.py", "first"]
    assert rows[2][-6:] == ["cpu", "energy", "loss", "time", "train.py", "second"]


def test_calls_amount_to_count_median_mean_and_ends_and_what_is_missing_says_why(mlog, database):
    said = mlog("bench", "show", database, "-t", "time", "-t", "energy")

    rows = rows_of(said.out)
    assert rows[0][:6] == ["run", "type", "description", "method", "calls", "median"]
    assert rows[1][:11] == ["first", "time", "work", "train", "3", "2", "s", "2", "1", "1", "3"]
    assert rows[2][:7] == ["second", "time", "work", "train", "1", "4", "s"]
    assert "time of work, train, second: ValueError: no" in said.out
    assert "energy of work, train, second: no counters here" in said.out


def test_the_same_as_csv_and_json(mlog, database):
    arguments = ("bench", "show", database, "-t", "time", "-d", "work")

    from_csv = list(csv.DictReader(io.StringIO(mlog(*arguments, "--to", "csv").out)))
    from_json = json.loads(mlog(*arguments, "-p", "json").out, parse_constant=pytest.fail)

    assert [(row["calls"], row["median"], row["failed"]) for row in from_csv] == [("3", "2.0", ""), ("1", "4.0", "1")]
    assert [(row["calls"], row["median"], row["failed"]) for row in from_json] == [(3, 2.0, None), (1, 4.0, 1)]


def test_runs_are_chosen_by_the_beginning_of_their_uuid(mlog, database, tmp_path):
    first, second = open_benchmark(tmp_path / database).runs()

    one = json.loads(mlog("bench", "show", database, "-u", second.uuid[:6], "-t", "time", "-p", "json").out)
    both = json.loads(mlog("bench", "show", database, "-u", first.uuid, "-u", second.uuid, "-p", "json").out)

    assert [row["uuid"] for row in one] == [second.uuid]
    assert {row["uuid"] for row in both} == {first.uuid, second.uuid}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "absent.db"), "There is no benchmark database"),
        (("ls", __file__), "no database of SQLite"),
        (("show", "b.db", "-t", "tmie"), "There is no type 'tmie'. There are: "),
        (("show", "b.db", "-d", "x"), "There is no description 'x'. There are: "),
        (("show", "b.db", "-u", "zzz"), "no run whose uuid begins with 'zzz'"),
        (("plot", "b.db", "-t", "energy"), "There is nothing to draw"),
        (("export", "b.db", "-p", "html", "--samples"), "--samples is for csv and json"),
        (("compare", "b.db", "b.db", "--fail-above", "-1"), "a factor above 0"),
        (("compare", "b.db", "other.db"), "no numbers of the same type"),
        (("run", "--"), "There is no command to run"),
        (("run", "--", "no-such-program"), "Cannot run 'no-such-program'"),
        (("run", "--interval", "0", "--", "true"), "interval"),
        ((), "required: WORD"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line_and_status_2(mlog, database, make, arguments, words):
    make("other.db", call(1.0, "latency"))

    said = mlog("bench", *arguments)

    assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)
    assert words in said.err


def test_an_empty_database_is_shown_as_empty(mlog, make):
    make("empty.db")

    assert mlog("bench", "show", "empty.db") == (0, "", "")
    assert mlog("bench", "show", "empty.db", "-p", "json").out == "[]\n"
    assert mlog("bench", "plot", "empty.db").status == 2
    assert mlog("bench", "plot", "empty.db", "-p", "html").status == 0


# plot and export


def test_a_picture_and_a_page_are_written_where_the_command_stands(mlog, database, tmp_path):
    assert mlog("bench", "plot", database) == (0, "b.png\n", "")
    assert mlog("bench", "plot", database, "--to", "html", "-o", "page.html") == (0, "page.html\n", "")

    assert Image.open(tmp_path / "b.png").width > 900
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg ") == 4  # times, CPU over time and by call, loss
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("b.png", "page.html")} == {0o600}


def test_every_measurement_is_exported_and_every_sample(mlog, database, tmp_path):
    stored = list(open_benchmark(tmp_path / database).measurements())

    rows = list(csv.DictReader(io.StringIO(mlog("bench", "export", database).out)))
    lines = [json.loads(line) for line in mlog("bench", "export", database, "-p", "json").out.splitlines()]
    mlog("bench", "export", database, "--samples", "-o", "samples.csv")

    assert [row["type"] for row in rows] == [line["type"] for line in lines] == [one.type for one in stored]
    assert [float(row["value"]) if row["value"] else None for row in rows] == [one.value for one in stored]
    assert [line["data"] for line in lines][-1] == [1.0, 0.5]
    assert rows[-1]["data"] == "[1.0, 0.5]"
    with open(tmp_path / "samples.csv") as file:
        samples = list(csv.DictReader(file))
    assert [(float(row["at_s"]), float(row["value"])) for row in samples] == [(n, 10.0 * n) for n in range(4)]
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_non_finite_numbers_survive(mlog, make):
    make("b.db", *(call(value) for value in (math.nan, math.inf, -math.inf)))

    rows = list(csv.DictReader(io.StringIO(mlog("bench", "export", "b.db").out)))
    exported = mlog("bench", "export", "b.db", "-p", "json").out.splitlines()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in exported]

    assert [row["value"] for row in rows] == ["nan", "inf", "-inf"]
    assert [line["value"] for line in lines] == ["NaN", "Infinity", "-Infinity"]
    assert mlog("bench", "show", "b.db").status == 0


def test_hostile_texts_are_no_formula_no_markup_and_no_escape(mlog, make):
    make("b.db", call(1.0, description=HOSTILE, method=HOSTILE, error=HOSTILE), description=HOSTILE)

    [row] = csv.DictReader(io.StringIO(mlog("bench", "export", "b.db").out))
    page = mlog("bench", "export", "b.db", "-p", "html").out
    for word in ("ls", "show"):
        said = mlog("bench", word, "b.db")
        assert "\x1b" not in said.out + said.err
        assert r"\x1b[2J" in said.out

    assert row["description"] == f"'{HOSTILE}"
    assert "<img" not in page
    assert "\x1b" not in page
    assert page.count("<script") == 1


# compare


def test_a_regression_past_the_factor_is_status_1(mlog, make):
    make("a.db", *(call(1.0 + n / 1000) for n in range(20)))
    make("c.db", *(call(1.3 + n / 1000) for n in range(20)))

    slower = mlog("bench", "compare", "a.db", "c.db", "--fail-above", "1.1")

    assert slower.status == 1
    row = rows_of(slower.out)[1]
    assert row[:7] == ["time", "work", "train", "s", "process", "20", "20"]
    assert float(row[9]) == pytest.approx(1.297, abs=0.001)
    assert float(row[10]) <= float(row[9]) <= float(row[11])
    assert row[12] == "worse"
    assert "worse by more than 1.1: time of work, train, 1.297 times" in slower.out
    assert mlog("bench", "compare", "a.db", "c.db", "--fail-above", "1.5").status == 0
    assert mlog("bench", "compare", "a.db", "c.db").status == 0
    assert mlog("bench", "compare", "c.db", "a.db", "--fail-above", "1.1").status == 0


def test_one_slow_method_is_not_hidden_by_the_others_of_its_description(mlog, make):
    make("a.db", *[call(1.0)] * 6, *[call(0.01, method="evaluate")] * 4)
    make("c.db", *[call(2.0)] * 6, *[call(0.01, method="evaluate")] * 90)

    said = mlog("bench", "compare", "a.db", "c.db", "--fail-above", "1.1", "-p", "json")

    assert said.status == 1
    assert [(row["method"], row["ratio"]) for row in json.loads(said.out)] == [("train", 2.0), ("evaluate", 1.0)]


def test_less_throughput_is_a_regression_and_a_call_that_raised_is_none(mlog, make):
    make("a.db", call(100.0, "throughput"), call(1.0))
    make("c.db", call(50.0, "throughput"), call(1.0), call(99.0, status="error"))

    said = mlog("bench", "compare", "a.db", "c.db", "--fail-above", "1.1", "-p", "json")

    assert said.status == 1
    assert [(row["type"], row["ratio"], row["verdict"], row["is_regression"]) for row in json.loads(said.out)] == [
        ("throughput", 0.5, "too few", True),
        ("time", 1.0, "too few", False),
    ]


def test_two_runs_of_one_database_are_told_apart_by_their_uuids(mlog, make):
    before = make("b.db", *[call(1.0)] * 6)
    after = make("b.db", *[call(2.0)] * 6)

    [row] = json.loads(mlog("bench", "compare", f"b.db#{before[:8]}", f"b.db#{after[:8]}", "-p", "json").out)

    assert (row["ratio"], row["low"], row["high"], row["verdict"]) == (2.0, 2.0, 2.0, "worse")


# run


def test_a_program_is_measured_with_all_that_it_starts(mlog, tmp_path):
    inner = "sum(range(3 * 10**7))"
    work = f"import subprocess, sys; block = bytearray(60 << 20); subprocess.run([sys.executable, '-c', '{inner}'])"

    said = mlog("bench", "run", "--interval", "0.02", "--description", "two", "--", sys.executable, "-c", work)

    assert said.status == 0
    benchmarks = open_benchmark(tmp_path / "benchmarks.db")
    [run] = benchmarks.runs()
    assert (run.description, run.status) == ("two", "finished")
    found = {one.type: one for one in benchmarks.measurements()}
    assert {one.method for one in found.values()} == {os.path.basename(sys.executable)}
    assert found["memory"].value > 60
    # Of one core, nearly: both processes take turns, and starting them takes its time too.
    cpu_s = found["cpu"].value / 100 * found["time"].value
    assert 0.1 < cpu_s <= found["time"].value * 1.1
    assert found["energy"].source in ("unavailable", "rapl")
    assert said.err.startswith(f"mlog: time {found['time'].value:.4g}"[:14])
    assert f"run {run.uuid[:8]} in benchmarks.db" in said.err


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_status_of_the_program_is_that_of_the_command(command, tmp_path, code, status):
    said = command("bench", "run", "--db", "own.db", "--", sys.executable, "-c", f"print('hello'); {code}")

    assert said.status == status
    benchmarks = open_benchmark(tmp_path / "own.db")
    assert {(one.status, one.error) for one in benchmarks.measurements()} == {
        ("error", f"ProgramError: exit status {status}")
    }
    assert benchmarks.runs()[0].status == "failed"


def test_the_status_is_that_of_the_program_also_where_nothing_can_be_kept(mlog, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.benchmarks.database.CLOSE_TIMEOUT_S", 0.0)
    (tmp_path / "file").touch()

    said = mlog("bench", "run", "--db", "file/own.db", "--", sys.executable, "-c", "raise SystemExit(3)")

    assert said.status == 3
    assert "what it cost is lost" in said.err


def test_what_the_program_prints_is_all_that_is_on_standard_output(command):
    said = command(
        "bench", "run", "--", sys.executable, "-c", "import sys; print(sys.argv[1:])", "-u", "--db", "x", "--"
    )

    assert said.out == "['-u', '--db', 'x', '--']\n"


def test_the_memory_of_a_program_that_was_never_seen_is_not_zero(mlog, tmp_path):
    mlog("bench", "run", "--interval", "1000", "--", "true")

    [memory] = open_benchmark(tmp_path / "benchmarks.db").measurements(types=["memory"])
    assert memory.value is None or memory.value > 0
    assert memory.value or (memory.source == "unavailable" and "ended before" in memory.reason)


def test_energy_is_estimated_where_the_watts_are_told(mlog, tmp_path):
    mlog("bench", "run", "--tdp", "40", "--", sys.executable, "-c", "sum(range(10**7))")

    [energy] = open_benchmark(tmp_path / "benchmarks.db").measurements(types=["energy"])
    assert energy.source in ("estimated", "rapl")
    assert energy.value > 0


def test_a_signal_reaches_the_program(tmp_path):
    work = (
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]);"
        "print('ready', flush=True); signal.sigwait([15]); sys.exit(7)"
    )
    command = [sys.executable, "-m", "ml", "bench", "run", "--", sys.executable, "-c", work]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7


# questions


def answered(command, cwd, answers, stdin=None):
    """Returns the status of a command on a terminal, and what it and the answers make there."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"NO_COLOR": "1"}
    with subprocess.Popen(
        command, cwd=cwd, stdin=stdin or theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        os.write(ours, answers.encode())
        said = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
        status = process.wait(60)
    os.close(ours)
    return status, said.decode().replace("\r\n", "\n")


def test_what_was_not_chosen_is_asked_for_on_a_terminal(database, tmp_path):
    command = [sys.executable, "-m", "ml", "bench", "show", database]

    status, said = answered(command, tmp_path, "2\nx\n9\n4-3\n4\n")

    assert status == 0
    assert said.count("Numbers from 1 to 4, please.") == 3
    rows = [line.split() for line in said.splitlines()]
    [row] = [row for row in rows if row[:3] == ["time", "work", "train"]]
    assert row[3:6] == ["1", "4", "s"]  # of the second run alone
    assert "cpu" not in said.rpartition("please.")[2]


def test_no_answer_means_all(database, tmp_path):
    status, said = answered([sys.executable, "-m", "ml", "bench", "show", database], tmp_path, "\nall\n\n")

    assert status == 0
    assert {"time", "cpu", "energy", "loss"} <= {row[1] for row in rows_of(said) if len(row) > 5}


def test_nothing_is_asked_for_that_was_chosen_nor_anywhere_else_than_on_a_terminal(database, tmp_path):
    [uuid, _] = [run.uuid for run in open_benchmark(tmp_path / database).runs()]
    command = [sys.executable, "-m", "ml", "bench", "show", database]

    assert "[all" not in answered([*command, "--all"], tmp_path, "")[1]
    status, said = answered([*command, "-t", "time", "-u", uuid[:8]], tmp_path, "")
    assert (status, "[all" in said, "median" in said) == (0, False, True)
    with open(os.devnull) as nobody:
        assert "[all" not in answered(command, tmp_path, "", stdin=nobody)[1]
    piped = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert "[all" not in piped.stdout + piped.stderr


def test_help_explains_every_word(mlog):
    said = mlog("bench", "--help")

    assert all(f"\n    {word} " in said.out for word in ("ls", "show", "plot", "compare", "export", "run"))
    for word in ("ls", "show", "plot", "compare", "export", "run"):
        assert mlog("bench", word, "--help").status == 0
