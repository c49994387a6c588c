"""Reads SQLite databases that anybody may have written: nothing of them is run, and nothing is asked without an end.

Only what tables hold is read: a view, a virtual table or a computed column is a program that somebody else wrote.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ml.core.errors import FormatError

_MAGIC = b"SQLite format 3\0"
_STEPS_A_CALL = 100_000  # about a millisecond, after which Ctrl-C is noticed
_MAX_CALLS = 20_000  # between two rows: half a minute


class ForeignDatabase:
    """A database of somebody else.

    Args:
        connection: Opened for reading alone.
        path: The file, for messages.
        max_calls: How many times 100,000 instructions of SQLite it may take to find a row.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, max_calls: int) -> None:
        self._connection, self._path = connection, path
        self._left_calls = self._max_calls = max_calls
        connection.set_progress_handler(self._call, _STEPS_A_CALL)

    def columns(self, table: str) -> set[str]:
        """Returns the names of the columns that a table stores; none where it is no table.

        Raises:
            FormatError: The database cannot be read.
        """
        query = "SELECT rootpage, sql FROM sqlite_master WHERE type = 'table' AND name = ?"
        made = list(self.rows(query, (table,)))
        if len(made) != 1 or not made[0][0] or not str(made[0][1]).upper().startswith("CREATE TABLE"):
            return set()
        return {str(row[1]) for row in self.rows(f"PRAGMA table_info({table})")}  # without computed ones

    def rows(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yields what a query finds.

        Raises:
            FormatError: It is damaged, longer than may be read, or takes too long.
        """
        self._left_calls = self._max_calls
        try:
            for row in self._connection.execute(query, values):
                yield row
                self._left_calls = self._max_calls
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                if self._left_calls >= 0:  # so it was no limit: what Ctrl-C raised within the handler is lost there
                    raise KeyboardInterrupt from None
                raise FormatError("a query takes too long", path=self._path) from error
            raise FormatError(str(error), path=self._path) from error
        except UnicodeError as error:  # in what SQLite says of it, which quotes the database
            raise FormatError(f"it is damaged: {error}", path=self._path) from error

    def _call(self) -> bool:
        self._left_calls -= 1
        return self._left_calls < 0


@contextmanager
def opened(path: Path, *, max_value_bytes: int, max_calls: int = _MAX_CALLS) -> Iterator[ForeignDatabase]:
    """Opens a database for reading alone.

    Args:
        path: The file.
        max_value_bytes: A text or a row that is longer is not read.
        max_calls: See ``ForeignDatabase``.

    Raises:
        OSError: There is none.
        FormatError: It is something else, or cannot be opened.
    """
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise FormatError("no SQLite database", path=path)
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True)
    except sqlite3.Error as error:
        raise FormatError(str(error), path=path) from error
    with closing(connection):
        connection.text_factory = _decoded
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max_value_bytes)
        database = ForeignDatabase(connection, path, max_calls)
        for setting in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
            list(database.rows(f"PRAGMA {setting}"))
        yield database


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")
