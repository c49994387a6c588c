"""Databases by path or URL: SQLite (WAL), PostgreSQL, and what else SQLAlchemy knows.

::

    engine = connect("runs/demo/log.db")                       # or "postgresql://user:password@host/name"
    migrate(engine, METADATA, name="scalars", version=1)
    transact(engine, lambda connection: upsert(connection, TABLE, rows))

A transaction is committed as a whole or not at all. One that lost a race, or met a
connection that the server had closed, is run once more; a database that is away or
locked is a ``WriteError``, which means *not now*; what a database refuses for good is a
``LogValueError``. No message holds a password, or what was to be written.

How values are kept, that every database has them alike:

- ``Real``: PostgreSQL has NaN and infinities. SQLite has infinities, and NULL stands for NaN: aggregates leave it
  out, and pandas shows NaN. So what may be *absent* needs a column of its own that says so.
- ``AnyText``: NUL and half a surrogate pair, which PostgreSQL refuses, are ``␛0000`` and ``␛d800``; ``␛`` itself is
  ``␛241b``. Every other text is kept as it is.
- ``UtcTime``: a moment, with its time zone on PostgreSQL, as ``2026-01-02 03:04:05.678901`` (UTC) on SQLite.
"""

import errno
import math
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from ml.core.errors import ConfigError, LogValueError, MLError, WriteError, missing
from ml.core.redact import Redactor
from ml.io.files import make_directories
from ml.io.mounts import is_remote
from ml.loggers.strict_json import real

try:
    import sqlalchemy as sa
    from sqlalchemy import event, exc
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.ext.compiler import compiles
    from sqlalchemy.sql.compiler import DDLCompiler
except ImportError as error:
    raise missing("A database", "SQLAlchemy", "sql", error) from error

__all__ = ["AnyText", "Real", "UtcTime", "connect", "migrate", "shown", "transact", "upsert"]

TIMEOUT_S = 5.0

_ROWS_AT_ONCE = 100
"""Rows that are bound without a pause: about a millisecond of Python. A statement has the parameters of one row, so
no number of rows comes near a driver's limit."""

_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.05
_WRITING = "ml_writing"

_ESCAPE = "␛"
_UNSTORABLE = re.compile(f"[\0\ud800-\udfff{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{4}})")

ResultT = TypeVar("ResultT")


class AnyText(sa.types.TypeDecorator[str]):
    """Any Python text: see the top of the module."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        """At most ``length`` characters, each escape counting as 5; a key needs one on some databases."""
        super().__init__()
        self.length = length

    @staticmethod
    def escaped(text: str) -> str:
        """Returns a text as it is kept."""
        return _UNSTORABLE.sub(lambda match: f"{_ESCAPE}{ord(match[0]):04x}", text)

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.Text() if self.length is None else sa.String(self.length))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else self.escaped(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)


class Real(sa.types.TypeDecorator[float]):
    """Any number, as 64 bits of floating point; a whole one beyond them is infinite. See the top of the module."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> float | None:
        number = None if value is None else real(value)
        return None if number is None or (math.isnan(number) and dialect.name != "postgresql") else number

    def process_result_value(self, value: float | None, dialect: sa.Dialect) -> float | None:
        return math.nan if value is None and dialect.name != "postgresql" else value


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A moment: a ``datetime`` with a time zone, read back in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def connect(where: str | Path, *, timeout_s: float = TIMEOUT_S, reads_only: bool = False) -> sa.Engine:
    """Returns what makes connections to a database; none is made yet.

    Args:
        where: The path of an SQLite file, made with its directory when it is first used; or a URL of SQLAlchemy's.
            One of SQLite in memory is not shared by connections, so it is refused.
        timeout_s: How long to wait for a lock, and for a connection.
        reads_only: Nothing is ever changed or made through it, whatever is tried.

    Raises:
        ConfigError: It is no URL, or the library that it needs is not installed.
    """
    try:
        url = sa.make_url(where) if isinstance(where, str) and "://" in where else None
    except exc.ArgumentError:  # whose message may hold all of it
        raise ConfigError("The URL of a database looks like postgresql://user:password@host/name.") from None
    if url is None:
        url = sa.URL.create("sqlite", database=str(where))
    arguments: dict[str, object] = {}
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError("SQLite in memory has a database for each connection. Name a file: sqlite:///log.db.")
        arguments["timeout"] = timeout_s
    elif url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query:
        arguments["connect_timeout"] = max(2, math.ceil(timeout_s))  # what libpq waits at the least
    try:
        engine = sa.create_engine(
            url,
            poolclass=sa.pool.QueuePool,
            pool_timeout=timeout_s,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=arguments,
        )
    except (ImportError, exc.ArgumentError) as error:
        raise ConfigError(f"The database {shown(url)} cannot be used: {_redacted(str(error))}") from None
    if engine.dialect.name == "sqlite":
        if reads_only:
            event.listen(engine, "do_connect", partial(_connect_as_it_is, Path(engine.url.database or "").absolute()))
            event.listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA query_only = ON"))
        else:
            _prepare_sqlite(engine, timeout_s)
    elif engine.dialect.name == "postgresql":
        first = "SET TRANSACTION READ ONLY; " if reads_only else ""
        first += f"SET LOCAL lock_timeout = {math.ceil(1000 * timeout_s)}"
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(first))
    return engine


