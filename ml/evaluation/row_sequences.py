"""The rows of a table, and their numbers, as sequences."""

import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from ml.evaluation.references import Origin, RowIndex

if TYPE_CHECKING:
    from ml.evaluation.rows import ReadableTable, Row


class Rows(Sequence["Row"]):
    """The rows of a table as a sequence; each is read when it is asked for."""

    def __init__(self, table: "ReadableTable") -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> "Row": ...

    @overload
    def __getitem__(self, index: slice) -> "list[Row]": ...

    def __getitem__(self, index: int | slice) -> "Row | list[Row]":
        if isinstance(index, slice):
            return [self._table.row_at(row) for row in range(*index.indices(len(self)))]
        return self._table.row_at(_position(index, len(self)))

    def __iter__(self) -> "Iterator[Row]":
        return (row for _, row in self._table.iterrows())


class RowIndexes(Sequence[RowIndex]):
    """The numbers of the rows of a table, from 0 on."""

    def __init__(self, rows: int, origin: Origin) -> None:
        self._rows, self._origin = rows, origin

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, index: int) -> RowIndex: ...

    @overload
    def __getitem__(self, index: slice) -> list[RowIndex]: ...

    def __getitem__(self, index: int | slice) -> RowIndex | list[RowIndex]:
        if isinstance(index, slice):
            return [RowIndex(row, self._origin) for row in range(*index.indices(self._rows))]
        return RowIndex(_position(index, self._rows), self._origin)


def _position(index: int, count: int) -> int:
    position = operator.index(index)
    if not -count <= position < count:
        raise IndexError(f"There are {count} rows, and none has the number {position}.")
    return position % count
