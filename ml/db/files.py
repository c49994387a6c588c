"""The file of an SQLite database, and whether it is still there."""

from pathlib import Path

from ml.core.errors import ConfigError
from ml.db.engine import connect


def sqlite_file(where: str | Path) -> Path | None:
    """Returns the file that an SQLite database lies in; ``None`` where it is on a server.

    Raises:
        ConfigError: It is neither a path nor a URL, or a database in memory.
    """
    if str(where) in ("", ".") or "\0" in str(where):
        raise ConfigError(f"A database is a path or a URL of SQLAlchemy's, got {where!r}.")
    url = connect(where).url
    return Path(url.database or "").absolute() if url.get_backend_name() == "sqlite" else None


class FileWatch:
    """Tells when the file of a database is no longer the one that it was.

    Args:
        file: Of an SQLite database; ``None``: there is none, and nothing to be told.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._inode = self._find_inode()

    def is_moved(self) -> bool:
        """Returns whether another file, or none, lies where the database was; once: what follows goes to a new one."""
        inode = self._find_inode()
        if self._inode is None or inode == self._inode:
            self._inode = inode
            return False
        self._inode = None
        return True

    def _find_inode(self) -> int | None:
        try:
            return None if self._file is None else self._file.stat().st_ino
        except OSError:
            return None
