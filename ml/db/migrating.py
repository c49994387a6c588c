"""Tables that are made, or brought up to date: what is missing is added, nothing is changed or dropped."""

import zlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler

from ml.core.errors import ConfigError
from ml.db.errors import shown
from ml.db.transactions import transact, upsert


def migrate(
    engine: sa.Engine,
    metadata: sa.MetaData,
    *,
    name: str,
    version: int,
    first: Callable[[sa.Connection], None] = lambda connection: None,
    last: Callable[[sa.Connection], None] = lambda connection: None,
) -> None:
    """Brings the tables of a database up to date: what is missing is added, nothing is changed or dropped.

    Several processes may do it at once. One that is killed leaves the tables as they were.

    Args:
        engine: Of ``connect``.
        metadata: The tables. A new column of an old table may be NULL, or has a ``server_default``.
        name: Whose tables they are; several may share a database.
        version: Of the tables, from 1: one more with each change.
        first: Called in the same transaction before anything is looked at; no other migration is under way.
        last: The same, when all tables are there.

    Raises:
        ConfigError: The database was made by a newer version of this software, or a column cannot be added.
        WriteError, LogValueError: As ``transact``.
    """

    def work(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(zlib.crc32(b"ml.db"))))
        first(connection)
        _VERSIONS.create(connection, checkfirst=True)
        found = connection.scalar(sa.select(_VERSIONS.c.version).where(_VERSIONS.c.name == name))
        if found is not None and found > version:
            raise ConfigError(
                f"The tables '{name}' of {shown(engine.url)} have version {found}, and this software knows {version}. "
                "Update it (pip install -U ml-logbook), or name another database."
            )
        _add_missing(connection, metadata)
        upsert(connection, _VERSIONS, [{"name": name, "version": version}])
        last(connection)

    transact(engine, work)


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
