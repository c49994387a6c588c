"""Tables of published versions, read part by part as their rows are asked for."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.blobs import BlobRef, Blobs, BlobSource
from ml.evaluation.columns import Column, checked
from ml.evaluation.parquet import PartReader, require_pyarrow
from ml.evaluation.references import Origin, Reference, RowIndex, TableRef
from ml.evaluation.rows import Group, ReadableTable, Row


class StoredPart(NamedTuple):
    """A Parquet part of a published table.

    Attributes:
        ref: Of the file.
        rows: How many rows it has.
    """

    ref: BlobRef
    rows: int


class StoredTable(ReadableTable):
    """A table that was published: it never changes. One part and a few groups of rows are in memory.

    Args:
        columns: As the manifest has them.
        parts: In order.
        blobs: The store that they lie in.
        table_ref: Of which version it is, and its name there.
        resolve: Returns the table that a text such as ``"val:v3/val_data"`` names, as references do; ``None``: none is
            found but this one.

    Raises:
        ConfigError: pyarrow is not installed.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        parts: Sequence[StoredPart],
        blobs: Blobs,
        *,
        table_ref: TableRef,
        resolve: "Callable[[str], StoredTable] | None" = None,
    ) -> None:
        require_pyarrow()
        super().__init__(table_ref.table, Origin(table_ref))
        self.table_ref = table_ref
        self._columns = checked(columns)
        self._origins = [Origin(TableRef.parse(c.references)) if c.references else Origin() for c in self._columns]
        self._parts = list(parts)
        self._starts = [0]
        for part in self._parts:
            self._starts.append(self._starts[-1] + part.rows)
        self._blobs, self._resolve = blobs, resolve
        self._open: tuple[int, PartReader] | None = None
        self._followed: dict[str, StoredTable] = {}

    def __repr__(self) -> str:
        return f"StoredTable({str(self.table_ref)!r}, {len(self)} rows, {list(self.column_names)})"

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @property
    def files(self) -> BlobSource:
        return self._blobs

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        """The files that it consists of, in order."""
        return tuple(self._parts)

    def origin_of(self, index: int) -> Origin:
        return self._origins[index]

    def group_of(self, row: int) -> Group:
        number = bisect_right(self._starts, row) - 1
        reader, start = self._part(number), self._starts[number]
        for group, rows in enumerate(reader.group_rows):
            if row < start + rows:
                return Group(start, rows, reader.read(group))
            start += rows
        raise FormatError(f"row {row} is not in the groups of its part", path=self._parts[number].ref.key)

    def row(self, reference: Reference | RowIndex) -> Row:
        """Returns the row that a reference names, of this table or of another version of the same store.

        Raises:
            ConfigError: The table of the reference is not published, or there is no such table.
            IndexError: It has no such row.
            FileNotFoundError, FormatError, WriteError: It cannot be read.
        """
        found = reference.reference if isinstance(reference, RowIndex) else reference
        if found is None:
            raise ConfigError(f"Row {reference} is of a table that is not published. Publish it first.")
        return self._table(found.table_ref).data[found.row]

    def table_of(self, name: str | int) -> "StoredTable":
        """Returns the table whose rows a column of references names.

        Raises:
            ConfigError: There is no such column, it is no reference, or its table is not there.
        """
        references = self._columns[self.position_of(name)].references
        if not references:
            raise ConfigError(f"Column {name!r} of {self.table_ref} references no table.")
        return self._table(TableRef.parse(references))

    def _table(self, table_ref: TableRef) -> "StoredTable":
        if table_ref == self.table_ref:
            return self
        name = str(table_ref)
        if name not in self._followed:
            if self._resolve is None:
                raise ConfigError(f"{name} cannot be found from {self.table_ref} alone. Read it from its store.")
            self._followed[name] = self._resolve(name)
        return self._followed[name]

    def _part(self, number: int) -> PartReader:
        if self._open is None or self._open[0] != number:
            self._open = None  # two would be in memory
            part = self._parts[number]
            self._open = number, PartReader(self._blobs.get(part.ref), self._columns, part.rows, name=part.ref.key)
        return self._open[1]
