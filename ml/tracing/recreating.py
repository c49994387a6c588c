"""Old tables are renamed to make room for new ones; nothing of them is dropped."""

from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedIndex

from ml.db import connect
from ml.tracing.databases import other_ranks
from ml.tracing.schema import Tables, make_tables, prepare


def set_tables_aside(connection: sa.Connection, tables: Tables) -> None:
    """Renames all tables of ours to ``<name>_old_<n>``, with the first ``n`` that is free for all of them.

    Args:
        connection: In a transaction that has the lock of the schema.
        tables: Ours.
    """
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    ours = [table.name for table in tables.metadata.sorted_tables if table.name in there]
    number = 1
    while there & {f"{name}_old_{number}" for name in ours}:
        number += 1
    for name in ours:
        for index in inspector.get_indexes(name):
            if index["name"] is not None and "duplicates_constraint" not in index:
                _rename_index(connection, name, index, f"{index['name']}_old_{number}")
        connection.exec_driver_sql(f"ALTER TABLE {_quoted(connection, name)} RENAME TO {name}_old_{number}")


def set_ranks_aside(file: Path, world_size: int) -> None:
    """Renames the tables of ranks that a job does not have any more, whose files would be read with those of it.

    Args:
        file: Of rank 0.
        world_size: How many ranks there are now.

    Raises:
        WriteError: Not now.
        ConfigError: Such a file is no database for traces.
    """
    for rank, path in other_ranks(file):
        if rank >= world_size:
            engine, tables = connect(path), make_tables()
            try:
                prepare(engine, tables, partial(set_tables_aside, tables=tables), lambda connection: None)
            finally:
                engine.dispose()


def _rename_index(connection: sa.Connection, table: str, index: ReflectedIndex, name: str) -> None:
    """Gives an index another name, as those of a database's indexes are shared by all of its tables."""
    old, new = _quoted(connection, str(index["name"])), _quoted(connection, name)
    if connection.dialect.name == "sqlite":  # which cannot rename one
        columns = ", ".join(_quoted(connection, str(column)) for column in index["column_names"])
        connection.exec_driver_sql(f"DROP INDEX {old}")
        connection.exec_driver_sql(f"CREATE INDEX {new} ON {_quoted(connection, table)} ({columns})")
    else:
        connection.exec_driver_sql(f"ALTER INDEX {old} RENAME TO {new}")


def _quoted(connection: sa.Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
