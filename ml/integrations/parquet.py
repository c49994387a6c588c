"""Keeps scalars as Parquet files, each of which is whole from the moment that it can be seen.

::

    parquet/part-0001-0001.parquet    attempt 1, its first 65,536 rows
    parquet/part-0001-0002.parquet    ... what followed until it was closed
    parquet/_rows-0002-0001.csv       attempt 2, which is running: rows that become part-0002-0001.parquet

``pandas.read_parquet("parquet")`` reads all parts, with the columns of ``ml.open_run(run).scalars()``: phase, step,
epoch, key, value (float64), time (microseconds, UTC) and attempt, in the order in which they were logged. It has every
value that was written, also what a later attempt went over again, and every value of a key that has several at a step.

A Parquet file has its index at its end, so what a killed process left open would be lost. So rows are first appended
to a file of rows, as the backend ``csv`` writes it, whose name (readers of Parquet pass over a leading underscore) is
that of the part that it becomes: when that part is there, on the disk, the file of rows is removed. Whenever the
process dies, a row is in the one or in the other, and where it is in both the part counts. What an attempt that was
killed has left becomes a part when the next attempt writes, or closes; until then ``waiting_rows``, like any reader of
CSV, reads it.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ml.core.errors import ConfigError, FormatError, WriteError, missing
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.atomic import write_atomically
from ml.io.durable import DurableFile
from ml.io.fileops import OPS
from ml.io.liveness import is_alive
from ml.io.runrecord import read_record
from ml.io.segments import segments, whole_lines
from ml.io.torn import set_torn_tail_aside
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.csv_rows import HEADER, Row, encoded, encoded_rows, key_of, open_rows
from ml.loggers.history import Logged
from ml.loggers.strict_json import real
from ml.loggers.values import series_path

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PART_BYTES = 64 * 2**20
"""Bytes of a file of rows, beyond which it becomes a part however few rows it has: what a part takes of memory."""

_PRIVATE = 0o600
_ROWS = re.compile(r"_rows-([0-9]{4,9})-([0-9]{4,9})\.csv")
_PART = re.compile(r"part-([0-9]{4,9})-([0-9]{4,9})\.parquet")

_log = logging.getLogger("ml")


@dataclass
class ParquetLoggerConfig(BaseLoggerConfig):
    """The Parquet backend.

    Attributes:
        rows_per_part: Values after which a part is made; what one write hands over is never divided.
    """

    rows_per_part: int = 2**16


class _Part(NamedTuple):
    """The number of a part, which is that of its file of rows."""

    attempt: int
    number: int

    def path(self, folder: Path) -> Path:
        return folder / f"part-{self.attempt:04d}-{self.number:04d}.parquet"

    def rows(self, folder: Path) -> Path:
        return folder / f"_rows-{self.attempt:04d}-{self.number:04d}.csv"


@register_logger("parquet", ParquetLoggerConfig)
class ParquetLogger(BaseLogger[ParquetLoggerConfig]):
    """Keeps scalars in ``parquet/part-<attempt>-<number>.parquet``."""

    gathers = True

    def __init__(self, config: ParquetLoggerConfig) -> None:
        super().__init__(config)
        if config.rows_per_part < 1:
            raise ConfigError(f"rows_per_part of '{self.id}' must be 1 or more, got {config.rows_per_part!r}.")

    def initialize(self, context: RunContext) -> None:
        require_pyarrow()
        encoded_table(table_of([]))  # loads what pyarrow loads late, which fails when the interpreter ends
        super().initialize(context)
        self._rows: list[Row] = []
        self._file: DurableFile | None = None
        self._part = _Part(context.attempt, 0)  # the last that was begun
        self._num_rows = 0  # of that
        self._complete: list[_Part] | None = None  # whose files of rows become parts; not looked for yet

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        self._rows.append((state, series_path(namespace, key), real(value())))

    def write(self, state: State) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        if self._file is None:
            self._begin_part()
        assert self._file is not None
        self._file.append(encoded_rows(rows, self.context.attempt))
        self._num_rows += len(rows)
        is_full = self._num_rows >= self.config.rows_per_part or self._file.size_bytes >= MAX_PART_BYTES
        if is_full or self._complete is None:
            # The rows are written. What fails from here on is no failure of this write, and is tried again.
            try:
                if is_full:
                    self._end_rows()
                self._make_parts()
            except (OSError, WriteError) as error:
                _log.warning("Rows of %s wait to become a Parquet file: %s", self.log_directory, error)

    def flush(self) -> None:
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        try:
            self._end_rows()
        finally:
            try:
                if self._file is not None:  # it could not be synced, and says so again
                    self._file.close()
            finally:
                self._make_parts()

    def _begin_part(self) -> None:
        part = _Part(self.context.attempt, 1 + max(self._numbers_taken(), default=0))
        self._file = DurableFile(open_rows(part.rows(self.log_directory)))
        self._part, self._num_rows = part, 0

    def _numbers_taken(self) -> Iterator[int]:
        """Yields the numbers of this attempt's parts and files of rows: nothing is written over."""
        yield self._part.number
        for path in self.log_directory.iterdir() if self.log_directory.is_dir() else ():
            found = _ROWS.fullmatch(path.name) or _PART.fullmatch(path.name)
            if found and int(found[1]) == self.context.attempt:
                yield int(found[2])

    def _end_rows(self) -> None:
        """Closes the file of rows, which is complete then, and on the disk."""
        file, part = self._file, self._part
        if file is None:
            return
        file.sync()  # if this fails the file goes on, and so does whoever tries again
        complete = self._waiting()
        file.close()
        self._file = None
        if part.path(self.log_directory).exists():  # another attempt, elsewhere, took this one for dead
            self._part = part = _renumbered(self.log_directory, part, 1 + max(self._numbers_taken()))
        complete.append(part)

    def _make_parts(self) -> None:
        """Makes a part of every file of rows that is complete; one that fails waits, and so do those behind it."""
        complete = self._waiting()
        while complete:
            try:
                make_part(self.log_directory, complete[0])
            except FormatError as error:
                _log.warning("Rows become no Parquet file, and stay as they are: %s", error)
            del complete[0]

    def _waiting(self) -> list[_Part]:
        """Returns whose files of rows are complete: at first those that earlier attempts have left."""
        if self._complete is None:
            left = _files_of_rows(self.log_directory)
            self._complete = [part for part in left if part != self._part and not self._is_written(part)]
        return self._complete

    def _is_written(self, part: _Part) -> bool:
        """Whether the process of another attempt may still append to a file of rows."""
        run = self.context.directory
        return part.attempt != self.context.attempt and bool(is_alive(read_record(run, part.attempt)))


