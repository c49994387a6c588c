"""The tables of chosen inferences as batches of Arrow's: in an order, and with columns, that are the same anywhere.

Numbers that a database gave its rows are left out: a run is its uuid. Candidates have a row each, as if they had never
been packed. Half a surrogate pair is written as its escape.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from ml.core.errors import ConfigError, missing
from ml.db import AnyText, Real, UtcTime
from ml.tracing.opening import TraceDatabase
from ml.tracing.packing import unpack_candidates
from ml.tracing.schema import GROUND_TRUTHS, INFERENCES, PARTS, make_tables
from ml.tracing.selection import Selection, chosen
from ml.tracing.streaming import Located, Mapped, located, parts_of

if TYPE_CHECKING:
    import pyarrow as pa

REGISTERS = ("models", "versions", "runs", "results")
"""The tables whose rows do not belong to an inference."""

_AT_ONCE = 64

_ORDERED_BY = {
    "models": ("name",),
    "versions": ("model_name", "name"),
    "runs": ("started", "run", "rank", "token"),
    "results": ("model_name", "version_name", "name"),
}
_LEFT_OUT = {"id", "run_id", "token", "version_id"}


def table_schema(databases: Sequence[TraceDatabase], name: str) -> "pa.Schema":
    """Returns the columns of a table.

    Raises:
        ConfigError: There is no such table, or pyarrow is not installed.
    """
    pa = _pyarrow()
    if name == "candidates":
        whole, real = pa.int64(), pa.float32()
        columns = [("inference_id", pa.string()), ("number", whole), ("candidate", whole)]
        columns += [(corner, real) for corner in ("x1", "y1", "x2", "y2")]
        return pa.schema(
            [*columns, ("score", real), ("label", whole), ("visible", pa.bool_()), ("logits", pa.list_(real))]
        )
    if name not in (INFERENCES, *PARTS, *REGISTERS):
        raise ConfigError(f"There is no table {name!r}. There are {', '.join((INFERENCES, *PARTS, *REGISTERS))}.")
    base = make_tables().named(name)
    columns = [(c.name, _kind(c.type)) for c in base.columns if c.name not in _LEFT_OUT]
    if name in (INFERENCES, GROUND_TRUTHS):
        columns += _own_columns(databases, name, {column for column, _ in columns})
    first = {
        INFERENCES: [("id", pa.string()), ("run", pa.string())],
        "runs": [("model_name", pa.string()), ("version_name", pa.string()), ("run", pa.string())],
        "results": [("model_name", pa.string()), ("version_name", pa.string())],
    }
    columns = [(column, kind) for column, kind in columns if not (name == "runs" and column == "uuid")]
    return pa.schema([*first.get(name, []), *columns])


def table_batches(
    databases: Sequence[TraceDatabase], name: str, selection: Selection, ids: Sequence[str] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yields the rows of a table that belong to chosen inferences, a bounded number at a time.

    Args:
        databases: Open.
        name: Of the table.
        selection: Which inferences.
        ids: Only these of them.

    Raises:
        ConfigError: There is no such table, pyarrow is not installed, or a database cannot be read.
        FormatError: One is damaged.
    """
    schema = table_schema(databases, name)
    if name in REGISTERS:
        yield from register_batches(databases, name, selection)
        return
    stream = located(databases, selection, ids)
    while some := list(islice(stream, _AT_ONCE)):
        if name == INFERENCES:
            yield _batch([_without_absent(inference.row) for inference in some], schema)
            continue
        parts = parts_of(databases, some, name)
        if name == "candidates":
            yield from _exploded(some, parts, schema)
        elif rows := [row for inference in some for row in parts[inference.row["id"]]]:
            yield _batch(rows, schema)


