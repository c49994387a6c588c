"""A run in a database, SQLite and a real PostgreSQL, read back by pandas: equal to what the run has on disk."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from ml.cli.main import main
from ml.core.errors import ConfigError, WriteError
from ml.core.state import State
from ml.db import connect
from ml.integrations.sql import SqlLogger, SqlLoggerConfig
from ml.integrations.sql_store import LONG_KEYS, RUNS, SCALARS, STRINGS, key_of
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.multi import MultiLogger
from ml.loggers.remote import Ordinals, identity_of
from ml.loggers.replay import send
from ml.reading import open_run
from ml.session import start_run
from ml.testing.contract import Backend, LoggerContract, Written
from ml.testing.runs import context_of, group_of

ROOT = Path(__file__).parents[2]
COLUMNS = ["phase", "step", "epoch", "key", "value", "time", "attempt"]
NUMBERS = [0.5, math.nan, math.inf, -math.inf, 2**53, -(2**63), 10**300, 1e-300, -0.5]
NAMES = ["loss", "Loss", "a/b", "it's; DROP TABLE scalars; --", "100 %s", 'say "x"', "nul\x00", "k" * 300, "k" * 301]


def sql(url=None, **settings):
    return SqlLogger(SqlLoggerConfig("sql", url=url, write_every_n_seconds=0, **settings))


def read_sql(logger: SqlLogger, directory: Path) -> list[Written]:
    url = logger.config.url or f"sqlite:///{directory / logger.id / 'log.db'}"
    if not (directory / logger.id / "identity.json").exists():
        return []
    values = []
    engine = connect(url)
    with engine.connect() as connection:
        for table, order in ((SCALARS, SCALARS.c.key), (STRINGS, STRINGS.c.number)):
            found = sa.select(table, LONG_KEYS.c.whole).join(RUNS).outerjoin(LONG_KEYS, LONG_KEYS.c.key == table.c.key)
            ours = found.where(RUNS.c.uid == identity_of(directory / logger.id))
            for row in connection.execute(ours.order_by(table.c.attempt, table.c.step, order)).mappings():
                namespace, slash, key = (row["whole"] or row["key"]).partition("/")
                names = (namespace, key) if slash else ("", namespace)
                values.append((row["phase"], row["step"], *names, row["value"]))
    engine.dispose()
    return values


class TestSqlite(LoggerContract):
    """The SQL backend keeps the contract, with a file of its own."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Backend("sql", make=sql, read=read_sql)


class TestPostgresql(LoggerContract):
    """The SQL backend keeps the contract, with a server that all runs share."""

    @pytest.fixture(scope="class")
    def shared(self, postgres) -> str:
        return postgres.new_database()

    @pytest.fixture
    def backend(self, shared) -> Backend:
        return Backend("sql", make=lambda: sql(shared), read=read_sql)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'all.db'}"
    return request.getfixturevalue("postgres").new_database()


def query(url, text, **settings):
    engine = connect(url)
    try:
        return pd.read_sql(text, engine, **settings)
    finally:
        engine.dispose()


def assert_holds(url, run):
    """Fails unless the database has every value of a run, and has it once."""
    found = query(url, f"SELECT {', '.join(COLUMNS)} FROM scalars", parse_dates={"time": {"utc": True}})
    found["time"] = found["time"].astype("datetime64[us, UTC]")
    expected = open_run(run).scalars().assign(key=lambda frame: frame.key.map(key_of).str.replace("\x00", "␛0000"))
    order = ["phase", "step", "attempt", "key"]
    left, right = (frame[COLUMNS].sort_values(order, ignore_index=True) for frame in (found, expected))
    pd.testing.assert_frame_equal(left, right, check_dtype=False, check_exact=True)
    texts = query(url, "SELECT value FROM strings ORDER BY attempt, step, number")["value"]
    assert texts.tolist() == open_run(run).strings().value.tolist()
    counted = "SELECT COUNT(*) - MAX(number) AS difference FROM strings GROUP BY run_id, key, phase, step, attempt"
    assert set(query(url, counted).difference) == {1}  # numbered from 0


