"""Transactions that are whole or not at all, and rows that replace those of their key."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from ml.db.errors import cause, explained, verdict_on
from ml.db.sqlite import WRITING

_ROWS_AT_ONCE = 100
"""Rows that are bound without a pause: about a millisecond of Python. A statement has the parameters of one row, so
no number of rows comes near a driver's limit."""

_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.05

ResultT = TypeVar("ResultT")


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
            with engine.connect().execution_options(**{WRITING: True}) as connection, connection.begin():
                return work(connection)
        except exc.SQLAlchemyError as error:
            # A row that another one has just made is found the second time.
            verdict = "again" if isinstance(error, exc.IntegrityError) and attempt == 0 else verdict_on(error)
            if verdict != "again" or attempt == _ATTEMPTS - 1:
                raise explained(engine, error, verdict) from cause(error)
            time.sleep(_FIRST_PAUSE_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


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


def _upsert_of(connection: sa.Connection, table: sa.Table, columns: list[str]) -> sa.Executable:
    """Returns the statement; it is kept with the table, since making it takes longer than most rows do."""
    key = ("ml_upsert", connection.dialect.name, *columns)
    statement: sa.Executable | None = table.info.get(key)
    if statement is None:
        statement = table.info[key] = _new_upsert_of(connection, table, columns)
    return statement


def _new_upsert_of(connection: sa.Connection, table: sa.Table, columns: list[str]) -> sa.Executable:
    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in columns if name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=others) if others else insert.on_conflict_do_nothing()