def shown(url: sa.URL) -> str:
    """Returns which database a URL is of: neither who uses it nor how, where secrets may be in any form."""
    place = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return _redacted(place.render_as_string())


def transact(engine: sa.Engine, work: Callable[[sa.Connection], ResultT]) -> ResultT:
    """Does ``work`` in one transaction that may write, and commits it; perhaps not with its first call.

    Args:
        engine: Of ``connect``.
        work: Called once, and again where a race was lost or the connection was stale: it must not mind.

    Returns:
        What ``work`` returned.

    Raises:
        WriteError: Not now: the database is away, locked or full. Nothing was committed, or, where the connection
            broke during the commit, nobody knows: what is offered again must be idempotent.
        LogValueError: The database refuses this, now and later.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with engine.connect().execution_options(**{_WRITING: True}) as connection, connection.begin():
                return work(connection)
        except exc.SQLAlchemyError as error:
            # A row that another one has just made is found the second time.
            verdict = "again" if isinstance(error, exc.IntegrityError) and attempt == 0 else _verdict(error)
            if verdict != "again" or attempt == _ATTEMPTS - 1:
                raise _explained(engine, error, verdict) from _cause(error)
            time.sleep(_FIRST_PAUSE_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def migrate(engine: sa.Engine, metadata: sa.MetaData, *, name: str, version: int) -> None:
    """Brings the tables of a database up to date: what is missing is added, nothing is changed or dropped.

    Several processes may do it at once. One that is killed leaves the tables as they were.

    Args:
        engine: Of ``connect``.
        metadata: The tables. A new column of an old table may be NULL, or has a ``server_default``.
        name: Whose tables they are; several may share a database.
        version: Of the tables, from 1: one more with each change.

    Raises:
        ConfigError: The database was made by a newer version of this software, or a column cannot be added.
        WriteError, LogValueError: As ``transact``.
    """

    def work(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(zlib.crc32(b"ml.db"))))
        _VERSIONS.create(connection, checkfirst=True)
        found = connection.scalar(sa.select(_VERSIONS.c.version).where(_VERSIONS.c.name == name))
        if found is not None and found > version:
            raise ConfigError(
                f"The tables '{name}' of {shown(engine.url)} have version {found}, and this software knows {version}. "
                "Update it (pip install -U ml-logbook), or name another database."
            )
        _add_missing(connection, metadata)
        upsert(connection, _VERSIONS, [{"name": name, "version": version}])

    transact(engine, work)


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Inserts rows; one whose primary key is there replaces what was there. Of equal keys the last row counts.

    Args:
        connection: In a transaction.
        table: Has a primary key.
        rows: Any number, each with the same columns.
    """
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        dicts = [dict(row) for row in rows[start : start + _ROWS_AT_ONCE]]
        if connection.dialect.name in ("postgresql", "sqlite"):
            connection.execute(_upsert_of(connection, table, list(dicts[0])), dicts)
        else:
            keys = list(table.primary_key)
            unique = list({tuple(row[key.name] for key in keys): row for row in dicts}.values())
            # A bound name that is a column's would be taken for a value to be set.
            matching = sa.and_(*(key == sa.bindparam(f"old_{key.name}") for key in keys))
            connection.execute(
                table.delete().where(matching), [{f"old_{k.name}": r[k.name] for k in keys} for r in unique]
            )
            connection.execute(table.insert(), unique)


