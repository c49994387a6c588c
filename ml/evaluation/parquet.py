"""Groups of rows as Arrow batches, and as the Parquet parts that a published table consists of.

The same rows make the same bytes, with one version of pyarrow: a group ends where the sizes of its rows say, a part
where the sizes of its groups do, and nothing of the time or the machine is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ml.core.errors import FormatError, missing
from ml.evaluation.columns import Column, ColumnKind

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ColumnChunkMetaData

ROWS_PER_GROUP: Final = 8192
GROUP_BYTES: Final = 8 * 2**20
"""Of cells, as they are reckoned up: a group ends with the row that reaches it."""
PART_BYTES: Final = 32 * 2**20
"""A part ends with the group that reaches it."""
MAX_PART_BYTES: Final = 256 * 2**20

_MAX_GROUP_BYTES: Final = 512 * 2**20
_MAX_VALUES: Final = 2**24  # of one column of one group
_MAX_THRIFT: Final = 2**24
_ENCODINGS: Final = frozenset({"PLAIN", "RLE"})
_LEVEL: Final = 3  # of zstd


class Part(NamedTuple):
    """A Parquet file with some of the rows of a table.

    Attributes:
        path: Where it lies.
        rows: How many.
    """

    path: Path
    rows: int


def require_pyarrow() -> None:
    """Loads pyarrow.

    Raises:
        ConfigError: It is not installed, or cannot be imported.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise missing("An evaluation table", "pyarrow", "evaluation", error) from error


def schema_of(columns: Sequence[Column]) -> "pa.Schema":
    """Returns how columns are kept; see ``ml.evaluation.packing``."""
    import pyarrow as pa

    return pa.schema([pa.field(str(column.name), _type_of(column.kind)) for column in columns])


