"""Reads tables of metrics: one column a metric, as Lightning and Keras write them, or one row a value, as ours are.

::

    epoch,step,train_loss,val_loss                       phase,step,epoch,key,value,time,attempt
    0,9,0.25,                                            train,3,0,task/loss,0.25,2026-01-02T03:04:05.678901Z,1
    0,9,,0.5

Of a wide table the first of ``step``, ``_step``, ``global_step``, ``trainer/global_step``, ``iteration``, ``iter`` and
``epoch`` that is there is the step; ``epoch`` beside another one is the epoch. ``_timestamp``, ``timestamp``,
``wall_time`` and ``time`` are the time, in Unix seconds or ISO 8601; without one everything has the time of the file. A
blank is missing; a number is a scalar, everything else a text. All of it is training: nothing says what a name means.
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
from ml.io.attempt_files import read_config
from ml.io.regular import open_regular
from ml.io.segments import whole_lines
from ml.loggers.csv_rows import COLUMNS, HEADER, key_of
from ml.loggers.kinds import SCALAR, STRING
from ml.loggers.sources import Entry, Settings, Tell
from ml.loggers.strict_json import parsing, real

STEPS = ("step", "_step", "global_step", "trainer/global_step", "iteration", "iter", "epoch")
TIMES = ("_timestamp", "timestamp", "wall_time", "time")
EPOCH = "epoch"

_FILES = ("metrics.csv", "log.csv")
"""What a folder has that is given in the place of its file: Lightning's, and that of our backend ``csv``."""

_SETTINGS = "hparams.yaml"  # beside Lightning's
_MAX_HEADER_BYTES = 2**20
_ROWS_A_WRITE = 1000
_WHOLE = re.compile("[-+]?[0-9]{1,400}")


def is_source(path: Path) -> bool:
    """Whether ``path`` is a table with a column of steps, or a folder with one: ``metrics.csv`` or ``log.csv``."""
    file = _file(path)
    if file is None:
        return False
    try:
        names = _header(file)
    except (OSError, FormatError, csv.Error):
        return False
    return not set(STEPS).isdisjoint(names)


def sources(path: Path) -> list[Path]:
    """Returns the tables that ``path`` is or holds."""
    file = _file(path)
    return [] if file is None else [file]


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


def _header(path: Path) -> list[str]:
    with open_regular(path) as file:
        line = file.readline(_MAX_HEADER_BYTES)
    return next(csv.reader([line.decode("utf-8-sig", "replace")]), [])


def _long(path: Path, tell: Tell) -> Iterator[Entry]:
    """Yields the rows of our own form, whose lines are rows, and which may go on in further files."""
    attempts = {attempt for line in whole_lines(path) if (attempt := _attempt(line)) is not None}
    for attempt in sorted(attempts):
        for number, line in enumerate(whole_lines(path), start=1):
            if line == HEADER or _attempt(line) not in (attempt, None):
                continue
            try:
                yield _row(line, 1 + number // _ROWS_A_WRITE)
            except FormatError as error:
                if attempt == min(attempts):
                    tell(f"Line {number} of {path} is left out: {error.message}")
    with open_regular(path) as file:
        file.seek(max(0, path.stat().st_size - 1))
        if file.read() not in (b"\n", b""):
            tell(f"The last line of {path} is left out: it has no end, so it may be cut off.")


def _attempt(line: bytes) -> int | None:
    """Returns the attempt that a row is of; ``None`` where it says none."""
    last = line.rstrip(b"\r\n").rpartition(b",")[2]
    return int(last) if last.isdigit() and len(last) < 10 else None


def _row(line: bytes, write: int) -> Entry:
    with parsing("no row of a run"):
        phase, step, epoch, cell, value, time, attempt = next(csv.reader([line.decode()]))
        if phase not in PHASES:
            raise ValueError(f"no phase: {phase!r:.60}")
        time_s = _seconds(time)
        state = State(phase, num_epochs=int(epoch), num_steps=int(step), time_s=time_s)
        namespace, key = _names_of(key_of(cell))
        number = _number(value) if value else float("nan")
        if number is None:
            raise ValueError(f"no number: {value!r:.60}")
        return Entry(int(attempt), write, normalized(state), SCALAR, namespace, key, number)


def _wide(path: Path, names: list[str], tell: Tell) -> Iterator[Entry]:
    step_column = next((name for name in STEPS if name in names), None)
    time_column = next((name for name in TIMES if name in names), None)
    file_s, begun_s = path.stat().st_mtime, None
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        next(rows)
        for number in count(2):
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
                    yield Entry(1, write, normalized(state), kind, *_names_of(name), of)


def _names_of(path: str) -> tuple[str, str]:
    namespace, slash, key = path.partition("/")
    return (namespace, key) if slash and namespace else ("", path)


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
