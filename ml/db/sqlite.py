"""What SQLite needs: a log that is written ahead, locks that can be waited for, files that may only be read."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ml.io.files import make_directories
from ml.io.mounts import is_remote

WRITING = "ml_writing"
"""The execution option of a connection that may write."""


def prepare_sqlite(engine: sa.Engine, timeout_s: float) -> None:
    """Has each connection of an engine set up, and the directory of the file made."""
    path = Path(engine.url.database or "").absolute()

    def begin(connection: sa.Connection) -> None:
        # The lock comes first: a transaction that reads before it writes could not wait for it any more.
        writes = connection.get_execution_options().get(WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        _set_journal(connection, "DELETE" if is_remote(path.parent) else "WAL", timeout_s)
        connection.execute("PRAGMA synchronous = FULL")

    def make_parent(*arguments: object) -> None:
        make_directories(path.parent)

    event.listen(engine, "do_connect", make_parent)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)


def connect_as_it_is(
    path: Path, dialect: sa.Dialect, record: object, arguments: object, parameters: dict[str, Any]
) -> sqlite3.Connection | None:
    """Connects to a file beside which nothing can be made; ``None``: in the usual way.

    Reading a file in WAL mode, SQLite makes two more beside it. Where it may not, and there is no log of somebody who
    writes, the file holds everything: an archive, or the database of another user.
    """
    if not path.is_file() or os.access(path.parent, os.W_OK) or os.path.lexists(f"{path}-wal"):
        return None
    connection: sqlite3.Connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, **parameters)
    return connection


def _set_journal(connection: sqlite3.Connection, mode: str, timeout_s: float) -> None:
    """WAL lets others read while one writes; it needs memory that all share, which no network file system has."""
    deadline_s = time.monotonic() + timeout_s
    while connection.execute("PRAGMA journal_mode").fetchone()[0].upper() != mode:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError:  # another one is doing it, which this does not wait for by itself
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(0.01)
