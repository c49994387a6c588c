"""Databases by path or URL: what is kept comes back, on SQLite and on a real PostgreSQL, whatever else happens."""

import importlib.util
import math
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

import ml.db
from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.db import AnyText, Real, UtcTime, connect, migrate, shown, transact, upsert
from ml.testing.hostile import HALF_SURROGATE, NAMES, TEXTS
from tests.postgres import Postgres, server

ROOT = Path(__file__).parents[1]
NUMBERS = [0.0, -0.5, 0.1, 1e308, 5e-324, math.nan, math.inf, -math.inf]
INJECTIONS = ["'); DROP TABLE t; --", "%s %(x)s :x ?", '"; SELECT 1', "\\", "\x00"]

METADATA = sa.MetaData()
TABLE = sa.Table(
    "t",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", AnyText(300), primary_key=True),
    sa.Column("number", Real),
    sa.Column("text", AnyText),
    sa.Column("at", UtcTime),
)


@pytest.fixture
def postgres() -> Postgres:
    return server()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return f"sqlite:///{tmp_path / 'deep' / 'test.db'}" if request.param == "sqlite" else server().new_database()


@pytest.fixture
def engine(url):
    engine = connect(url, timeout_s=0.2)
    migrate(engine, METADATA, name="t", version=1)
    yield engine
    engine.dispose()


def row(index=0, **columns):
    return {"id": index, "name": "", "number": None, "text": None, "at": None} | columns


def keep(engine, *rows):
    transact(engine, lambda connection: upsert(connection, TABLE, rows))


def kept(engine, column):
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(TABLE.c[column]).order_by(TABLE.c.id)))


# what comes back


def test_every_number_comes_back_also_in_pandas(engine):
    keep(engine, *(row(i, number=number) for i, number in enumerate(NUMBERS)))

    raw = pd.read_sql("SELECT number FROM t ORDER BY id", engine)["number"]
    assert [repr(number) for number in kept(engine, "number")] == [repr(number) for number in NUMBERS]
    assert [repr(number) for number in raw.tolist()] == [repr(number) for number in NUMBERS]


def test_a_whole_number_of_any_size_is_kept_as_a_float(engine):
    whole = [2**53, -(2**63), 2**63, 2**64, 10**300, 10**400, -(10**400)]
    keep(engine, *(row(i, number=number) for i, number in enumerate(whole)))
    keep(engine, row(2**63 - 1, number=0), row(-(2**63), number=0))

    assert kept(engine, "number")[1:-1] == [*map(float, whole[:5]), math.inf, -math.inf]
    assert kept(engine, "id")[-1] == 2**63 - 1


def test_every_text_comes_back_and_none_is_run(engine):
    texts = [*TEXTS.values(), *NAMES.values(), HALF_SURROGATE, *INJECTIONS, "␛", "␛0000", "␛␛d800\x00", "\ud83d\ude42"]
    keep(engine, *(row(i, name=text[:50], text=text) for i, text in enumerate(texts)))

    assert kept(engine, "text") == texts
    assert kept(engine, "name") == [text[:50] for text in texts]
    with engine.connect() as connection:
        found = connection.scalars(sa.select(TABLE.c.id).where(TABLE.c.name == "\x00")).all()
    assert found == [texts.index("\x00")]


def test_a_moment_comes_back_in_utc(engine):
    moments = [
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        datetime(9999, 12, 30, tzinfo=UTC),
    ]
    elsewhere = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5)))
    keep(engine, *(row(i, at=moment) for i, moment in enumerate([*moments, elsewhere])))

    assert kept(engine, "at") == [*moments, elsewhere]
    assert {moment.tzinfo for moment in kept(engine, "at")} == {UTC}


def test_a_row_that_is_there_is_replaced_and_of_equal_ones_the_last_counts(engine):
    keep(engine, row(1, text="old"), row(2, text="other"))
    keep(engine, row(1, text="new"), row(1, text="newest"))

    assert kept(engine, "text") == ["newest", "other"]


def test_more_rows_than_a_statement_has_parameters_are_one_transaction(engine):
    keep(engine, *(row(i, number=i, text="x") for i in range(20_000)))

    assert kept(engine, "number") == list(range(20_000))


# schemas


