"""What leaves the machine: a ZIP archive with a manifest, a Parquet file for each table, and a text that explains them.

::

    README.txt              what the rest is, for whoever finds it
    models.parquet          ... and so on, the tables that have rows
    inferences.parquet
    detections.parquet
    manifest.json           whose inferences, which, how many rows and bytes, and the SHA-256 of each file

An export is one such archive, an upload is many. The same inferences make the same bytes, with one version of pyarrow:
nothing of the time or the machine is written, rows come in the order of ``TraceTables``, and a group of rows ends where
their number and sizes say, however they were read.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from ml.core.errors import missing
from ml.io.zips import Written, ZipWriter
from ml.loggers.strict_json import Json, encoder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ml.tracing.selection import Selection

FORMAT: Final = "ml.tracing"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
README: Final = "README.txt"
TABLES: Final = (
    "models",
    "versions",
    "runs",
    "inferences",
    "detections",
    "candidates",
    "classifications",
    "features",
    "pictures",
    "ground_truths",
    "results",
)
"""In the order in which they lie in an archive."""

ROWS_PER_GROUP: Final = 8192
GROUP_BYTES: Final = 8 * 2**20
"""Of values, as they are reckoned up: a group ends with the row that reaches it."""

_LEVEL: Final = 3  # of zstd
_encode = encoder((",", ": "))


class TraceTables(Protocol):
    """Where traced inferences come from."""

    def table_batches(
        self, name: str, selection: "Selection", *, ids: Sequence[str] | None = None
    ) -> "Iterator[pa.RecordBatch]":
        """Yields the rows of a table that belong to the chosen inferences, a bounded number at a time.

        Rows come in an order that follows from what they say, not from how they lie in the database, and so do their
        columns: no number that the database gave them. All batches of a table have the same columns.

        Args:
            name: One of ``TABLES``.
            selection: Which inferences.
            ids: Only these of them.
        """
        ...


def write_archive(
    file: BinaryIO,
    traces: TraceTables,
    selection: "Selection",
    *,
    tables: Sequence[str] = TABLES,
    ids: Sequence[str] | None = None,
) -> None:
    """Writes an archive. A group of rows of one table is in memory at a time.

    Args:
        file: Empty; can be seeked.
        traces: Where the rows come from.
        selection: Of which inferences.
        tables: Which tables.
        ids: Only these inferences of the selection; the manifest does not name them.

    Raises:
        ConfigError: pyarrow is not installed.
        OSError, WriteError: The file cannot be written.
    """
    require_pyarrow()
    writer = ZipWriter(file)
    try:
        _write(writer, traces, selection, tables, ids)
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def regrouped(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """Yields the same rows in groups whose ends do not depend on how they came; without rows nothing."""
    import numpy as np
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        while batch.num_rows:
            sizes = np.cumsum(_row_bytes(batch))
            fits = int(np.searchsorted(sizes, GROUP_BYTES - size_bytes)) + 1  # with the row that reaches it
            taken = min(fits, ROWS_PER_GROUP - rows, batch.num_rows)
            held.append(batch.slice(0, taken))
            rows, size_bytes, batch = rows + taken, size_bytes + int(sizes[taken - 1]), batch.slice(taken)
            if rows == ROWS_PER_GROUP or size_bytes >= GROUP_BYTES:
                yield _joined(held)
                held, rows, size_bytes = [], 0, 0
    if held:
        yield _joined(held)


def require_pyarrow() -> None:
    """Loads pyarrow.

    Raises:
        ConfigError: It is not installed, or cannot be imported.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise missing("An archive of traces", "pyarrow", "tracing", error) from error


def _write(
    writer: ZipWriter,
    traces: TraceTables,
    selection: "Selection",
    tables: Sequence[str],
    ids: Sequence[str] | None,
) -> None:
    entries: dict[str, Json] = {}
    with writer.entry(README) as readme:
        readme.write(_README.encode())
    for name in tables:
        batches = regrouped(traces.table_batches(name, selection, ids=ids))
        if (first := next(batches, None)) is not None:
            with writer.entry(f"{name}.parquet") as entry:
                rows = _write_table(entry, first, batches)
            columns: dict[str, Json] = {field.name: str(field.type) for field in first.schema}
            entries[name] = {"rows": rows, **_described(entry), "columns": columns}
    chosen: dict[str, Json] = {
        "dataset_type": selection.dataset_type,
        "n_epoch": selection.n_epoch,
        "run": selection.run,
    }
    manifest: Json = {
        "format": FORMAT,
        "version": VERSION,
        "identity": _identity(traces, selection, ids),
        "selection": chosen,
        "tables": entries,
        "files": {README: _described(readme)},
    }
    writer.add(MANIFEST, _encode(manifest) + b"\n")


def _write_table(file: Written, first: "pa.RecordBatch", following: "Iterable[pa.RecordBatch]") -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = first.schema.remove_metadata()
    with (
        pa.PythonFile(file, mode="w") as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", compression_level=_LEVEL, version="2.6") as writer,
    ):
        rows = 0
        for group in chain([first], following):
            writer.write_batch(group.cast(schema), row_group_size=group.num_rows)
            rows += group.num_rows
    return rows


def _joined(batches: "list[pa.RecordBatch]") -> "pa.RecordBatch":
    import pyarrow as pa

    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _row_bytes(batch: "pa.RecordBatch") -> "np.ndarray":
    """Returns about how many bytes each row has, the same ones wherever it stands; shape (rows,), int64."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += 8
        kind = column.type
        if pa.types.is_binary(kind) or pa.types.is_string(kind) or _is_large(kind):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            sizes += 8 * pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return sizes


def _is_large(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_large_binary(kind) or pa.types.is_large_string(kind))


def _described(entry: Written) -> dict[str, Json]:
    return {"size_bytes": entry.size_bytes, "sha256": entry.sha256}


def _identity(traces: TraceTables, selection: "Selection", ids: Sequence[str] | None) -> Json:
    """Returns whose inferences they are: the row of the model, as far as JSON can hold it."""
    rows = [row for batch in traces.table_batches("models", selection, ids=ids) for row in batch.to_pylist()]
    known = {str(key): value for key, value in (rows[0] if rows else {}).items() if isinstance(value, str | int)}
    known.pop("name", None)
    return {"model_name": selection.model_name, "version_name": selection.version_name, **known}


_README = """Traced inferences of a model.

Each .parquet file is a table, as any reader of Apache Parquet takes it:

    import pandas
    inferences = pandas.read_parquet("inferences.parquet")
    detections = pandas.read_parquet("detections.parquet")

A row of inferences is one input that the model was given. Rows of the other tables
belong to it by inference_id: what the user was shown (detections), everything the
model considered (candidates), what it said of a whole image (classifications), what
its layers gave (features), what was there (ground_truths). Boxes are x1, y1, x2, y2
in pixels of the input. A table without rows has no file.

manifest.json says whose inferences these are, which were chosen, and of each file how
many bytes it has and their SHA-256.
"""
