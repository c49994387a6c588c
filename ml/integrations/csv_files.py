"""Reads tables of metrics: one column a metric, as Lightning and Keras write them, or one row a value, as ours are.

::

    epoch,step,train_loss,val_loss                       phase,step,epoch,key,value,time,attempt
    0,9,0.25,                                            train,3,0,task/loss,0.25,2026-01-02T03:04:05.678901Z,1
    0,9,,0.5

Of a wide table the first of ``step``, ``_step``, ``global_step``, ``trainer/global_step``, ``iteration``, ``iter`` and
``epoch`` that is there is the step; ``epoch`` beside another one is the epoch. ``_timestamp``, ``timestamp``,
``wall_time`` and ``time`` are the time, in Unix seconds or ISO 8601; without one everything has the time of the file. A
blank is missing; a number is a scalar, everything else a text. Of columns with one name the further ones are called
``loss.1``, ``loss.2``, as pandas has it. All of it is training: nothing says what a name means.

Ours is a file of the backend ``csv``, or what ``mlog export --to csv`` made of a run; ``ml.loggers.csv_rows`` says how
a key becomes a cell.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from omegaconf import OmegaConf

from ml.core.errors import FormatError
from ml.core.state import PHASES, State, normalized
from ml.integrations.csv_lines import RowLines, lines_of
from ml.io.attempt_files import read_config
from ml.io.regular import open_regular
from ml.loggers.csv_rows import COLUMNS, HEADER, key_of
from ml.loggers.kinds import SCALAR, STRING
from ml.loggers.sources import Entry, Settings, Tell
from ml.loggers.strict_json import parsing, real
from ml.loggers.values import split_path

STEPS = ("step", "_step", "global_step", "trainer/global_step", "iteration", "iter", "epoch")
TIMES = ("_timestamp", "timestamp", "wall_time", "time")
EPOCH = "epoch"

_FILES = ("metrics.csv", "log.csv")
"""What a folder has that is given in the place of its file: Lightning's, and that of our backend ``csv``."""

_BELOW = ("*/metrics.csv", "*/version_*/metrics.csv")
_SETTINGS = "hparams.yaml"  # beside Lightning's
_MAX_HEADER_BYTES = 2**20
_MAX_RECORD_BYTES = 2**24
_MAX_ATTEMPTS = 1000  # for each of which the file is read once more
_MAX_LINES_A_RECORD = 10_000
_ROWS_A_WRITE = 1000
_BEGINNING = re.compile(rb"(?:train|valid|test),-?[0-9]+,-?[0-9]+,")
_WHOLE = re.compile("[-+]?[0-9]{1,400}")


def is_source(path: Path) -> bool:
    """Whether ``path`` is a table with a column of steps, or a folder with one: ``metrics.csv`` or ``log.csv``.

    A folder with folders of Lightning's is one too: ``version_0/metrics.csv``.
    """
    return any(map(_has_steps, map(_file, sources(path))))


def sources(path: Path) -> list[Path]:
    """Returns the table that ``path`` is or holds; else the folders below it that hold one."""
    file = _file(path)
    if file is not None or not path.is_dir():
        return [] if file is None else [file]
    folders = {found.parent for pattern in _BELOW for found in path.glob(pattern)}
    return [folder for folder in sorted(folders) if _has_steps(_file(folder))]