def to_batch(columns: Sequence[Column], cells: Sequence[Sequence[object]]) -> "pa.RecordBatch":
    """Returns a group of rows.

    Args:
        columns: Of the table.
        cells: Of each column, as many as there are rows.
    """
    import pyarrow as pa

    schema = schema_of(columns)
    arrays = [pa.array(values, field.type) for values, field in zip(cells, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def cells_of(batch: "pa.RecordBatch", index: int) -> list[object]:
    """Returns the cells of a column of a group.

    Raises:
        FormatError: One of them is a moment that Python's calendar does not have.
    """
    with _of_the_calendar(batch, index):
        cells: list[object] = batch.column(index).to_pylist()
    return cells


def cell_of(batch: "pa.RecordBatch", index: int, offset: int) -> object:
    """Returns one cell of a column of a group.

    Raises:
        FormatError: It is a moment that Python's calendar does not have.
    """
    with _of_the_calendar(batch, index):
        cell: object = batch.column(index)[offset].as_py()
    return cell


@contextmanager
def _of_the_calendar(batch: "pa.RecordBatch", index: int) -> Iterator[None]:
    try:
        yield
    except (OverflowError, ValueError) as error:
        raise FormatError(f"column {batch.schema.names[index]!r} holds what no value can be: {error}") from error


def as_table(columns: Sequence[Column], batches: Iterable["pa.RecordBatch"]) -> "pa.Table":
    """Returns groups of rows as one table, in memory."""
    import pyarrow as pa

    return pa.Table.from_batches(batches, schema_of(columns))


def write_group(path: Path, batch: "pa.RecordBatch") -> None:
    """Writes a group of rows to a file of its own, for this process alone.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def read_group(path: Path, columns: Sequence[Column]) -> "pa.RecordBatch":
    """Returns what ``write_group`` wrote, as the columns are now: they may have become wider, or known, since.

    Raises:
        OSError: It cannot be read.
    """
    import pyarrow as pa

    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_file(file) as reader:
        batch = reader.get_batch(0)
    schema = schema_of(columns)
    arrays = [_cast(array, field.type) for array, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write_parts(directory: Path, columns: Sequence[Column], batches: Iterable["pa.RecordBatch"]) -> list[Part]:
    """Writes a table as Parquet files ``0000.parquet`` and so on; one group of it is held at a time.

    Args:
        directory: An empty one.
        columns: Of the table.
        batches: Its groups. Without one there is no part.

    Raises:
        OSError: One cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, parts = schema_of(columns), list[Part]()
    remaining = iter(batches)
    following = next(remaining, None)
    while following is not None:
        path, rows = directory / f"{len(parts):04}.parquet", 0
        with (
            pa.OSFile(str(path), "wb") as file,
            pq.ParquetWriter(
                file, schema, compression="zstd", compression_level=_LEVEL, use_dictionary=False, version="2.6"
            ) as writer,
        ):
            while following is not None and (rows == 0 or file.tell() < PART_BYTES):
                writer.write_batch(following, row_group_size=max(1, following.num_rows))
                rows += following.num_rows
                following = next(remaining, None)
        parts.append(Part(path, rows))
    return parts


class PartReader:
    """A Parquet part in memory, read group by group.

    Args:
        data: The file, from anywhere.
        columns: As the manifest of the table has them.
        rows: As the manifest has it.
        name: Of the file, for errors.

    Attributes:
        group_rows: How many rows each of its groups has.

    Raises:
        FormatError: It is no Parquet file, has other columns or another number of rows, or groups that are larger than
            this package writes them.
    """

    def __init__(self, data: bytes, columns: Sequence[Column], rows: int, *, name: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._name = name
        with self._explained("its footer"):
            self._file = pq.ParquetFile(
                pa.BufferReader(data),
                thrift_string_size_limit=_MAX_THRIFT,
                thrift_container_size_limit=_MAX_THRIFT,
            )
            schema, metadata = self._file.schema_arrow, self._file.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        self._schema = schema_of(columns)
        if not schema.equals(self._schema, check_metadata=False):
            found, wanted = schema.to_string(), self._schema.to_string()
            raise FormatError(f"a part has the columns {found!r:.500}, its table {wanted!r:.500}", path=name)
        self.group_rows = [group.num_rows for group in groups]
        if sum(self.group_rows) != rows:
            raise FormatError(f"a part has {sum(self.group_rows)} rows, its table says {rows}", path=name)
        for group in groups:
            chunks = [group.column(index) for index in range(group.num_columns)]
            if not 0 < group.num_rows <= ROWS_PER_GROUP or not _is_bounded(chunks):
                raise FormatError("a group of rows is larger than this package writes them", path=name)

    def read(self, group: int) -> "pa.RecordBatch":
        """Returns a group of rows.

        Raises:
            FormatError: It is damaged.
        """
        import pyarrow as pa

        with self._explained(f"group {group}"):
            table = self._file.read_row_group(group, use_threads=False).combine_chunks()
            table.validate(full=True)
            if table.num_rows != self.group_rows[group]:
                raise ValueError(f"it has {table.num_rows} rows instead of {self.group_rows[group]}")
            (batch,) = table.to_batches()
            return pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turns whatever goes wrong inside into a ``FormatError``: pyarrow raises many types."""
        try:
            yield
        except Exception as error:
            raise FormatError(f"{what} cannot be read ({error})", path=self._name) from error


def _is_bounded(chunks: Sequence["ColumnChunkMetaData"]) -> bool:
    sizes = [chunk.total_uncompressed_size for chunk in chunks]
    return (
        min(sizes, default=0) >= 0
        and sum(sizes) <= _MAX_GROUP_BYTES
        and all(c.num_values <= _MAX_VALUES and _is_plain(c) for c in chunks)
    )


def _is_plain(chunk: "ColumnChunkMetaData") -> bool:
    """Whether the values take about as many bytes as it says: a dictionary may stand for a thousand times its size."""
    return not chunk.has_dictionary_page and _ENCODINGS.issuperset(chunk.encodings)


def _cast(array: "pa.Array", wanted: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    if array.type == wanted:
        return array
    return pa.nulls(len(array), wanted) if pa.types.is_null(array.type) else array.cast(wanted, safe=False)


def _type_of(kind: ColumnKind | None) -> "pa.DataType":
    import pyarrow as pa

    file = pa.struct({"sha256": pa.string(), "ext": pa.string(), "size_bytes": pa.int64()})
    size = {"height": pa.int32(), "width": pa.int32()}
    match kind:
        case None:
            return pa.null()
        case "integer" | "reference":
            return pa.int64()
        case "number":
            return pa.float64()
        case "string":
            return pa.string()
        case "boolean":
            return pa.bool_()
        case "timestamp":
            return pa.timestamp("us", "UTC")
        case "array":
            return pa.struct({"dtype": pa.string(), "shape": pa.list_(pa.int64()), "data": pa.binary()})
        case "audio":
            return pa.struct({"file": file, "sample_rate": pa.int64(), "shape": pa.list_(pa.int64())})
        case "masks":
            labels = pa.list_(pa.struct({"value": pa.int32(), "name": pa.string()}))
            return pa.struct({"file": file, **size, "labels": labels})
        case "boxes":
            return pa.struct(
                {
                    "xyxy": pa.list_(pa.float64()),
                    "labels": pa.list_(pa.string()),
                    "label_numbers": pa.list_(pa.int64()),
                    "scores": pa.list_(pa.float64()),
                    "ids": pa.list_(pa.string()),
                    "id_numbers": pa.list_(pa.int64()),
                }
            )
        case "image":
            more = {"caption": pa.string(), "boxes": _type_of("boxes"), "masks": _type_of("masks")}
            return pa.struct({"file": file, **size, **more})
