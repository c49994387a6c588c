"""The chosen inferences of some databases in one order, a page at a time, each in a transaction of its own.

Of each process of a run the database has an index in the order of its inferences, so a page is found without sorting;
the processes are merged here. A reader keeps no log growing, and holds some thousand rows, whatever there is to read.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any, NamedTuple

import sqlalchemy as sa

from ml.db import AnyText
from ml.tracing.opening import TraceDatabase
from ml.tracing.selection import Chosen, Selection, chosen, runs_of

_ROWS_AT_ONCE, _FEWEST_ROWS = 2000, 20
_IDS_AT_ONCE = 500
_ORDER = ("dataset_type", "epoch", "step", "input_id", "id")

Mapped = dict[str, Any]


class Located(NamedTuple):
    """An inference, and where it is.

    Attributes:
        key: By which inferences are sorted: dataset type, epoch, step, input id, id.
        database: Its number among those that are read.
        row: Its columns; ``run`` is the uuid of its run.
    """

    key: tuple[str, int, int, str, str]
    database: int
    row: Mapped


def located(
    databases: Sequence[TraceDatabase], selection: Selection, ids: Sequence[str] | None = None
) -> Iterator[Located]:
    """Yields the chosen inferences in order; one that several databases have, from the first of them.

    Args:
        databases: Open.
        selection: Which inferences.
        ids: Only these of them; all are in memory at once.

    Raises:
        FormatError, ConfigError: A database is damaged, or cannot be read.
    """
    found = chosen(databases, selection)
    if found is None:
        return
    processes = [
        (number, int(row.id))
        for number, database in enumerate(databases)
        for row in database.rows(runs_of(database, selection, found.run))
    ]
    if ids is not None:
        streams = [iter(_of_ids(databases, number, run, selection, found, ids)) for number, run in processes]
    else:
        size = max(_FEWEST_ROWS, _ROWS_AT_ONCE // max(1, len(processes)))
        streams = [_in_pages(databases, number, run, selection, found, size) for number, run in processes]
    yield from merge(*streams, key=lambda inference: inference.key)


def parts_of(databases: Sequence[TraceDatabase], some: Sequence[Located], name: str) -> dict[str, list[Mapped]]:
    """Returns the rows of a table that belong to inferences, by their ids, each in order.

    Args:
        databases: Those in which the inferences were found.
        some: A few hundred.
        name: The table.

    Raises:
        FormatError, ConfigError: A database is damaged, or cannot be read.
    """
    parts: dict[str, list[Mapped]] = {inference.row["id"]: [] for inference in some}
    for number, database in enumerate(databases):
        ids = [inference.row["id"] for inference in some if inference.database == number]
        if ids:
            table = database.table(name)
            for row in database.rows(sa.select(table).where(table.c.inference_id.in_(ids))):
                parts[row.inference_id].append(dict(row._mapping))
    for rows in parts.values():
        rows.sort(key=lambda row: (row.get("number", 0), row.get("alias", "")))
    return parts


def _in_pages(
    databases: Sequence[TraceDatabase], number: int, run_id: int, selection: Selection, found: Chosen, size: int
) -> Iterator[Located]:
    database = databases[number]
    inferences, query = _query(database, run_id, selection, found)
    columns = [inferences.c[name] for name in _ORDER]
    query = query.order_by(*columns).limit(size)
    page = _read(database, number, query)
    while page:
        yield from _without_known(databases[:number], page)
        if len(page) < size:
            return
        last = [sa.literal(page[-1].row[column.name], column.type) for column in columns]
        page = _read(database, number, query.where(sa.tuple_(*columns) > sa.tuple_(*last)))


def _of_ids(
    databases: Sequence[TraceDatabase],
    number: int,
    run_id: int,
    selection: Selection,
    found: Chosen,
    ids: Sequence[str],
) -> list[Located]:
    inferences, query = _query(databases[number], run_id, selection, found)
    rows: list[Located] = []
    for start in range(0, len(ids), _IDS_AT_ONCE):
        page = _read(databases[number], number, query.where(inferences.c.id.in_(ids[start : start + _IDS_AT_ONCE])))
        rows += _without_known(databases[:number], page)
    return sorted({row.row["id"]: row for row in rows}.values(), key=lambda inference: inference.key)


def _query(database: TraceDatabase, run_id: int, selection: Selection, found: Chosen) -> "tuple[Any, sa.Select[Any]]":
    inferences, runs = database.table("inferences"), database.table("runs")
    query = sa.select(inferences, runs.c.uuid.label("run")).join(runs, runs.c.id == inferences.c.run_id)
    query = query.where(inferences.c.run_id == run_id)
    if selection.dataset_type is not None:
        query = query.where(inferences.c.dataset_type == selection.dataset_type)
    if found.epoch is not None:
        query = query.where(inferences.c.epoch == found.epoch)
    return inferences, query


def _read(database: TraceDatabase, number: int, query: sa.Executable) -> list[Located]:
    page = []
    for found in database.rows(query):
        row = dict(found._mapping)
        texts = AnyText.escaped(row["dataset_type"]), AnyText.escaped(row["input_id"])  # as they were sorted
        page.append(Located((texts[0], row["epoch"], row["step"], texts[1], row["id"]), number, row))
    return page


def _without_known(earlier: Sequence[TraceDatabase], page: Sequence[Located]) -> list[Located]:
    """Returns the inferences that no earlier database has: two ranks may be given one input."""
    known: set[str] = set()
    for database in earlier:
        table = database.table("inferences")
        for start in range(0, len(page), _IDS_AT_ONCE):
            ids = [inference.row["id"] for inference in page[start : start + _IDS_AT_ONCE]]
            known |= {row.id for row in database.rows(sa.select(table.c.id).where(table.c.id.in_(ids)))}
    return [inference for inference in page if inference.row["id"] not in known]