def register_batches(
    databases: Sequence[TraceDatabase], name: str, selection: Selection | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yields at most one batch of a table of ``REGISTERS``: of the version that is selected, or of all.

    Raises:
        ConfigError, FormatError: As ``table_batches``.
    """
    schema, rows = table_schema(databases, name), dict[tuple[object, ...], Mapped]()
    found = None if selection is None else chosen(databases, selection)
    if name == "runs" and selection is not None and found is None:
        return
    for database in databases:
        for row in database.rows(_register(database, name, selection)):
            mapped = dict(row._mapping)
            if name != "runs" or found is None or found.run in (None, mapped["run"]):
                rows.setdefault(tuple(mapped[column] for column in _ORDERED_BY[name]), mapped)
    if rows:
        yield _batch([rows[key] for key in sorted(rows)], schema)


def _register(database: TraceDatabase, name: str, selection: Selection | None) -> "sa.Select[Any]":
    models, versions, table = database.table("models"), database.table("versions"), database.table(name)
    if name == "models":
        return (
            sa.select(models) if selection is None else sa.select(models).where(models.c.name == selection.model_name)
        )
    names = [versions.c.model_name, versions.c.name.label("version_name")]
    if name == "versions":
        query = sa.select(versions)
    else:
        query = sa.select(table, *names).join(versions, versions.c.id == table.c.version_id)
    if name == "runs":
        query = query.add_columns(table.c.uuid.label("run"))
    if selection is None:
        return query
    return query.where(versions.c.model_name == selection.model_name, versions.c.name == selection.version_name)


def _exploded(
    some: Sequence[Located], parts: dict[str, list[Mapped]], schema: "pa.Schema"
) -> "Iterator[pa.RecordBatch]":
    pa = _pyarrow()
    for inference in some:
        for row in parts[inference.row["id"]]:
            output = unpack_candidates(row["data"], (0, 0))
            count, logits = len(output), output.logits
            if not count:
                continue
            if logits is None:
                lists = pa.nulls(count, pa.list_(pa.float32()))
            else:
                ends = np.arange(count + 1, dtype=np.int32) * np.int32(logits.shape[1])
                lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(logits.reshape(-1)))
            visible = pa.nulls(count, pa.bool_()) if output.visible is None else pa.array(output.visible)
            columns = [
                pa.array([inference.row["id"]] * count, pa.string()),
                pa.array(np.arange(count)),
                pa.array(output.candidates),
                *(pa.array(np.ascontiguousarray(corner)) for corner in output.boxes.T),
                pa.array(output.scores),
                pa.array(output.labels),
                visible,
                lists,
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _without_absent(row: Mapped) -> Mapped:
    return row if row["num_visible"] else row | {"mean_score": None, "max_score": None}


def _own_columns(databases: Sequence[TraceDatabase], name: str, taken: set[str]) -> "list[tuple[str, pa.DataType]]":
    kinds: dict[str, pa.DataType] = {}
    for database in databases:
        table, base = database.table(name), make_tables().named(name)
        for column in table.columns:
            if column.name not in base.columns and column.name not in taken:
                kinds.setdefault(column.name, _kind(column.type))
    return sorted(kinds.items())


def _kind(kind: "sa.types.TypeEngine[Any]") -> "pa.DataType":
    pa = _pyarrow()
    if isinstance(kind, AnyText | sa.String):
        return pa.string()
    if isinstance(kind, Real | sa.Double):
        return pa.float64()
    if isinstance(kind, UtcTime):
        return pa.timestamp("us", tz="UTC")
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    return pa.large_binary() if isinstance(kind, sa.LargeBinary) else pa.int64()


def _batch(rows: Sequence[Mapped], schema: "pa.Schema") -> "pa.RecordBatch":
    pa = _pyarrow()
    columns = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        if pa.types.is_string(column.type):
            values = [None if v is None else v.encode("utf-8", "backslashreplace").decode() for v in values]
        columns.append(pa.array(values, column.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise missing("A table of traces", "pyarrow", "tracing", error) from error
    return pyarrow