def read(source: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields what a table holds, in its order; of ours, attempt by attempt.

    Args:
        source: The file, or the folder that holds it.
        tell: Told what cannot be read.

    Raises:
        OSError, FormatError: The file cannot be read.
    """
    file = _file(source) or source
    names = _header(file)
    if names == list(COLUMNS):
        yield from _long(file, tell)
        return
    settings = file.with_name(_SETTINGS)
    if settings.exists():
        try:
            config = OmegaConf.to_container(read_config(settings))
            assert isinstance(config, dict), "a configuration is a mapping"
            yield Settings(1, file.stat().st_mtime, {str(key): value for key, value in config.items()})
        except (OSError, FormatError) as error:
            tell(f"The settings are left out: {error}")
    yield from _wide(file, names, tell)


def _file(path: Path) -> Path | None:
    if path.is_dir():
        return next((path / name for name in _FILES if (path / name).is_file()), None)
    return path if path.suffix == ".csv" and path.is_file() else None


def _has_steps(path: Path | None) -> bool:
    try:
        return path is not None and not set(STEPS).isdisjoint(_names(_first_line(path)))
    except (OSError, FormatError, csv.Error):
        return False


def _header(path: Path) -> list[str]:
    line = _first_line(path)
    if len(line) > _MAX_HEADER_BYTES:
        raise FormatError(f"the header is too long: it has more than {_MAX_HEADER_BYTES} bytes", path=path)
    return _names(line)


def _first_line(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.readline(_MAX_HEADER_BYTES + 1)


def _names(line: bytes) -> list[str]:
    return _told_apart(next(csv.reader([line.decode("utf-8-sig", "replace")]), []))


def _long(path: Path, tell: Tell) -> Iterator[Entry]:
    """Yields the rows of our own form, which may go on in further files."""
    attempts = sorted({attempt for _, record in _records(path) if (attempt := _attempt(record)) is not None}) or [1]
    if len(attempts) > _MAX_ATTEMPTS:
        tell(f"{len(attempts) - _MAX_ATTEMPTS} attempts of {path} are left out: a run has up to {_MAX_ATTEMPTS}.")
    for attempt in attempts[:_MAX_ATTEMPTS]:
        for number, record in _records(path):
            if record == HEADER or _attempt(record) not in (attempt, None):
                continue
            try:
                yield _row(record, 1 + number // _ROWS_A_WRITE)
            except FormatError as error:
                if attempt == attempts[0]:
                    tell(f"Line {number} of {path} is left out: {error.message}")
    with open_regular(path) as file:
        file.seek(max(0, path.stat().st_size - 1))
        if file.read() not in (b"\n", b""):
            tell(f"The last line of {path} is left out: it has no end, so it may be cut off.")


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields rows, each with the number of its first line; one with line breaks in a key is several lines.

    A line that a crash cut off within a key would take all that follow for its own, so a row ends where another begins.
    """
    lines: list[bytes] = []
    is_open, number, size = False, 0, 0
    for number, line in enumerate(lines_of(path, _MAX_RECORD_BYTES), start=1):
        is_long = len(lines) > _MAX_LINES_A_RECORD or size > _MAX_RECORD_BYTES
        if lines and (not is_open or _BEGINNING.match(line) or is_long):
            yield number - len(lines), b"".join(lines)
            lines, is_open, size = [], False, 0
        lines.append(line)
        size += len(line)
        is_open ^= line.count(b'"') % 2 == 1
    if lines:
        yield number + 1 - len(lines), b"".join(lines)


def _attempt(record: bytes) -> int | None:
    """Returns the attempt that a row is of; ``None`` where it says none."""
    last = record.rstrip(b"\r\n").rpartition(b",")[2]
    return int(last) or None if last.isdigit() and len(last) < 10 else None


def _row(record: bytes, write: int) -> Entry:
    with parsing("no row of a run"):
        if len(record) > _MAX_RECORD_BYTES:
            raise ValueError(f"it is too long: it has more than {_MAX_RECORD_BYTES} bytes")
        phase, step, epoch, cell, value, time, attempt = _cells(record.decode())
        if _attempt(record) is None:
            raise ValueError(f"no attempt: {attempt!r:.60}")
        if phase not in PHASES:
            raise ValueError(f"no phase: {phase!r:.60}")
        time_s = _seconds(time)
        state = State(phase, num_epochs=int(epoch), num_steps=int(step), time_s=time_s)
        number = _number(value) if value else float("nan")
        if number is None:
            raise ValueError(f"no number: {value!r:.60}")
        return Entry(int(attempt), write, normalized(state), SCALAR, *split_path(key_of(cell)), number)


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _wide(path: Path, names: list[str], tell: Tell) -> Iterator[Entry]:
    step_column = next((name for name in STEPS if name in names), None)
    time_column = next((name for name in TIMES if name in names), None)
    file_s, begun_s = path.stat().st_mtime, None
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = RowLines(file, _MAX_RECORD_BYTES)
        rows = csv.reader(lines)
        next(rows)
        for number in count(2):
            lines.begin_row()
            try:
                cells = next(rows, None)
                if cells is None:
                    return
                if not any(cells):
                    continue
                if len(cells) != len(names):
                    raise FormatError(f"it has {len(cells)} cells, and the table has {len(names)} columns")
                row = dict(zip(names, cells, strict=True))
                time_s = file_s if time_column is None else _seconds(row.pop(time_column))
                step = number - 1 if step_column is None else _count(row.pop(step_column), step_column)
                epoch = _count(row.pop(EPOCH), EPOCH) if row.get(EPOCH) else 0
            except (FormatError, csv.Error) as error:
                tell(
                    f"Row {number} of {path} is left out: {error.message if isinstance(error, FormatError) else error}"
                )
                continue
            row.pop(EPOCH, None)
            begun_s = time_s if begun_s is None else begun_s
            state = State(num_epochs=epoch, num_steps=step, elapsed_time_s=max(0.0, time_s - begun_s), time_s=time_s)
            write = 1 + number // _ROWS_A_WRITE
            for name, cell in row.items():
                if cell:
                    value = _number(cell)
                    kind, of = (STRING, cell) if value is None else (SCALAR, value)
                    yield Entry(1, write, normalized(state), kind, *split_path(name), of)


def _told_apart(names: list[str]) -> list[str]:
    """Returns names of which no two are the same: the first of each stays."""
    found = dict.fromkeys(names, 0)
    unique = []
    for name in names:
        number, free = found[name], name
        while number and (free := f"{name}.{number}") in found:
            number += 1
        found[name] = number + 1
        found.setdefault(free, 1)
        unique.append(free)
    return unique


def _number(cell: str) -> int | float | None:
    """Returns the number that a cell holds, whole ones exactly; ``None`` where it holds a text."""
    cell = cell.strip()
    if _WHOLE.fullmatch(cell):
        return int(cell)
    if "_" in cell:  # which Python takes for a number
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _count(cell: str, column: str) -> int:
    number = _number(cell)
    if number is None or real(number) != real(number) // 1:
        raise FormatError(f"its '{column}' is no whole number, but {cell!r:.60}")
    return int(number)


def _seconds(cell: str) -> float:
    with suppress(ValueError):
        return float(cell)
    with parsing("no time"):
        time = datetime.fromisoformat(cell)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