def waiting_rows(folder: Path) -> "pa.Table":
    """Returns the rows that are in no part yet, of a run that is running or was killed; the columns of a part.

    Args:
        folder: The backend's.

    Raises:
        OSError, FormatError: They cannot be read.
    """
    import pyarrow as pa

    waiting = [part for part in _files_of_rows(folder) if not part.path(folder).exists()]
    return pa.concat_tables([schema().empty_table(), *(_table_of_file(part.rows(folder)) for part in waiting)])


def make_part(folder: Path, part: _Part) -> None:
    """Makes a part of its file of rows, and removes that; again does what is left to do.

    Args:
        folder: The backend's.
        part: Whose file of rows is complete.

    Raises:
        OSError, WriteError: Every row is still there; it can be tried again.
        FormatError: The file of rows is damaged; it stays where it is.
    """
    rows, path = part.rows(folder), part.path(folder)
    if not path.exists():
        for segment in segments(rows)[-1:]:
            set_torn_tail_aside(segment.path)
        table = _table_of_file(rows)
        if table.num_rows:
            write_atomically(path, encoded_table(table), mode=_PRIVATE)
    else:
        OPS.sync_directory(folder)  # whoever made it may have died before its name was on the disk
    for segment in reversed(segments(rows)):  # while the first is there, so is what says that there are rows
        OPS.unlink(segment.path)


def table_of(rows: Sequence[Logged]) -> "pa.Table":
    """Returns values that were read of a run, as a part has them. Half a surrogate pair in a key is an escape."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(Logged._fields)
    fields = dict(zip(Logged._fields, columns, strict=True))
    fields["key"] = tuple(encoded(key).decode() for key in fields["key"])
    return pa.table(fields, schema=schema())


def schema() -> "pa.Schema":
    """Returns the columns of a part: those of ``ml.open_run(run).scalars()``."""
    import pyarrow as pa

    return pa.schema(
        [
            ("phase", pa.string()),
            ("step", pa.int64()),
            ("epoch", pa.int64()),
            ("key", pa.string()),
            ("value", pa.float64()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("attempt", pa.int64()),
        ]
    )


def encoded_table(table: "pa.Table") -> bytes:
    """Returns a table as a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def require_pyarrow() -> None:
    """Returns where pyarrow is installed.

    Raises:
        ConfigError: It is not.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise missing("Parquet", "pyarrow", "parquet", error) from error


def _renumbered(folder: Path, part: _Part, number: int) -> _Part:
    """Gives a file of rows another number, that of a part which is not there yet."""
    renumbered = part._replace(number=number)
    old, new = part.rows(folder).stem, renumbered.rows(folder).stem
    for segment in segments(part.rows(folder)):
        OPS.rename(segment.path, segment.path.with_name(segment.path.name.replace(old, new, 1)))
    return renumbered


def _files_of_rows(folder: Path) -> list[_Part]:
    """Returns the parts of which there are files of rows, in order."""
    with suppress(FileNotFoundError):
        found = (_ROWS.fullmatch(path.name) for path in folder.iterdir())
        return sorted(_Part(int(match[1]), int(match[2])) for match in found if match)
    return []


def _table_of_file(rows: Path) -> "pa.Table":
    """Returns what a file of rows holds, without a last line that has no end. In C, which lets training go on."""
    import pyarrow as pa
    from pyarrow import csv

    data = b"".join(line for line in whole_lines(rows) if line != HEADER)
    if not data:
        return schema().empty_table()
    names = schema().names
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            csv.ParseOptions(newlines_in_values=False),
            csv.ConvertOptions(
                column_types={
                    **{field.name: field.type for field in schema()},
                    "key": pa.dictionary(pa.int32(), pa.string()),
                },
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise FormatError(f"no rows of a run: {error}", path=rows) from error
    keys = table.column("key").combine_chunks()
    names_of = pa.array([key_of(cell) for cell in keys.dictionary.to_pylist()], pa.string())
    return table.set_column(names.index("key"), "key", names_of.take(keys.indices)).cast(schema())
