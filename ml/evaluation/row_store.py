"""The rows of a table that is not published: whole groups in temporary files, the rest in memory."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import WriteError
from ml.evaluation.columns import Column
from ml.evaluation.parquet import (
    GROUP_BYTES,
    ROWS_PER_GROUP,
    cells_of,
    read_group,
    require_pyarrow,
    to_batch,
    write_group,
)
from ml.evaluation.rows import Group
from ml.evaluation.spill import Spill


class _Spilled(NamedTuple):
    """A group of rows in a file."""

    start: int
    rows: int
    path: Path


class RowStore:
    """Rows of cells, appended one by one.

    Args:
        width: How many cells a row has.
        spill: Where the files go.
    """

    def __init__(self, width: int, spill: Spill) -> None:
        self._spill = spill
        self._directory: Path | None = None
        self._groups: list[_Spilled] = []
        self._cells: list[list[object]] = [[] for _ in range(width)]
        self._start = 0  # of the rows in memory
        self._rows = 0  # in memory
        self._size_bytes = 0

    def __len__(self) -> int:
        return self._start + self._rows

    @property
    def is_full(self) -> bool:
        """Whether the rows in memory are a whole group, and have to make room before the next one comes."""
        return self._rows >= ROWS_PER_GROUP or self._size_bytes >= GROUP_BYTES

    def make_room(self, columns: Sequence[Column]) -> None:
        """Moves the rows in memory to a file, as a group.

        Args:
            columns: Of the table, before the row that comes.

        Raises:
            ConfigError: pyarrow is not installed.
            WriteError: They cannot be written. They are still in memory.
        """
        require_pyarrow()
        if self._directory is None:
            self._directory = self._spill.new_directory()
        path = self._directory / f"{len(self._groups):06}.arrow"
        try:
            write_group(path, to_batch(columns, self._cells))
        except OSError as error:
            raise WriteError(f"Rows of a table cannot be kept in {path}: {error}.") from error
        self._groups.append(_Spilled(self._start, self._rows, path))
        self._start += self._rows
        self._rows = self._size_bytes = 0
        self._cells = [[] for _ in self._cells]

    def append(self, cells: Sequence[object], size_bytes: int) -> None:
        """Appends a row; there is room for it.

        Args:
            cells: One for each column.
            size_bytes: Of them together, as ``ml.evaluation.packing.size_of`` reckons.
        """
        for column, cell in zip(self._cells, cells, strict=True):
            column.append(cell)
        self._rows += 1
        self._size_bytes += size_bytes

    def widen(self, index: int) -> None:
        """Makes the integers of a column floats; those in files become it when they are read."""
        self._cells[index] = [cell if cell is None else float(cell) for cell in self._cells[index]]  # type: ignore[arg-type]

    def group_of(self, row: int, columns: Sequence[Column]) -> Group:
        """Returns the group that a row lies in.

        Raises:
            WriteError: It cannot be read.
        """
        if row >= self._start:
            return Group(self._start, self._rows, cells=self._cells)
        found = self._groups[bisect_right(self._groups, row, key=lambda group: group.start) - 1]
        try:
            return Group(found.start, found.rows, read_group(found.path, columns))
        except OSError as error:
            raise WriteError(f"Rows of a table cannot be read from {found.path}: {error}.") from error

    def all_cells(self, columns: Sequence[Column]) -> Iterator[tuple[object, ...]]:
        """Yields every row."""
        row = 0
        while row < len(self):
            group = self.group_of(row, columns)
            lists = group.cells if group.batch is None else [cells_of(group.batch, i) for i in range(len(columns))]
            yield from zip(*lists, strict=True)
            row = group.start + group.rows
