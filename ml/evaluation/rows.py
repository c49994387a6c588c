"""Rows of a table, read when they are asked for: one group of rows at a time is in memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, SupportsIndex, TypeAlias, overload

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.blobs import BlobSource
from ml.evaluation.columns import Column, ColumnKind, ColumnName
from ml.evaluation.parquet import as_table, cell_of, cells_of, require_pyarrow, to_batch
from ml.evaluation.references import Origin, RowIndex
from ml.evaluation.row_sequences import RowIndexes, Rows
from ml.evaluation.unpacking import unpack

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ml.evaluation.table import Table

How: TypeAlias = Literal["inner", "left"]

_RECENT_GROUPS: Final = 2  # that stay in memory
_PART_ASKED: Final = 16  # whoever has asked for one in so many rows of a group asks for the others soon


class Row(tuple[object, ...]):
    """The values of a row: ``row[0]`` by position, ``row["label"]`` by the name of the column.

    A number is a position, also where columns have numbers for names.
    """

    _positions: Mapping[ColumnName, int]

    def __new__(cls, values: Sequence[object], positions: Mapping[ColumnName, int]) -> "Row":
        made = super().__new__(cls, values)
        made._positions = positions
        return made

    @overload
    def __getitem__(self, key: SupportsIndex | str) -> object: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[object, ...]: ...

    def __getitem__(self, key: SupportsIndex | str | slice) -> object:
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in self._positions:
            raise KeyError(f"There is no column {key!r}. There are {', '.join(map(repr, self._positions))}.")
        return super().__getitem__(self._positions[key])

    def as_dict(self) -> dict[ColumnName, object]:
        """Returns the values by the names of their columns."""
        return dict(zip(self._positions, self, strict=True))


class Group(NamedTuple):
    """Some rows in a row.

    Attributes:
        start: The number of the first.
        rows: How many.
        batch: Their cells as Arrow has them; ``None``: they are still being added.
        cells: Their cells by column, where they are still being added.
    """

    start: int
    rows: int
    batch: "pa.RecordBatch | None" = None
    cells: Sequence[Sequence[object]] = ()

    def column(self, index: int) -> Sequence[object]:
        """Returns the cells of a column."""
        return self.cells[index] if self.batch is None else cells_of(self.batch, index)

    def cell(self, index: int, offset: int) -> object:
        """Returns a cell of a column."""
        return self.cells[index][offset] if self.batch is None else cell_of(self.batch, index, offset)


class ReadableTable(ABC):
    """What can be read of a table, be it published or not.

    Args:
        name: Of the table, for errors and joins.
        origin: What the numbers of its rows know of it.
    """

    def __init__(self, name: str, origin: Origin) -> None:
        self.name = name
        self.origin = origin
        self._recent: list[_Decoded] = []
        self._last: tuple[int, Row] | None = None

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """Its columns, in order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def group_of(self, row: int) -> Group:
        """Returns the rows that are read together with one.

        Raises:
            ClosedError, FileNotFoundError, FormatError, WriteError: They cannot be read.
        """

    @property
    @abstractmethod
    def files(self) -> BlobSource:
        """Where its media files lie."""

    @abstractmethod
    def origin_of(self, index: int) -> Origin:
        """Returns the table whose rows a column of references names."""

    @property
    def column_names(self) -> tuple[ColumnName, ...]:
        """The names of its columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def data(self) -> "Rows":
        """Its rows, as a sequence: ``table.data[3]["label"]``, ``table.data[3][1]``."""
        return Rows(self)

    def get_index(self) -> "RowIndexes":
        """Returns the numbers of its rows, each of which knows the table."""
        return RowIndexes(len(self), self.origin)

    def get_column(self, name: ColumnName) -> list[object]:
        """Returns the values of a column.

        Raises:
            ConfigError: There is no such column.
        """
        index = self.position_of(name)
        return [value for read in self._read() for value in self._values(read, index)]

    def position_of(self, name: ColumnName) -> int:
        """Returns where a column stands, from 0 on.

        Raises:
            ConfigError: There is no such column.
        """
        names = self.column_names
        if name not in names:
            known = ", ".join(map(repr, names))
            raise ConfigError(f"The table {self.name!r} has no column {name!r}. It has {known or 'none'}.")
        return names.index(name)

    def groups(self) -> Iterator[Group]:
        """Yields its rows in groups, in order."""
        row = 0
        while row < len(self):
            group = self.group_of(row)
            yield group
            row = group.start + group.rows

    def iterrows(self) -> Iterator[tuple[RowIndex, Row]]:
        """Yields its rows in order, each with its number."""
        positions = self._positions()
        for read in self._read():
            columns = [self._values(read, index) for index in range(len(positions))]
            for row, values in enumerate(zip(*columns, strict=True), read.group.start):
                yield RowIndex(row, self.origin), Row(values, positions)

    def iter_batches(self) -> Iterator[dict[ColumnName, Sequence[object]]]:
        """Yields its rows in groups, as columns of values by their names."""
        for read in self._read():
            yield {name: list(self._values(read, index)) for index, name in enumerate(self.column_names)}

    def to_arrow(self) -> "pa.Table":
        """Returns all rows as one ``pyarrow.Table``, in memory; ``ml.evaluation.packing`` says how each kind is kept.

        Raises:
            ConfigError: pyarrow is not installed.
        """
        require_pyarrow()
        return as_table(self.columns, self.batches())

    def batches(self) -> Iterator["pa.RecordBatch"]:
        """Yields its rows in groups, as Arrow has them."""
        for group in self.groups():
            yield to_batch(self.columns, group.cells) if group.batch is None else group.batch

    def to_pandas(self) -> "pd.DataFrame":
        """Returns all rows as a ``pandas.DataFrame``, in memory.

        Integers and booleans with missing values have the nullable dtypes, so that no integer is changed. In columns of
        numbers a missing value is NaN. Media and arrays are objects, the same as everywhere here. A reference is
        the number of its row, which the frame of the other table has as its index.

        Raises:
            ConfigError: pandas or pyarrow is not installed.
        """
        from ml.evaluation.frames import frame_of

        return frame_of(self)

    def join(
        self, other: "ReadableTable", on: ColumnName | tuple[ColumnName, ColumnName], how: How = "inner"
    ) -> "Table":
        """Returns a new table of the rows of this one, each with what belongs to it in another one.

        See ``ml.evaluation.joining.join``.
        """
        from ml.evaluation.joining import join

        return join(self, other, on, how)

    def row_at(self, row: int) -> Row:
        """Returns a row by its number, from 0 on."""
        if self._last is not None and self._last[0] == row:  # whoever asks for a value soon asks for its neighbour
            return self._last[1]
        read = self._read_at(row)
        self._read_ahead(read)
        offset, values, kinds = row - read.group.start, list[object](), [column.kind for column in self.columns]
        for index, decoded in enumerate(read.values):
            if decoded is None:
                values += self._unpacked(kinds[index], index, [read.group.cell(index, offset)])
            else:
                values.append(decoded[offset])
        self._last = row, Row(values, read.positions)
        return self._last[1]

    def forget(self) -> None:
        """Makes it read anew what it has read: columns have changed."""
        self._recent.clear()
        self._last = None

    def _positions(self) -> dict[ColumnName, int]:
        return {name: index for index, name in enumerate(self.column_names)}

    def _read(self) -> Iterator["_Decoded"]:
        row = 0
        while row < len(self):
            read = self._read_at(row)
            yield read
            row = read.group.start + read.group.rows

    def _read_at(self, row: int) -> "_Decoded":
        """Returns the group that a row lies in; few stay in memory, and none that grows."""
        for recent in self._recent:
            if recent.group.start <= row < recent.group.start + recent.group.rows:
                return recent
        group = self.group_of(row)
        read = _Decoded(group, self._positions(), [None] * len(self.columns), [0])
        if group.batch is not None:
            self._recent = [read, *self._recent][:_RECENT_GROUPS]
        return read

    def _read_ahead(self, read: "_Decoded") -> None:
        """Counts a row that is asked for; once there are many of its group, the values of all are made, and stay."""
        if read.group.batch is None:  # it grows
            return
        read.asked[0] += 1
        if read.asked[0] == 2 + read.group.rows // _PART_ASKED:
            for index in range(len(read.values)):
                with suppress(FormatError):  # whoever asks for the damaged row is told
                    self._values(read, index)

    def _values(self, read: "_Decoded", index: int) -> list[object]:
        values = read.values[index]
        if values is None:
            values = read.values[index] = self._unpacked(self.columns[index].kind, index, read.group.column(index))
        return values

    def _unpacked(self, kind: ColumnKind | None, index: int, cells: Sequence[object]) -> list[object]:
        return unpack(kind, cells, self.files, self.origin_of(index))


class _Decoded(NamedTuple):
    """A group of rows, the values of its columns as far as they were asked for, and how often one row was."""

    group: Group
    positions: Mapping[ColumnName, int]
    values: list[list[object] | None]
    asked: list[int]