def test_what_is_missing_is_added_and_nothing_is_lost(url):
    engine = connect(url)
    old = sa.MetaData()
    sa.Table(
        "t",
        old,
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", AnyText(300), primary_key=True),
    )
    migrate(engine, old, name="t", version=1)
    transact(engine, lambda connection: connection.execute(old.tables["t"].insert(), [{"id": 1, "name": "kept"}]))
    new = sa.MetaData()
    sa.Table(
        "t",
        new,
        *(column._copy() for column in TABLE.columns),
        sa.Column("unit", sa.String(10), nullable=False, server_default="100 %:s", index=True),
    )
    sa.Table("more", new, sa.Column("id", sa.Integer, primary_key=True))
    migrate(engine, new, name="t", version=2)
    migrate(engine, new, name="t", version=2)

    with engine.connect() as connection:
        assert connection.execute(sa.select(new.tables["t"])).mappings().all()[0]["unit"] == "100 %:s"
        assert kept(engine, "name") == ["kept"]
    assert "more" in sa.inspect(engine).get_table_names()
    engine.dispose()


def test_a_newer_schema_is_refused_and_another_one_beside_it_is_none_of_its_business(engine):
    migrate(engine, METADATA, name="t", version=3)

    with pytest.raises(ConfigError, match=r"'t' of .* have version 3, and this software knows 2. Update it"):
        migrate(engine, METADATA, name="t", version=2)
    migrate(engine, sa.MetaData(), name="other", version=1)


def test_a_column_that_old_rows_cannot_have_is_refused(engine):
    metadata = sa.MetaData()
    sa.Table(
        "t", metadata, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("must", sa.Integer, nullable=False)
    )

    with pytest.raises(ConfigError, match=r"t.must cannot be added"):
        migrate(engine, metadata, name="t", version=2)


MIGRATE = """
import os, signal, sys
import sqlalchemy as sa
from ml.db import connect, migrate

metadata = sa.MetaData()
for number in range(5):
    indexed = sa.Column("n", sa.Integer, index=True)
    sa.Table(f"t{number}", metadata, sa.Column("id", sa.Integer, primary_key=True), indexed)
if sys.argv[1] == "die":
    sa.event.listen(metadata.tables["t3"], "after_create", lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
print("ready", flush=True)
sys.stdin.readline()
migrate(connect(sys.argv[2], timeout_s=30), metadata, name="t", version=1)
"""