_VERSIONS = sa.Table(
    "schema_versions",
    sa.MetaData(),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)


class _AddColumn(sa.schema.ExecutableDDLElement):
    """Adds a column to a table that is there."""

    def __init__(self, table: sa.Table, column: sa.Column[Any]) -> None:
        self.table, self.column = table, column


@compiles(_AddColumn)
def _compile_add_column(element: _AddColumn, compiler: DDLCompiler, **_: object) -> str:
    table = compiler.preparer.format_table(element.table)
    return f"ALTER TABLE {table} ADD COLUMN {compiler.get_column_specification(element.column)}"


def _upsert_of(connection: sa.Connection, table: sa.Table, columns: list[str]) -> sa.Executable:
    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in columns if name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=others) if others else insert.on_conflict_do_nothing()


def _add_missing(connection: sa.Connection, metadata: sa.MetaData) -> None:
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in there:
            table.create(connection)
            continue
        names = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in names:
                if not column.nullable and column.server_default is None:
                    raise ConfigError(
                        f"{table.name}.{column.name} cannot be added: it may not be NULL and has no default."
                    )
                connection.execute(_AddColumn(table, column))
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _prepare_sqlite(engine: sa.Engine, timeout_s: float) -> None:
    path = Path(engine.url.database or "").absolute()

    def begin(connection: sa.Connection) -> None:
        # The lock comes first: a transaction that reads before it writes could not wait for it any more.
        writes = connection.get_execution_options().get(_WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        _set_journal(connection, "DELETE" if is_remote(path.parent) else "WAL", timeout_s)
        connection.execute("PRAGMA synchronous = FULL")

    def make_parent(*arguments: object) -> None:
        make_directories(path.parent)

    event.listen(engine, "do_connect", make_parent)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)


def _connect_as_it_is(
    path: Path, dialect: sa.Dialect, record: object, arguments: object, parameters: dict[str, Any]
) -> sqlite3.Connection | None:
    """Connects to a file beside which nothing can be made; ``None``: in the usual way.

    Reading a file in WAL mode, SQLite makes two more beside it. Where it may not, and there is no log of somebody who
    writes, the file holds everything: an archive, or the database of another user.
    """
    if not path.is_file() or os.access(path.parent, os.W_OK) or os.path.lexists(f"{path}-wal"):
        return None
    connection: sqlite3.Connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, **parameters)
    return connection


def _set_journal(connection: sqlite3.Connection, mode: str, timeout_s: float) -> None:
    """WAL lets others read while one writes; it needs memory that all share, which no network file system has."""
    deadline_s = time.monotonic() + timeout_s
    while connection.execute("PRAGMA journal_mode").fetchone()[0].upper() != mode:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError:  # another one is doing it, which this does not wait for by itself
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(0.01)


_SQLITE_LATER = ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "NOMEM", "PROTOCOL")
_POSTGRESQL_AGAIN = ("40001", "40P01")  # serialization failure, deadlock
_POSTGRESQL_LATER = ("08", "25006", "28", "3D", "53", "55P03", "57", "58")


def _verdict(error: exc.SQLAlchemyError) -> Literal["again", "later", "never"]:
    if not isinstance(error, exc.DBAPIError):
        return "later" if isinstance(error, exc.TimeoutError) else "never"
    if name := getattr(error.orig, "sqlite_errorname", None):
        return "later" if name.removeprefix("SQLITE_").startswith(_SQLITE_LATER) else "never"
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""
    if error.connection_invalidated or state in _POSTGRESQL_AGAIN:
        return "again"
    if state:
        return "later" if state.startswith(_POSTGRESQL_LATER) else "never"
    return "later" if isinstance(error, exc.OperationalError | exc.InterfaceError) else "never"


def _explained(engine: sa.Engine, error: exc.SQLAlchemyError, verdict: str) -> MLError:
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    reason = _redacted(" ".join(str(original).split()))[:500]
    if verdict == "never":
        return LogValueError(f"the database {shown(engine.url)} refuses it: {reason}")
    return WriteError(f"The database {shown(engine.url)} cannot be written to now: {reason}")


def _cause(error: exc.SQLAlchemyError) -> BaseException:
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    is_full = getattr(original, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(original, "sqlstate", "") == "53100"
    return OSError(errno.ENOSPC, "The disk of the database is full") if is_full else error


def _redacted(text: str) -> str:
    return Redactor({}).redact_text(text)
