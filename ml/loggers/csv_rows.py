r"""Scalars as CSV, one row a value: what the backend ``csv`` and ``mlog export --to csv`` write, and how it is read.

::

    phase,step,epoch,key,value,time,attempt
    train,3,0,task/loss,0.25,2026-01-02T03:04:05.678901Z,1

A line of the backend is a row, whatever a key holds, so a crash costs the last line and no other: a key with control
characters, line breaks among them, or with a quotation mark at its beginning is a JSON text, ``"a\nb"``. What is
exported has such keys as they are, so a row may be several lines. A key that a spreadsheet would take for a formula has
an apostrophe before it, and so has one that looks like such a cell. ``key_of`` undoes all that; of exported keys alone
one that is itself the JSON text of a key with control characters is taken for that. Values are as Python and pandas
read them, ``nan`` and ``-inf``; whole numbers have all their digits.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from ml.core.errors import WriteError
from ml.core.state import State
from ml.io.durable import Opening, OpenNext
from ml.io.files import AppendFile
from ml.io.segments import open_log
from ml.loggers.history import Logged

COLUMNS = Logged._fields
HEADER = ",".join(COLUMNS).encode() + b"\n"

Row = tuple[State, str, int | float]
"""A value that was logged: its state, ``<namespace>/<key>``, and the number."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED = re.compile(r'[",\r\n]')
_CELLS_KEPT = 2**12


def encoded_rows(rows: Iterable[Row], attempt: int) -> bytes:
    """Returns rows in their order, each a line in UTF-8. Half a surrogate pair is an escape.

    Args:
        rows: What was logged.
        attempt: The attempt that logged it.
    """
    lines = []
    of, start, end = None, "", ""
    for state, path, value in rows:
        if state is not of:
            of, start = state, f"{state.phase},{state.num_steps},{state.num_epochs},"
            end = f",{timestamp(_EPOCH + timedelta(seconds=state.time_s))},{attempt}\n"
        lines.append(f"{start}{key_cell(path)},{value!r}{end}")
    return encoded("".join(lines))


def encoded_row(row: Logged) -> bytes:
    """Returns a value that was read of a run, in UTF-8, with its key as it is: a line, or several if that has some."""
    cells = f"{row.phase},{row.step},{row.epoch},{text_cell(row.key)},{row.value!r},{timestamp(row.time)},{row.attempt}"
    return encoded(f"{cells}\n")


def encoded(text: str) -> bytes:
    """Returns a text in UTF-8; half a surrogate pair, which has none, as an escape."""
    return text.encode("utf-8", "backslashreplace")


def timestamp(time: datetime) -> str:
    """Returns a time in UTC as text: ``2026-01-02T03:04:05.678901Z``."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(_CELLS_KEPT)
def key_cell(key: str) -> str:
    """Returns the cell of a key, its quotation marks included: one line, and no formula."""
    return text_cell(_escaped(key) if _needs_escapes(key) else key)


def text_cell(text: str) -> str:
    """Returns the cell of a text as it is, its quotation marks included, but for what would be a formula."""
    if _FORMULA.match(text):
        text = f"'{text}"
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text


def key_of(cell: str) -> str:
    """Returns the key that a cell is of, as a reader of CSV gives the cell."""
    if cell.startswith('"'):
        with suppress(ValueError, RecursionError):
            key = json.loads(cell)
            if isinstance(key, str) and _needs_escapes(key) and _escaped(key) == cell:
                return key
        return cell  # as it was exported, or somebody else's
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def open_rows(path: Path) -> OpenNext:
    """Returns what opens files of rows for a ``DurableFile``, as ``open_log`` does; each begins with the header."""
    opened = open_log(path)

    def open_next(opening: Opening) -> AppendFile:
        file = opened(opening)
        if file.size_bytes == 0:
            try:
                file.append(HEADER)
            except WriteError:
                file.abandon()
                raise
        return file

    return open_next


def _needs_escapes(key: str) -> bool:
    return key.startswith('"') or _CONTROL.search(key) is not None


def _escaped(key: str) -> str:
    """Returns a text as JSON, its control characters as escapes."""
    text = json.dumps(key, ensure_ascii=False)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
