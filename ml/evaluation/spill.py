"""Where a table lies that is not published yet: in memory at first, then in files of a directory of its own."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final

from ml.core.errors import ClosedError, WriteError
from ml.evaluation.blobs import BlobRef, MediaFile
from ml.io.atomic import place_atomically
from ml.io.files import explained

HELD_BYTES: Final = 8 * 2**20
"""Media files that a table holds in memory; the others are on disk."""


class Spill:
    """A directory for the rows and media files of one table, made when it is first needed.

    It is removed by ``close``, when nobody uses it any more, and when the process ends, but not when it is killed.

    Args:
        parent: The directory that it is made in; ``None``: the system's one for temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._directory: Path | None = None
        self._held: dict[BlobRef, bytes] = {}
        self._held_bytes = 0
        self._has_files = False  # on disk: without, none is looked for there
        self._num_directories = 0
        self._remover: weakref.finalize[[Path, int], Spill] | None = None
        self._is_closed = False

    def check_open(self) -> None:
        """Raises ``ClosedError`` when it is closed."""
        if self._is_closed:
            raise ClosedError("The table is closed, and what was not published of it is gone. Read the published one.")

    def new_directory(self) -> Path:
        """Returns an empty directory.

        Raises:
            ClosedError: It is closed.
            WriteError: It cannot be made.
        """
        self.check_open()
        try:
            if self._directory is None:
                if self._parent is not None:
                    self._parent.mkdir(parents=True, exist_ok=True)
                self._directory = Path(tempfile.mkdtemp(prefix="ml-table-", dir=self._parent))
                self._remover = weakref.finalize(self, _remove, self._directory, os.getpid())
            self._num_directories += 1
            made = self._directory / str(self._num_directories)
            made.mkdir()
        except OSError as error:
            raise WriteError(
                f"A table cannot keep its rows in {self._parent or tempfile.gettempdir()}: {error}."
            ) from error
        return made

    def keep(self, file: MediaFile) -> None:
        """Keeps a media file, unless it is there.

        Raises:
            FileNotFoundError, FormatError: It cannot be read where it lies.
            ClosedError: It is closed.
            WriteError: It cannot be kept.
        """
        self.check_open()
        if self.has(file.ref):
            return
        data = file.read()
        if self._held_bytes + len(data) <= HELD_BYTES:
            self._held[file.ref] = data
            self._held_bytes += len(data)
            return
        if self._directory is None:
            self.new_directory()
        path = self._path(file.ref)
        with explained("make", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        place_atomically(path, data)
        self._has_files = True

    def has(self, ref: BlobRef) -> bool:
        """Whether a media file was kept."""
        return ref in self._held or (self._has_files and self._path(ref).exists())

    def get(self, ref: BlobRef) -> bytes:
        """Returns what a media file holds.

        Raises:
            ClosedError: It is closed.
            FileNotFoundError: It was never kept.
            WriteError: It was, and cannot be read any more.
        """
        self.check_open()
        if ref in self._held:
            return self._held[ref]
        if self._directory is None:
            raise FileNotFoundError(f"There is no {ref.key} in this table.")
        try:
            return self._path(ref).read_bytes()
        except FileNotFoundError:
            if not self._has_files:
                raise
            raise WriteError(f"{self._path(ref)} was removed, by who cleans temporary files perhaps.") from None
        except OSError as error:
            raise WriteError(f"{self._path(ref)} cannot be read: {error}.") from error

    def close(self) -> None:
        """Removes everything; may be called again."""
        self._is_closed = True
        self._held.clear()
        if self._remover is not None:
            self._remover()

    def _path(self, ref: BlobRef) -> Path:
        assert self._directory is not None
        return self._directory / ref.key


def _remove(directory: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child ends without taking its parent's files along
        shutil.rmtree(directory, ignore_errors=True)
