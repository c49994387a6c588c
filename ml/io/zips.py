"""Writes ZIP archives whose bytes depend on names and contents alone.

Entries are stored as they come: no time, no owner, no compression (what is put in is compressed already), and Zip64
fields always, so that an archive is made in the same way whatever its size. ``ml.io.zip_reader`` reads them.
"""

import hashlib
import io
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from ml.core.errors import LogValueError

MAX_NAME_BYTES: Final = 255

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that a ZIP knows
_MODE: Final = stat.S_IFREG | 0o644


class Written(io.RawIOBase):
    """An entry that is being written.

    Attributes:
        size_bytes: So far.
        sha256: Of what was written so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.size_bytes, self._file, self._sha256 = 0, file, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self._sha256.hexdigest()

    def writable(self) -> bool:
        """Returns that it is."""
        return True

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        """Appends bytes; returns how many."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._sha256.update(view)
        self.size_bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """Returns the size so far."""
        return self.size_bytes


class ZipWriter:
    """A ZIP archive that is being written; complete after ``close``, of no use after ``abandon``.

    Args:
        file: Empty; can be seeked.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._names: set[str] = set()

    @contextmanager
    def entry(self, name: str) -> Iterator[Written]:
        """Gives a file whose content is that of an entry.

        Args:
            name: Segments with ``/`` between them.

        Raises:
            LogValueError: The name is none, or taken.
        """
        problem = problem_of_name(name) or ("it is there already" if folded(name) in self._names else "")
        if problem:
            raise LogValueError(f"{name[:200]!r} cannot be the name of an entry of a ZIP: {problem}")
        self._names.add(folded(name))
        info = zipfile.ZipInfo(name, _EPOCH)
        info.create_system, info.external_attr = 3, _MODE << 16  # of Unix, wherever it is made
        with self._zip.open(info, "w", force_zip64=True) as file:
            yield Written(file)  # type: ignore[arg-type]

    def add(self, name: str, data: bytes) -> None:
        """Adds an entry with its whole content; see ``entry``."""
        with self.entry(name) as file:
            file.write(data)

    def close(self) -> None:
        """Writes the directory."""
        self._zip.close()

    def abandon(self) -> None:
        """Writes nothing any more: something failed, and what there is will be thrown away."""
        self._zip.fp = None


def problem_of_name(name: str) -> str:
    """Returns why an entry cannot be called so, or the empty text: segments with ``/`` between them are names."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is no Unicode text"
    if not name or size > MAX_NAME_BYTES:
        return f"it has 1 to {MAX_NAME_BYTES} bytes"
    if any(character < " " or character in "\\:\x7f" for character in name):
        return "it has a character that leads elsewhere on some systems"
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        return "it leads elsewhere, or is a directory"
    return ""


def folded(name: str) -> str:
    """Returns what two names share that are one on some file system."""
    return unicodedata.normalize("NFC", name.casefold())
