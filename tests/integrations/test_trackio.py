"""The trackio backend, read back with trackio's own functions, and the reader of its databases."""

import atexit
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

# Read when trackio is imported: what is logged here is no business of the user's own trackio.
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="ml-test-trackio-")

import numpy as np
import pytest
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import MEDIA_DIR

import ml
from ml.core.errors import ConfigError, WriteError
from ml.core.state import State
from ml.integrations import trackio_database
from ml.integrations.trackio import TrackioLogger, TrackioLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import KINDS, POINT_CLOUD, SCALAR, TABLE
from ml.loggers.remote import identity_of
from ml.loggers.replay import send
from ml.loggers.sources import Entry, Settings, json_entries
from ml.loggers.values import series_path, split_path
from ml.testing.contract import Backend, LoggerContract
from ml.testing.runs import Written, context_of
from tests.integrations.ending import ENDS, end

PLACE = Path(os.environ["TRACKIO_DIR"])
atexit.register(shutil.rmtree, PLACE, ignore_errors=True)

EVERY_STEP = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0}
NUMBERS = {"nan": math.nan, "inf": math.inf, "neg": -math.inf, "big": 2**62 + 1, "huge": 10**200, "tiny": 5e-324}


def backend(**settings):
    return TrackioLogger(TrackioLoggerConfig("trackio", **(EVERY_STEP | settings)))


def test_nothing_of_these_tests_is_where_the_user_has_trackio():
    assert PLACE in MEDIA_DIR.parents


def project_of(tmp_path):
    return tmp_path.name


def database_of(project):
    return SQLiteStorage.get_project_db_path(project)


def told_entries(source):
    told = []
    return list(trackio_database.read(source, told.append)), told


def entries(source):
    found, told = told_entries(source)
    assert not told
    return [entry for entry in found if isinstance(entry, Entry)]


def read_trackio(logger, directory) -> list[Written]:
    """The run of a backend, found by its identity, as trackio's own functions and then our reader give it."""
    path = database_of(directory.parent.name)
    if not (directory / logger.id / "identity.json").exists():
        return []
    run_id = identity_of(directory / logger.id, digits=16)
    theirs = SQLiteStorage.get_logs(directory.parent.name, run_id=run_id)
    values = []
    for row, found in zip(theirs, trackio_database.rows_of(path, run_id), strict=True):
        assert (row["step"], row.keys() - {"timestamp", "step"}) == (found.step, found.values.keys())
        for name in found.values:
            names = split_path(trackio_database.path_of(name, found))
            for kind, made in trackio_database.made_of(row[name], path, name):
                values.append((found.phase, found.step, *names, None if kind.droppable else made))
    return values


