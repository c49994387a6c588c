"""A database of traces that is read: which tables and columns it has, and its rows some at a time.

It may be from anybody, and SQLite keeps anything in any column: what is not of its column's type is damage, whoever
asks for it. A value has so many bytes at most, as a column may be reckoned from nothing when it is read.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import sqlalchemy as sa
from sqlalchemy import event

from ml.core.errors import ConfigError
from ml.db import AnyText, Real, UtcTime, connect, shown
from ml.db.files import sqlite_file
from ml.db.reading import reading
from ml.tracing.databases import with_ranks
from ml.tracing.fields import FieldSpec, FieldType
from ml.tracing.schema import GROUND_TRUTHS, INFERENCES, SCHEMA, SCHEMA_VERSION, make_tables

MAX_VALUE_BYTES = 256 << 20

_KINDS: tuple[tuple[tuple[type[sa.types.TypeEngine[Any]], ...], tuple[type, ...]], ...] = (
    ((AnyText, sa.String), (str,)),
    ((Real, sa.Double), (float, int)),
    ((sa.Boolean,), (bool,)),
    ((sa.Integer,), (int,)),
    ((sa.LargeBinary,), (bytes,)),
    ((UtcTime,), (datetime,)),
)
_VERSIONS = sa.table("schema_versions", sa.column("name", sa.String), sa.column("version", sa.Integer))


class NoTracesError(ConfigError):
    """A database has no tables of ours."""


class TraceDatabase:
    """One database. Nothing is changed through it.

    Args:
        where: The path of an SQLite file, or a URL of SQLAlchemy's.

    Attributes:
        where: As given.
        fields: The columns of ``inferences`` that are a user's own.
        label_fields: Those of ``ground_truths``.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError: The file is no SQLite database.
        ConfigError: It is no database for traces, newer software made it, or it does not answer.
    """

    def __init__(self, where: str | Path) -> None:
        file = sqlite_file(where)
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"There is no trace database {file}.")
        self.where = where
        self._engine = connect(where, reads_only=True)
        if file is not None:
            event.listen(self._engine, "connect", _bound)
        try:
            self._look()
        except BaseException:
            self._engine.dispose()
            raise

    def __repr__(self) -> str:
        return f"TraceDatabase({shown(self._engine.url)!r})"

    def table(self, name: str) -> Any:
        """Returns what is selected from for a table: with NULL for the columns that an older version had not."""
        table = self._tables.named(name)
        missing = [column.name for column in table.columns if column.name not in self._there[name]]
        if not missing:
            return table
        columns = [sa.null().label(c.name) if c.name in missing else c for c in table.columns]
        return sa.select(*columns).select_from(table).subquery(name)

    def rows(self, query: sa.Executable) -> "Sequence[sa.Row[Any]]":
        """Returns rows, in a transaction of their own.

        Raises:
            FormatError, ConfigError: As ``ml.db.reading``.
        """
        with reading(self._engine), self._engine.connect() as connection:
            return _checked(query, connection.execute(query).all())

    def scalar(self, query: sa.Executable) -> Any:
        """Returns the first column of the first row, or ``None``.

        Raises:
            FormatError, ConfigError: As ``rows``.
        """
        rows = self.rows(query)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Closes the connections; what is read afterwards opens new ones."""
        self._engine.dispose()

    def _look(self) -> None:
        base = make_tables()
        with reading(self._engine), self._engine.connect() as connection:
            inspector = sa.inspect(connection)
            names = set(inspector.get_table_names())
            version = None
            if _VERSIONS.name in names:
                version = connection.scalar(sa.select(_VERSIONS.c.version).where(_VERSIONS.c.name == SCHEMA))
            if not isinstance(version, int) or not names.issuperset(base.metadata.tables):
                raise NoTracesError(
                    f"{shown(self._engine.url)} is no database for traces. Name one that a tracer made."
                )
            if version > SCHEMA_VERSION:
                raise ConfigError(
                    f"{shown(self._engine.url)} was made by a newer version ({version}; this one knows"
                    f" {SCHEMA_VERSION}). Update this software: pip install -U ml-logbook."
                )
            query = sa.select(base.fields).order_by(base.fields.c.name)
            found = _checked(query, connection.execute(query).all())
            for row in found:
                if row.type not in get_args(FieldType):
                    raise ValueError(f"the field {row.name!r:.80} has the type {row.type!r:.80}")
            self._there = {name: {c["name"] for c in inspector.get_columns(name)} for name in base.metadata.tables}
        specs = [(row.place, FieldSpec(row.name, cast(FieldType, row.type))) for row in found]
        self.fields = tuple(spec for place, spec in specs if place == INFERENCES)
        self.label_fields = tuple(spec for place, spec in specs if place == GROUND_TRUTHS)
        self._tables = make_tables(self.fields, self.label_fields)


def open_all(databases: Sequence[str | Path]) -> list[TraceDatabase]:
    """Opens databases, and beside files those of other ranks; one that another rank is just making has nothing yet.

    Raises:
        FileNotFoundError, FormatError, ConfigError: As ``TraceDatabase``.
    """
    found: list[TraceDatabase] = []
    try:
        for where in with_ranks(databases):
            try:
                found.append(TraceDatabase(where))
            except NoTracesError:
                if where in databases:
                    raise
    except BaseException:
        for database in found:
            database.close()
        raise
    return found


@contextmanager
def opened(databases: Sequence[str | Path]) -> Iterator[list[TraceDatabase]]:
    """Opens databases as ``open_all``, and closes them afterwards."""
    found = open_all(databases)
    try:
        yield found
    finally:
        for database in found:
            database.close()


def _bound(connection: sqlite3.Connection, record: object) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)


def _checked(query: sa.Executable, rows: "Sequence[sa.Row[Any]]") -> "Sequence[sa.Row[Any]]":
    """Returns rows whose values are of their columns' types.

    Raises:
        ValueError: One is not.
    """
    columns = query.selected_columns if isinstance(query, sa.Select) else ()
    for number, column in enumerate(columns):
        kinds = (*_kinds_of(column.type), type(None))
        for row in rows:
            if not isinstance(row[number], kinds):
                raise ValueError(f"{column.name} is {row[number]!r:.60}")
    return rows


def _kinds_of(kind: sa.types.TypeEngine[Any]) -> tuple[type, ...]:
    return next((values for columns, values in _KINDS if isinstance(kind, columns)), (object,))