def train(run, steps, *, first=1):
    """Logs numbers and texts of a few steps, and a pass."""
    for step in range(first, first + steps):
        run.log({name: number + step for name, number in zip(NAMES, NUMBERS, strict=True)})
        run.log({"note": f"step {step}", "task/loss": lambda step=step: 1 / step})
        run.component("task").log_string("twice", "a")
        run.component("task").log_string("twice", "a")
        run.step(samples=4)
    with run.phase("valid"):
        for weight in (1, 3):
            run.log({"loss": float(weight)}, weight=weight)
            run.step()
    run.end_epoch()


def test_every_value_that_pandas_reads_is_the_runs_own(url, tmp_path):
    config = {"lr": 0.1, "odd": math.nan, "db": {"password": "canary-123456"}}
    loggers = ["json", {"name": "sql", "url": url}]
    with start_run(tmp_path / "run", loggers=loggers, config=config, on_error="raise") as run:
        train(run, 5)

    assert_holds(url, run.path)
    assert run.stats()["sql"].written == run.stats()["json"].written
    runs = query(url, "SELECT * FROM runs")
    assert runs.name.tolist() == ["run"]
    assert runs.path.tolist() == [str(tmp_path / "run")]
    assert json.loads(runs.config[0])["lr"] == 0.1
    assert "canary" not in runs.config[0]
    whole = query(url, "SELECT key, whole FROM long_keys ORDER BY whole")
    assert whole.whole.tolist() == [name for name in NAMES if len(name) > 255]
    assert whole.key.tolist() == [key_of(name) for name in whole.whole]


def test_a_resumed_run_is_one_run_and_another_one_is_another(url, tmp_path):
    logger = {"name": "sql", "url": url}
    with start_run(tmp_path / "run", loggers=["json", logger], config={"lr": 1}) as run:
        train(run, 2)
    state = run.state
    with start_run(tmp_path / "run", loggers=["json", logger], config={"lr": 2}, resume=True, state=state) as run:
        train(run, 2, first=3)
    assert_holds(url, run.path)
    with start_run(tmp_path / "run", loggers=logger) as other:
        train(other, 1)

    runs = query(url, "SELECT name, config FROM runs ORDER BY id")
    assert runs.name.tolist() == ["run", "run-2"]
    assert json.loads(runs.config[0]) == {"lr": 2}
    assert query(url, "SELECT DISTINCT attempt FROM scalars WHERE run_id = 1 ORDER BY 1").attempt.tolist() == [1, 2]


def test_steps_that_a_resumed_run_goes_over_again_are_kept_of_both_attempts(url, tmp_path):
    logger = {"name": "sql", "url": url}
    for number in (1, 2):
        with start_run(tmp_path / "run", loggers=["json", logger], resume=number > 1, state=State()) as run:
            run.log({"loss": float(number)})
            run.step()

    assert query(url, "SELECT value FROM scalars ORDER BY attempt").value.tolist() == [1.0, 2.0]
    assert open_run(run.path).scalars().value.tolist() == [2.0]


def test_of_several_numbers_of_a_step_the_last_counts(url, tmp_path):
    logger = sql(url)
    with group_of(tmp_path, logger) as logs:
        component = MultiLogger("task")
        for value in (1.0, 2.0):
            component.log_scalar("loss", value)
            logs.write([component], State(num_steps=1), force=True)

    assert query(url, "SELECT value FROM scalars").value.tolist() == [2.0]


# what a replay completes


def test_a_replay_sends_what_is_left_and_nothing_twice(url, tmp_path, capsys):
    away = {"name": "sql", "url": "postgresql+psycopg://127.0.0.1:1/away"}
    with start_run(tmp_path / "run", loggers=["journal", "json", away], close_timeout_s=1.0) as run:
        train(run, 3)
    lost = run.stats()["sql"]
    assert lost.dropped == {"deadline": lost.accepted}

    for _ in range(2):
        assert main(["replay", str(run.path), "--to", "sql", "--set", f"url={url}"]) == 0
        assert_holds(url, run.path)
    assert len(query(url, "SELECT * FROM runs")) == 1
    assert "values of 1 attempt" in capsys.readouterr().out


