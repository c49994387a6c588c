"""Copies the runs of several benchmark databases into one, as of ranks that each wrote a file of their own."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ml.benchmarks.reading import open_benchmark
from ml.benchmarks.schema import MEASUREMENTS, RUNS, SAMPLES, prepare
from ml.core.errors import ConfigError
from ml.db import connect, shown, transact, upsert
from ml.db.files import sqlite_file
from ml.db.reading import reading

_ROWS_AT_ONCE = 10_000


def merge(sources: Iterable[str | Path], into: str | Path) -> int:
    """Copies every run of some databases into another; what is there already is brought up to date.

    Processes of one run, as the ranks of a job, are one run afterwards too. The sources stay as they are, and may
    still be written to: what they hold by now is copied, and merging again brings the rest.

    Args:
        sources: Paths of SQLite files, or URLs of SQLAlchemy's.
        into: The same; made if it is not there. Runs that it has stay.

    Returns:
        How many processes of runs were copied.

    Raises:
        FileNotFoundError: A source is not there. Nothing was copied.
        FormatError, ConfigError: A source or ``into`` is no database for benchmarks, newer software made it, or
            ``into`` is one of the sources. Nothing was copied; of a source that is damaged in the middle, what comes
            before that.
        WriteError: ``into`` cannot be written to now.
    """
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    target = connect(into)
    for source in sources:
        open_benchmark(source).close()
        file = sqlite_file(source)
        if str(source) == str(into) or (file is not None and file == sqlite_file(into)):
            raise ConfigError(f"{shown(target.url)} cannot be merged into itself.")
    prepare(target)
    copied = 0
    for source in sources:
        engine = connect(source, reads_only=True)
        for run in _rows(engine, _select(engine, RUNS).order_by(RUNS.c.id)):
            _copy(engine, run, target)
            copied += 1
        engine.dispose()
    target.dispose()
    return copied


def _copy(source: sa.Engine, run: Mapping[str, Any], target: sa.Engine) -> None:
    """Copies a process of a run. Its token says whether it is there; its id may be another one's."""
    row = {name: value for name, value in run.items() if name != "id"}

    def begin(connection: sa.Connection) -> int:
        find = sa.select(RUNS.c.id).where(RUNS.c.token == run["token"])
        if (found := connection.scalar(find)) is None:
            connection.execute(RUNS.insert(), row)
            found = connection.scalar(find)
        assert found is not None, "a row that was inserted is found"
        return int(found)

    run_id = transact(target, begin)
    for table in (MEASUREMENTS, SAMPLES):
        _copy_rows(source, int(run["id"]), table, target, run_id)
    # Last: a process that has ended has all of its rows.
    transact(target, lambda connection: connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(**row)))


def _copy_rows(source: sa.Engine, source_id: int, table: sa.Table, target: sa.Engine, target_id: int) -> None:
    keys = [column for column in table.primary_key if column.name != "run_id"]
    query = _select(source, table).where(table.c.run_id == source_id).order_by(*keys).limit(_ROWS_AT_ONCE)
    last: tuple[int, ...] = (-1,) * len(keys)
    while True:
        rows = _rows(source, query.where(sa.tuple_(*keys) > sa.tuple_(*map(sa.literal, last))))
        if not rows:
            return
        copied = [{**row, "run_id": target_id} for row in rows]
        transact(target, partial(upsert, table=table, rows=copied))
        last = tuple(rows[-1][key.name] for key in keys)


def _select(engine: sa.Engine, table: sa.Table) -> "sa.Select[Any]":
    """Returns what selects the columns that a table has; an older version had fewer."""
    with reading(engine):
        there = {column["name"] for column in sa.inspect(engine).get_columns(table.name)}
    return sa.select(*(column for column in table.columns if column.name in there))


def _rows(engine: sa.Engine, query: sa.Executable) -> list[dict[str, Any]]:
    with reading(engine), engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