def migrating(what: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATE, what, url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_processes_that_migrate_at_once_one_does_it_and_all_go_on(url):
    processes = [migrating("live", url) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [process.communicate()[1] for process in processes] == [""] * 3
    assert len(sa.inspect(connect(url)).get_table_names()) == 6


def test_a_migration_that_is_killed_leaves_the_tables_as_they_were(url):
    process = migrating("die", url)
    process.communicate("go\n")

    assert process.returncode == -9
    assert sa.inspect(connect(url)).get_table_names() == []


# others at the same time, and what goes wrong


def test_a_database_that_another_one_has_locked_is_not_now(engine):
    table = "t" if engine.dialect.name == "sqlite" else "LOCK TABLE t"
    other = connect(engine.url.render_as_string(hide_password=False))
    with other.connect().execution_options(ml_writing=True) as connection, connection.begin():
        if table != "t":
            connection.exec_driver_sql(table)
        with pytest.raises(WriteError, match=r"cannot be written to now: .*lock"):
            keep(engine, row(1))
    keep(engine, row(1))

    assert kept(engine, "id") == [1]
    other.dispose()


def test_who_reads_is_not_held_up_by_who_writes(engine):
    keep(engine, row(1))
    other = connect(engine.url.render_as_string(hide_password=False))

    def work(connection):
        upsert(connection, TABLE, [row(2)])
        return kept(other, "id")

    assert transact(engine, work) == [1]
    assert kept(other, "id") == [1, 2]
    other.dispose()


def test_when_all_connections_are_taken_it_is_not_now(engine):
    taken = [engine.connect() for _ in range(15)]

    with pytest.raises(WriteError, match="cannot be written to now"):
        keep(engine, row(1))
    for connection in taken:
        connection.close()
    keep(engine, row(1))


def test_a_lost_race_is_run_again_and_given_up_in_the_end(postgres):
    engine = connect(postgres.new_database())
    calls = []

    def work(connection, failing):
        calls.append(1)
        if len(calls) <= failing:
            connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
        return len(calls)

    assert transact(engine, lambda connection: work(connection, 2)) == 3
    calls.clear()
    with pytest.raises(WriteError):
        transact(engine, lambda connection: work(connection, 10**9))
    assert len(calls) == 4
    engine.dispose()


def test_a_server_that_restarts_in_the_middle_costs_nothing_and_doubles_nothing(postgres):
    engine = connect(postgres.new_database())
    migrate(engine, METADATA, name="t", version=1)
    calls = []

    def work(connection):
        calls.append(1)
        upsert(connection, TABLE, [row(1)])
        if len(calls) == 1:
            postgres.stop()
            postgres.start()
        upsert(connection, TABLE, [row(2)])

    transact(engine, work)
    postgres.stop()
    with pytest.raises(WriteError, match="cannot be written to now"):
        keep(engine, row(3))
    postgres.start()
    keep(engine, row(3))

    assert len(calls) == 2
    assert kept(engine, "id") == [1, 2, 3]
    engine.dispose()


def test_what_a_database_refuses_is_tried_once(engine):
    calls = []

    def work(connection):
        calls.append(1)
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(LogValueError, match=r"refuses it: .*nowhere"):
        transact(engine, work)
    assert len(calls) == 1


def test_nothing_of_a_transaction_that_fails_is_kept(engine):
    def work(connection):
        upsert(connection, TABLE, [row(1)])
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        transact(engine, work)
    assert kept(engine, "id") == []


def test_a_full_disk_is_not_now_and_says_so(tmp_path):
    engine = connect(tmp_path / "test.db")
    migrate(engine, METADATA, name="t", version=1)

    def work(connection):
        connection.exec_driver_sql("PRAGMA max_page_count = 20")
        upsert(connection, TABLE, [row(i, text="x" * 1000) for i in range(1000)])

    with pytest.raises(WriteError) as caught:
        transact(engine, work)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 28
    engine.dispose()


def test_sqlite_is_written_ahead_but_on_a_network_file_system(tmp_path, monkeypatch):
    def journal(path):
        engine = connect(path)
        with engine.connect() as connection:
            return connection.exec_driver_sql("PRAGMA journal_mode").scalar()

    assert journal(tmp_path / "local.db") == "wal"
    monkeypatch.setattr(ml.db.sqlite, "is_remote", lambda path: True)
    assert journal(tmp_path / "remote.db") == "delete"


def test_who_may_only_read_reads_a_file_that_nobody_writes_to(tmp_path):
    directory = Path(tempfile.mkdtemp())  # above tmp_path others may not look
    path = directory / "archived.db"
    engine = connect(path)
    migrate(engine, METADATA, name="t", version=1)
    transact(engine, lambda connection: upsert(connection, TABLE, [row(1)]))
    engine.dispose()
    path.chmod(0o444)
    directory.chmod(0o555)

    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            with connect(path, reads_only=True).connect() as connection:
                os._exit(0 if connection.scalar(sa.select(TABLE.c.id)) == 1 else 1)
        finally:
            os._exit(2)
    status = os.waitpid(child, 0)[1]

    directory.chmod(0o755)
    assert os.listdir(directory) == ["archived.db"]
    shutil.rmtree(directory)
    assert status == 0


# configuration


@pytest.mark.parametrize(
    "where",
    [
        "postgresql://user:hunter22@127.0.0.1:1/x",
        "postgresql://hunter22@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?password=hunter22",
        "postgresql://127.0.0.1:1/x?options=-c%20ml.odbc_connect%3DPWD%253Dhunter22",
    ],
)
def test_no_message_holds_a_password(where):
    engine = connect(where)
    with pytest.raises(WriteError) as caught:
        transact(engine, lambda connection: None)

    assert "hunter22" not in "".join(traceback.format_exception(caught.value))
    assert "hunter22" not in shown(engine.url)
    assert "127.0.0.1" in shown(engine.url)


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("://hunter22", "looks like postgresql://"),
        ("nosuch://u:hunter22@h/x", "cannot be used"),
        ("mysql+nosuch://u:hunter22@h/x", "cannot be used"),
        ("sqlite://", "Name a file"),
        ("sqlite:///:memory:", "Name a file"),
    ],
)
def test_what_cannot_be_used_is_found_at_once(where, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        connect(where)
    assert "hunter22" not in "".join(traceback.format_exception(caught.value))


def test_without_sqlalchemy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    spec = importlib.util.spec_from_file_location("db_without_sqlalchemy", ml.db.__file__)

    with pytest.raises(ConfigError, match=r"pip install 'ml-logbook\[sql\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
