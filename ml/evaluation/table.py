"""A table that grows row by row: what a model was given, and what it made of it.

::

    with Table(["image", "label", Column("score", "number")], name="eval") as table:
        table.add_data(Image(pixels), "cat", 0.9)
        artifacts.publish("val", {"eval": table}, type="evaluation")

**How a table is published** (``ml.evaluation.artifacts`` does)::

    finished = table.finish()            # a Finished: columns, rows, parts, media
    for file in finished.media:          # each MediaFile(ref, source), in order; one may come twice
        blobs.keep(file)                 # does nothing if it was read from the same store
    for part in finished.parts:          # each Part(path, rows), files that live as long as the table is open
        blobs.put_file(part.path, "parquet")
    table.published(TableRef("val", 3, "eval"))    # from now on the numbers of its rows can be resolved

and read again: ``StoredTable(columns, [StoredPart(ref, rows), ...], blobs, table_ref=..., resolve=...)``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Final

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.evaluation.blobs import BlobRef, Blobs, MediaFile
from ml.evaluation.columns import Column, ColumnName, checked
from ml.evaluation.fitting import Fit
from ml.evaluation.packing import MAX_ROW_BYTES, Packed, size_of
from ml.evaluation.parquet import Part, require_pyarrow, write_parts
from ml.evaluation.references import Origin, RowIndex, TableRef
from ml.evaluation.row_store import RowStore
from ml.evaluation.rows import Group, ReadableTable
from ml.evaluation.spill import Spill
from ml.evaluation.table_files import TableFiles, TableMedia

_NOTHING: Final = object()


@dataclass(frozen=True)
class Finished:
    """A table as it was when ``Table.finish`` was called, ready to be kept.

    Attributes:
        columns: Its columns.
        rows: How many rows it has.
        parts: Parquet files with them, in order; none without rows. They live as long as the table is open.
        media: The files that it names, in order, each with where it lies now; one may come twice. May be iterated more
            than once.
    """

    columns: tuple[Column, ...]
    rows: int
    parts: tuple[Part, ...]
    media: Iterable[MediaFile]


class Table(ReadableTable):
    """A table that rows and columns are added to, held in bounded memory whatever its size.

    Rows are held until there are 8,192 of them, or 8 MiB; they then go to a temporary file, as media files do. Nothing
    is ever left out: what fits no column is refused, with everything else of its row.

    Args:
        columns: Names, or columns with a kind. The kind of the others follows from their first value.
        name: Of the table, for errors and joins.
        directory: Where the temporary files go, in a directory of their own; ``None``: where the system wants them.

    Raises:
        ConfigError: Two columns have one name, or one is none.
    """

    def __init__(
        self, columns: Sequence[ColumnName | Column], *, name: str = "table", directory: Path | None = None
    ) -> None:
        super().__init__(name, Origin())
        self._fits = [Fit(column) for column in checked(columns)]
        self._spill = Spill(directory)
        self._stores: dict[str, Blobs] = {}
        self._store = RowStore(len(self._fits), self._spill)
        self._finished: Finished | None = None

    def __enter__(self) -> "Table":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self)} rows, {list(self.column_names)})"

    def __len__(self) -> int:
        return len(self._store)

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(fit.column for fit in self._fits)

    @property
    def files(self) -> TableFiles:
        return TableFiles(self._spill, self._stores)

    def origin_of(self, index: int) -> Origin:
        return self._fits[index].origin

    def group_of(self, row: int) -> Group:
        self._spill.check_open()
        return self._store.group_of(row, self.columns)

    def add_data(self, *values: object) -> RowIndex:
        """Adds a row.

        Args:
            values: One for each column, in order; ``None`` where there is none.

        Returns:
            Its number.

        Raises:
            LogValueError: There are more or fewer values than columns, or one fits no column. Nothing was added.
            ClosedError: The table is closed.
            WriteError: The disk is full. Nothing was added.
        """
        if not self._fits:
            raise LogValueError(
                "a table without columns has no column for a value", "Name its columns.", path=self.name
            )
        if len(values) != len(self._fits):
            problem = f"a row has {len(self._fits)} values, one for each column, got {len(values)}"
            raise LogValueError(problem, f"The columns are {list(self.column_names)}.", path=self.name)
        self._spill.check_open()
        row = len(self)
        packed = list[Packed]()
        try:
            for value, fit in zip(values, self._fits, strict=True):
                packed.append(fit.fitted(value))
        except LogValueError as error:
            raise self._located(error, self._fits[len(packed)], row) from error
        cells = [cell.cell for cell in packed]
        size_bytes = self._size_of(cells, row)
        if self._store.is_full:
            self._store.make_room(self.columns)
        for cell in packed:
            self._keep(cell.files)
        for index, cell in enumerate(packed):
            if self._fits[index].take(cell):
                self._store.widen(index)
                self.forget()
        self._store.append(cells, size_bytes)
        self._finished = None
        return RowIndex(row, self.origin)

    def add_row(self, values: Mapping[ColumnName, object]) -> RowIndex:
        """Adds a row by the names of its columns; those that are not named have ``None``.

        Raises:
            LogValueError: There is no such column, or ``add_data`` refuses the row.
            ClosedError, WriteError: As ``add_data`` says.
        """
        names = self.column_names
        unknown = [name for name in values if name not in names]
        if unknown:
            raise LogValueError(f"there is no column {unknown[0]!r}", f"The columns are {list(names)}.", path=self.name)
        return self.add_data(*(values.get(name) for name in names))

    def add_column(self, name: ColumnName | Column, values: Iterable[object]) -> None:
        """Adds a column, behind the others; a table without columns has as many rows as it then has values.

        Args:
            name: Its name, or the column with a kind.
            values: One for each row.

        Raises:
            ConfigError: There is such a column.
            LogValueError: There are more or fewer values than rows, or one does not fit. Nothing was added.
            ClosedError, WriteError: As ``add_data`` says.
        """
        self._spill.check_open()
        column = checked([*self.columns, name])[-1]
        fit, added = Fit(column), RowStore(len(self._fits) + 1, self._spill)
        rows = self._store.all_cells(self.columns) if self._fits else repeat(())
        remaining = iter(values)
        for number, (cells, value) in enumerate(zip(rows, remaining, strict=False)):
            try:
                packed = fit.fitted(value)
            except LogValueError as error:
                raise self._located(error, fit, number) from error
            size_bytes = self._size_of((*cells, packed.cell), number)
            if added.is_full:
                added.make_room((*self.columns, fit.column))
            self._keep(packed.files)
            if fit.take(packed):
                added.widen(len(self._fits))
            added.append((*cells, packed.cell), size_bytes)
        if self._fits and (len(added) < len(self) or next(remaining, _NOTHING) is not _NOTHING):
            problem = (
                f"the table has {len(self)} rows, and there are {'fewer' if len(added) < len(self) else 'more'} values"
            )
            raise LogValueError(problem, "Pass one a row.", path=f"{self.name}/{column.name}")
        self._fits.append(fit)
        self._store, self._finished = added, None
        self.forget()

    def finish(self) -> Finished:
        """Writes the rows that there are as Parquet parts; more may be added afterwards.

        Raises:
            ConfigError: pyarrow is not installed, or a column references a table that is not published.
            ClosedError: The table is closed.
            WriteError: The disk is full.
        """
        self._spill.check_open()
        require_pyarrow()
        columns = self.columns
        for fit in self._fits:
            if fit.column.kind == "reference" and not fit.column.references:
                raise ConfigError(
                    f"Column {fit.column.name!r} of {self.name!r} names rows of a table that is not published. "
                    "Publish that one first."
                )
        if self._finished is None or self._finished.columns != columns:
            directory = self._spill.new_directory()
            try:
                parts = write_parts(directory, columns, self.batches())
            except OSError as error:
                raise WriteError(f"The parts of {self.name!r} cannot be written in {directory}: {error}.") from error
            self._finished = Finished(columns, len(self), tuple(parts), TableMedia(self, self.files))
        return self._finished

    def published(self, table_ref: TableRef) -> None:
        """Notes where the table was published, so that the numbers of its rows can be resolved.

        Args:
            table_ref: The version, and the table's name in it. A later one takes the place of an earlier one.
        """
        self.origin.table_ref = table_ref

    def close(self) -> None:
        """Removes the temporary files; what was not published is gone. May be called again."""
        self._spill.close()
        self.forget()

    def file_of(self, ref: BlobRef) -> MediaFile:
        """Returns where a media file of the table lies."""
        return self.files.file(ref)

    def _size_of(self, cells: Sequence[object], row: int) -> int:
        size_bytes = sum(map(size_of, cells))
        if size_bytes > MAX_ROW_BYTES:
            problem = f"row {row} takes {size_bytes / 2**20:.0f} MiB, and {MAX_ROW_BYTES // 2**20} MiB are the most"
            raise LogValueError(problem, "Keep parts of its arrays.", path=self.name)
        return size_bytes

    def _located(self, error: LogValueError, fit: Fit, row: int) -> LogValueError:
        return LogValueError(f"row {row}: {error.problem}", error.fix, path=f"{self.name}/{fit.column.name}")

    def _keep(self, files: Iterable[MediaFile]) -> None:
        for file in files:
            found = file.source.file(file.ref) if isinstance(file.source, TableFiles) else file
            if isinstance(found.source, Blobs):
                self._stores.setdefault(found.source.url, found.source)
            else:
                self._spill.keep(found)
