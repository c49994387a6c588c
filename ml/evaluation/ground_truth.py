"""The ground truth as an evaluation sees it: all of its rows can be read, and some of them are to be looked at."""

from collections.abc import Sequence
from typing import overload

from ml.core.errors import LogValueError, WriteError
from ml.evaluation.blobs import BlobRef, Blobs, BlobSource
from ml.evaluation.columns import Column
from ml.evaluation.references import Origin, RowIndex
from ml.evaluation.row_sequences import RowIndexes
from ml.evaluation.rows import Group, ReadableTable
from ml.evaluation.sampling import choose

_GONE = (FileNotFoundError, LogValueError)  # the latter: a link is in the place of a directory


class GroundTruth(ReadableTable):
    """A table, of whose rows ``get_index`` gives a choice that is always the same.

    Args:
        table: The rows.
        max_samples: How many of them are looked at; ``None``: all.

    Attributes:
        table: The rows.
    """

    def __init__(self, table: ReadableTable, max_samples: int | None = None) -> None:
        super().__init__(table.name, table.origin)
        self.table = table
        self._chosen = choose(len(table), max_samples)
        files = table.files
        self._files = _There(files.store) if isinstance(files, Blobs) else files

    def __repr__(self) -> str:
        return f"GroundTruth({self.table!r}, {len(self._chosen)} rows looked at)"

    def __len__(self) -> int:
        return len(self.table)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.table.columns

    @property
    def files(self) -> BlobSource:
        return self._files

    def origin_of(self, index: int) -> Origin:
        return self.table.origin_of(index)

    def group_of(self, row: int) -> Group:
        try:
            return self.table.group_of(row)
        except _GONE as error:  # what a user's code cannot find is another matter
            raise WriteError(f"Rows of {self.table!r} are gone: {error}.") from error

    def get_index(self) -> RowIndexes:
        """Returns the numbers of the rows to look at, ascending: each a position in ``data`` that knows the table."""
        return ChosenRows(self._chosen, self.origin)


class _GoneError(WriteError, FileNotFoundError):
    """A file that was there is not any more: for those who look elsewhere, and for those who take what they get."""


class _There(Blobs):
    """The files of a store, all of which were there."""

    def get(self, ref: BlobRef) -> bytes:
        try:
            return super().get(ref)
        except _GONE as error:
            raise _GoneError(str(error)) from error


class ChosenRows(RowIndexes):
    """The numbers of some rows of a table."""

    def __init__(self, rows: Sequence[int], origin: Origin) -> None:
        super().__init__(len(rows), origin)
        self._numbers, self._of = rows, origin

    @overload
    def __getitem__(self, index: int) -> RowIndex: ...

    @overload
    def __getitem__(self, index: slice) -> list[RowIndex]: ...

    def __getitem__(self, index: int | slice) -> RowIndex | list[RowIndex]:
        if isinstance(index, slice):
            return [RowIndex(number, self._of) for number in self._numbers[index]]
        return RowIndex(self._numbers[index], self._of)