KILLED = """
import os, signal, sys
from ml import start_run

run = start_run(sys.argv[1], loggers=["json", {"name": "sql", "url": sys.argv[2], "write_every_n_seconds": 0}])
for step in range(1, 201):
    run.log({"loss": step / 8, "note": str(step)})
    run.step()
    if step == 100:
        run.flush(30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed_has_what_was_committed_and_a_replay_completes_it(url, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "run", url], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(query(url, "SELECT * FROM scalars")) >= 100

    send(tmp_path / "run", sql(url))

    assert_holds(url, tmp_path / "run")


# when the database is away, locked, or refuses


def test_a_server_that_restarts_in_the_middle_costs_and_doubles_nothing(postgres, tmp_path):
    url = postgres.new_database()
    with start_run(
        tmp_path / "run", loggers=["json", {"name": "sql", "url": url, "write_every_n_seconds": 0}], close_timeout_s=60
    ) as run:
        train(run, 20)
        postgres.stop()
        train(run, 20, first=21)
        assert not run.flush(0.5)
        postgres.start()
        train(run, 20, first=41)

    assert_holds(url, run.path)
    stats = run.stats()["sql"]
    assert stats.accepted == stats.written > 0


def test_while_another_one_writes_values_wait(tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    loggers = [sql(url, timeout_s=0.05), JsonLogger(JsonLoggerConfig("json"))]
    component = MultiLogger("task")
    context = context_of(tmp_path)
    with LoggerGroup(loggers, context, close_timeout_s=60.0) as logs:
        component.log_scalar("loss", 0.5)
        logs.write([component], State(num_steps=1))
        assert logs.flush(30)
        other = sqlite3.connect(tmp_path / "all.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        component.log_scalar("loss", 0.25)
        logs.write([component], State(num_steps=2))
        assert not logs.flush(1.0)
        other.execute("ROLLBACK")
        other.close()

    assert query(url, "SELECT value FROM scalars ORDER BY step").value.tolist() == [0.5, 0.25]
    assert "cannot write now" in (tmp_path / "errors.jsonl").read_text()


def test_what_a_database_refuses_is_counted_and_not_offered_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    component = MultiLogger("task")
    with LoggerGroup([sql(url)], context_of(tmp_path), close_timeout_s=60.0) as logs:
        for step, trigger in enumerate(
            ["", "CREATE TRIGGER no BEFORE INSERT ON scalars BEGIN SELECT RAISE(ABORT, 'no'); END", "DROP TRIGGER no"]
        ):
            with sqlite3.connect(tmp_path / "all.db") as other:
                other.executescript(trigger)
            component.log_scalar("loss", step)
            logs.write([component], State(num_steps=step), force=True)
            logs.flush(30)
        stats = logs.stats()["sql"]

    assert stats.failed == {"write": 1}
    assert query(url, "SELECT step FROM scalars").step.tolist() == [0, 2]
    assert "refuses it: no" in (tmp_path / "errors.jsonl").read_text()


def test_a_database_that_was_emptied_is_filled_again(url, tmp_path):
    component = MultiLogger("task")
    with group_of(tmp_path, sql(url)) as logs:
        for step in (1, 2):
            component.log_scalar("loss", step)
            logs.write([component], State(num_steps=step), force=True)
            assert logs.flush(30)
            if step == 1:
                engine = connect(url)
                with engine.begin() as connection:
                    for name in ("scalars", "strings", "long_keys", "runs", "schema_versions"):
                        connection.execute(sa.text(f"DROP TABLE {name}"))
                engine.dispose()

    assert query(url, "SELECT step FROM scalars").step.tolist() == [2]


def test_a_database_of_a_newer_version_is_left_alone(url, tmp_path):
    with start_run(tmp_path / "a", loggers=[{"name": "sql", "url": url}]) as run:
        train(run, 1)
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE schema_versions SET version = 99"))
    before = query(url, "SELECT * FROM scalars")

    with start_run(tmp_path / "b", loggers=[{"name": "sql", "url": url}]) as run:
        train(run, 1)
    assert "have version 99" in (run.path / "errors.jsonl").read_text()
    assert run.stats()["sql"].written == 0
    assert len(query(url, "SELECT * FROM scalars")) == len(before)
    engine.dispose()


def test_no_file_of_a_run_holds_the_password_of_its_database(tmp_path):
    secret = "canary" + "-654321"  # not as one text: this very line may be in the patch that a run keeps
    url = f"postgresql+psycopg://user:{secret}@127.0.0.1:1/x"
    with start_run(tmp_path / "run", loggers=["json", {"name": "sql", "url": url}], close_timeout_s=1.0) as run:
        train(run, 1)

    assert "127.0.0.1" in (run.path / "errors.jsonl").read_text()
    assert not any(secret.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "nosuch://x"}, r"nosuch://x cannot be used: .*nosuch"),
        ({"url": "://x"}, "looks like postgresql://"),
        ({"url": "sqlite://"}, "Name a file"),
        ({"timeout_s": 0.0}, r"timeout_s of 'sql' must be above 0, got 0\.0"),
    ],
)
def test_a_wrong_setting_is_found_before_anything_starts(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        start_run(tmp_path / "run", loggers=[{"name": "sql"} | settings])


# the parts


def test_texts_of_a_write_that_failed_are_numbered_as_before():
    ordinals, state = Ordinals(), State(num_steps=3)

    assert [ordinals.take(state, path) for path in ("a", "a", "b")] == [0, 1, 0]
    ordinals.roll_back()
    assert [ordinals.take(state, path) for path in ("a", "a")] == [0, 1]
    ordinals.commit()
    assert ordinals.take(state, "a") == 2
    assert ordinals.take(state._replace(phase="valid"), "a") == 0


def test_a_step_with_any_number_of_texts_is_remembered_as_a_whole():
    ordinals = Ordinals()
    for step in range(1000):
        for _ in range(3):
            ordinals.take(State(num_steps=step), "a")
        ordinals.commit()

    assert ordinals.take(State(num_steps=999), "a") == 3
    assert len(ordinals._committed) == 64


def test_an_identity_is_made_once_and_a_damaged_one_is_no_new_run(tmp_path):
    identity = identity_of(tmp_path / "sql")
    assert identity_of(tmp_path / "sql") == identity != identity_of(tmp_path / "other")

    (tmp_path / "sql" / "identity.json").write_text('{"id": 1}')
    with pytest.raises(ValueError, match="no identity"):
        identity_of(tmp_path / "sql")


IDENTITIES = """
import sys
from pathlib import Path
from ml.loggers.remote import identity_of

for line in sys.stdin:
    print(identity_of(Path(line.strip()), digits=8), flush=True)
"""


def test_processes_that_ask_for_an_identity_at_once_get_the_same(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", IDENTITIES], env=environment, **pipes) for _ in range(2)]
    found = []
    for number in range(200):
        for process in processes:
            process.stdin.write(f"{tmp_path / str(number)}\n")
            process.stdin.flush()
        found.append([process.stdout.readline() for process in processes])
    for process in processes:
        process.communicate()

    assert [first for first, second in found if first != second] == []
    assert len({first for first, _ in found}) == 200


def test_a_write_that_finds_no_database_is_not_now(tmp_path):
    logger = sql("postgresql+psycopg://127.0.0.1:1/x")
    logger.initialize(context_of(tmp_path))
    logger.log_scalar("loss", lambda: 0.5, State(num_steps=1, time_s=1.0), "task")

    with pytest.raises(WriteError):
        logger.write(State(num_steps=1))