class TestTrackioContract(LoggerContract):
    """Trackio keeps the contract."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Backend("trackio", backend, read_trackio)


def run_of(directory, **settings):
    loggers = [backend(**settings), JsonLogger(JsonLoggerConfig("json", **EVERY_STEP))]
    return ml.start_run(directory, loggers=loggers, config={"lr": 0.1, "big": 2**70}, on_error="raise")


def log_some(run):
    for step in (1, 2):
        run.log({"loss": step / 3, "model/norm": step, **NUMBERS, "note": f"# {step}\r\n", "step": 7})
        run.logger.log_string("note", "again")
        run.step()
    with run.phase("valid"):
        run.log({"loss": 0.5})
        run.step()


def test_every_value_of_a_run_is_what_trackio_reads(tmp_path):
    with run_of(tmp_path / "demo") as run:
        log_some(run)

    (theirs,) = Api().runs(project_of(tmp_path))
    assert theirs.name == "demo"
    assert theirs.config == {"lr": 0.1, "big": 2.0**70}
    read = {}
    for row in SQLiteStorage.get_logs(project_of(tmp_path), run_id=theirs.id):
        for name, value in row.items():
            if name not in ("step", "timestamp") and not isinstance(value, dict):
                phase, _, key = ("train", "", name) if not name.startswith("valid/") else name.partition("/")
                read[phase, row["step"], key.removeprefix("__")] = float(value)
    frame = ml.open_run(tmp_path / "demo").scalars()
    expected = {(p, s, k): v for p, s, k, v in frame[["phase", "step", "key", "value"]].itertuples(index=False)}
    assert len(expected) == 2 * 9 + 1
    assert read.keys() == expected.keys()
    np.testing.assert_array_equal(list(read.values()), [expected[place] for place in read])


def test_a_run_that_is_imported_from_trackio_is_the_run_that_was_logged(tmp_path):
    with run_of(tmp_path / "demo") as run:
        log_some(run)
        run.logger.log_image("picture", np.arange(64 * 64 * 3).reshape(3, 64, 64) % 256 / 255)
        run.logger.log_audio("model/clip", np.sin(np.arange(500)), sample_rate=8000)
        run.logger.log_video("video", np.random.default_rng(0).integers(0, 255, (3, 3, 64, 64), np.uint8), fps=5)
        run.step()

    path = database_of(project_of(tmp_path))
    ours = [e for e in json_entries(tmp_path / "demo/json/log.jsonl", pytest.fail) if isinstance(e, Entry)]
    assert trackio_database.is_source(path)
    assert trackio_database.sources(path) == [path]
    assert sorted(map(placed, entries(path))) == sorted(map(placed, ours))
    (settings,) = [found for found in told_entries(path)[0] if isinstance(found, Settings)]
    assert settings.config == {"lr": 0.1, "big": 2.0**70}


def placed(entry):
    value = entry.value
    shown = value.encoded(next(iter(entry.kind.encoders))) if entry.kind.encoders else value
    if entry.kind is SCALAR and abs(value) >= 2**63:
        shown = float(value)  # as trackio has it
    return (entry.state.phase, entry.state.num_steps, entry.namespace, entry.key, entry.kind.name, str(shown))


def test_a_series_has_a_name_that_no_other_has_and_is_read_back(tmp_path):
    names = ["valid/loss", "test/loss", "train/loss", "train/valid/loss", "loss", "step", "__step", "____x", "__x"]
    with run_of(tmp_path / "demo") as run:
        run.log(dict.fromkeys(names, 1))
        run.step()
        with run.phase("valid"):
            run.log(dict.fromkeys(names, 2))
            run.step()

    (theirs,) = Api().runs(project_of(tmp_path))
    logs = SQLiteStorage.get_logs(project_of(tmp_path), run_id=theirs.id)
    train, valid = (set(row) - {"step", "timestamp"} for row in logs)
    assert train.isdisjoint(valid)
    found = [
        (e.state.phase, series_path(e.namespace, e.key), e.value) for e in entries(database_of(project_of(tmp_path)))
    ]
    assert sorted(found) == sorted((phase, name, v) for phase, v in (("train", 1), ("valid", 2)) for name in names)


def test_the_time_of_a_row_is_that_of_its_state(tmp_path):
    with run_of(tmp_path / "demo") as run:
        run.begin_step(5, time_s=1.7e9 + 0.25)
        run.log({"loss": 0.5})

    (row,) = SQLiteStorage.get_logs(project_of(tmp_path), run="demo")
    assert row == {"loss": 0.5, "step": 5, "timestamp": "2023-11-14T22:13:20.250000+00:00"}


def test_media_are_files_of_the_project(tmp_path):
    with run_of(tmp_path / "demo") as run:
        run.logger.log_image("picture", np.eye(8))
        run.logger.log_histogram("weights", np.array([1.0, 2.0, 2.0, math.inf]))
        run.step()

    (row,) = SQLiteStorage.get_logs(project_of(tmp_path), run="demo")
    assert row["picture"]["_type"] == "trackio.image"
    assert (MEDIA_DIR / row["picture"]["file_path"]).read_bytes().startswith(b"\x89PNG")
    assert row["weights"]["_type"] == "trackio.histogram"
    assert sum(row["weights"]["values"]) == 3


def test_an_attempt_that_resumes_goes_on_with_the_run_of_trackio(tmp_path):
    for resume in (False, True):
        loggers = [backend(), "json"]
        with ml.start_run(tmp_path / "demo", loggers=loggers, resume=resume, state=State(num_steps=4)) as run:
            run.log({"loss": float(resume)})
            run.step()

    (theirs,) = Api().runs(project_of(tmp_path))
    logs = SQLiteStorage.get_logs(project_of(tmp_path), run_id=theirs.id)
    assert [(row["step"], row["loss"]) for row in logs] == [(5, 0.0), (5, 1.0)]
    assert [entry.attempt for entry in entries(database_of(project_of(tmp_path)))] == [1, 2]


def test_what_trackio_has_already_is_not_stored_twice_and_what_it_lacks_is(tmp_path):
    with run_of(tmp_path / "demo") as run:
        log_some(run)
    path = database_of(project_of(tmp_path))
    before = list(map(placed, entries(path)))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM metrics WHERE step = 2")
        database.execute("""UPDATE metrics SET metrics = json_remove(metrics, '$.loss') WHERE step = 1""")
    lost = len(before) - len(entries(path))
    assert lost > 5

    for _ in range(2):
        report = send(tmp_path / "demo", backend())
        assert (report.written, report.num_problems) == (len(before), 0)
        assert sorted(map(placed, entries(path))) == sorted(before)


def test_a_write_whose_answer_was_lost_is_repeated_and_stored_once(tmp_path, monkeypatch):
    logger, store = backend(), SQLiteStorage.bulk_log

    def stored_and_refused(*args, **settings):
        store(*args, **settings)
        raise sqlite3.OperationalError("database is locked")

    logger.initialize(context_of(tmp_path / "demo"))
    for is_refused in (True, False):
        monkeypatch.setattr(SQLiteStorage, "bulk_log", stored_and_refused if is_refused else store)
        logger.log_scalar("loss", lambda: 0.5, State(num_steps=1), "model")
        if is_refused:
            with pytest.raises(WriteError, match="locked"):
                logger.write(State(num_steps=1))
        else:
            logger.write(State(num_steps=1))
    logger.close()

    assert read_trackio(logger, tmp_path / "demo") == [("train", 1, "model", "loss", 0.5)]


def test_a_run_of_the_user_is_left_alone(tmp_path):
    import trackio

    theirs = trackio.init(project=project_of(tmp_path), name="theirs", embed=False)
    with run_of(tmp_path / "demo") as run:
        run.log({"ours": 1})
        run.step()
        assert run.flush(30)
    trackio.log({"theirs": 2})
    trackio.finish()

    logs = {run.name: SQLiteStorage.get_logs(project_of(tmp_path), run_id=run.id) for run in Api().runs(tmp_path.name)}
    assert theirs.name == "theirs"
    assert {name: [set(row) - {"step", "timestamp"} for row in rows] for name, rows in logs.items()} == {
        "theirs": [{"theirs"}],
        "demo": [{"ours"}],
    }


def test_nothing_is_printed(tmp_path, capfd):
    with run_of(tmp_path / "demo") as run:
        run.log({"loss": 1})
        run.step()

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ENDS)
def test_however_a_process_ends_what_was_written_is_there(tmp_path, how):
    number = end(how, {"name": "trackio"}, tmp_path / "demo")

    values = [entry.value for entry in entries(database_of(project_of(tmp_path)))]
    assert values[:number] == list(range(1, number + 1))
    assert set(values[number:]) <= {6}  # of the run that was killed


@pytest.mark.parametrize("name", ["../x", ""])
def test_a_wrong_setting_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=f"run_name of 'trackio' is one path segment, got '{name}'"):
        ml.start_run(tmp_path / "demo", loggers={"name": "trackio", "run_name": name})


def test_without_trackio_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.integrations.trackio.find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'ml-logbook\[trackio\]'"):
        ml.start_run(tmp_path / "demo", loggers=["trackio"])


def test_every_kind_but_points_and_tables_is_taken():
    assert backend().kinds == frozenset(KINDS) - {POINT_CLOUD, TABLE}


# the reader


def test_a_run_of_trackio_itself_is_read(tmp_path):
    import trackio

    project = project_of(tmp_path)
    trackio.init(project=project, name="theirs", config={"lr": 0.1}, embed=False)
    with pytest.warns(UserWarning, match="Reserved keys renamed"):
        trackio.log({"loss": 0.5, "nan": math.nan, "valid/loss": 1, "step": 9, "text": "hello"}, step=3)
    trackio.log({"picture": trackio.Image(np.zeros((8, 8, 3), np.uint8)), "report": trackio.Markdown("# a")}, step=4)
    trackio.log({"hist": trackio.Histogram([1.0, 2.0, 2.0]), "list": [1, 2]}, step=5)
    trackio.finish()

    (settings, *rest), told = told_entries(database_of(project))
    assert settings.config == {"lr": 0.1}
    assert sorted((e.state.num_steps, e.namespace, e.key, str(e.value)) for e in rest if not e.kind.droppable) == [
        (3, "", "loss", "0.5"),
        (3, "", "nan", "nan"),
        (3, "", "step", "9"),
        (3, "", "text", "hello"),
        (3, "valid", "loss", "1"),
        (4, "", "report", "# a"),
    ]
    assert [(e.key, e.kind.name) for e in rest if e.kind.droppable] == [("picture", "image"), ("hist", "histogram")]
    assert [problem.split()[0] for problem in told] == ["'list'"]


def test_the_runs_of_a_project_are_told_apart(tmp_path):
    for name in ("a", "b"):
        with run_of(tmp_path / name) as run:
            run.log({"loss": ord(name)})
            run.step()
    path = database_of(project_of(tmp_path))

    assert trackio_database.sources(path) == [path / "a", path / "b"]
    assert [entry.value for entry in entries(path / "b")] == [ord("b")]
    for wrong in (path, path / "c"):
        with pytest.raises(ConfigError, match="a"):
            list(trackio_database.read(wrong, pytest.fail))


def hostile_database(tmp_path, rows, name="run"):
    path = tmp_path / "hostile.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)"
        )
        for step, metrics in rows:
            database.execute(
                "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES ('no time', ?, ?, ?)",
                (name, step, metrics),
            )
    return path


def test_an_old_or_hostile_database_costs_its_bad_rows(tmp_path):
    outside = '{"x": {"_type": "trackio.image", "file_path": "../../../etc/passwd.png"}}'
    rows = [(1, '{"loss": 0.5}'), (2, "no json"), ("x", "{}"), (3, "[]"), (4, outside), (5, '{"h": {"_type": "new"}}')]
    found, told = told_entries(hostile_database(tmp_path, rows, "../../up"))

    assert [(entry.state.num_steps, entry.key, entry.value) for entry in found] == [(1, "loss", 0.5)]
    assert len(told) == 5
    assert all(path.parent.name == "hostile.db" for path in trackio_database.sources(tmp_path / "hostile.db")[1:])


def test_a_damaged_database_is_told_and_is_no_crash(tmp_path):
    whole = hostile_database(tmp_path, [(step, f'{{"loss": {step}, "x": "{"y" * 500}"}}') for step in range(200)])
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(20):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(100, len(damaged), 100)] = rng.integers(0, 256, 100)
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged.tobytes()[: len(data) - number * 3000])
        if trackio_database.is_source(path):
            with suppress(ConfigError):
                told_entries(path)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"text"])
def test_another_file_is_no_source(tmp_path, content):
    (tmp_path / "x.db").write_bytes(content)

    assert not trackio_database.is_source(tmp_path / "x.db")
    assert not trackio_database.is_source(tmp_path)


DRAWS_NOTHING = """
import random, sys
random.seed(0)
before = random.getstate()
from ml import start_run
with start_run(sys.argv[1], loggers=["trackio"]) as run:
    run.log({"loss": 1.0})
    run.step()
assert "trackio" in sys.modules
assert random.getstate() == before
"""


def test_no_random_number_is_drawn_where_trackio_is_imported_first(tmp_path):
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    subprocess.run([sys.executable, "-c", DRAWS_NOTHING, str(tmp_path / "run")], check=True, env=environment)
