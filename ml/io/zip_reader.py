"""Reads ZIP archives of strangers without harm.

The directory of an archive is looked at before anything else is read. Refused is what no archive of ``ml.io.zips`` has,
and what could do harm: names that lead out of a directory, links and devices, two entries of one name, entries that
share bytes, more entries or bytes than are allowed, and contents that grow too much when they are unpacked.
"""

import hashlib
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple

from ml.core.errors import FormatError
from ml.io.files import CREATE, explained
from ml.io.zips import MAX_NAME_BYTES, folded, problem_of_name

_READ_AT_ONCE: Final = 1 << 20
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY_BYTES: Final = 46  # of the directory, at least
_RATIO_FROM_BYTES: Final = 1 << 20
_DOS_DIRECTORY: Final = 0x10
_ENCRYPTED: Final = 0x01


class ZipLimits(NamedTuple):
    """What is read at most.

    Attributes:
        entries: How many.
        entry_bytes: Of one, unpacked.
        total_bytes: Of all, unpacked.
        ratio: Of an entry of more than 1 MiB: its size by that of its packed form.
    """

    entries: int = 1000
    entry_bytes: int = 256 * 2**30
    total_bytes: int = 256 * 2**30
    ratio: int = 200


DEFAULT_LIMITS: Final = ZipLimits()


class ZipEntry(NamedTuple):
    """An entry of an archive: its name, and its size when it is unpacked."""

    name: str
    size_bytes: int


class ZipReader:
    """A ZIP archive, which may be from anybody.

    Args:
        path: The file.
        limits: What is read at most.

    Attributes:
        entries: What is in it, by name, in the order of the directory.

    Raises:
        FileNotFoundError: It is not there.
        FormatError: It is no ZIP archive, or one that is refused.
    """

    def __init__(self, path: Path, *, limits: ZipLimits = DEFAULT_LIMITS) -> None:
        self._path, self._limits = path, limits
        self._file = _opened(path)
        try:
            with self._explained("its directory"):
                start = _check_directory(self._file, limits)
                self._zip = zipfile.ZipFile(self._file)
                infos = self._zip.infolist()
                _check(infos, self._file, start, limits)
        except BaseException:
            self._file.close()
            raise
        self._infos = {info.filename: info for info in infos}
        self.entries = {name: ZipEntry(name, info.file_size) for name, info in self._infos.items()}

    def __enter__(self) -> "ZipReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()
        self._file.close()

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Returns the content of an entry.

        Raises:
            FormatError: It is not there, has more than ``max_bytes``, or is damaged.
        """
        if name not in self.entries:
            raise FormatError(f"there is no {name!r} in it", path=self._path)
        if self.entries[name].size_bytes > max_bytes:
            size = self.entries[name].size_bytes
            raise FormatError(f"{name!r} has {size} bytes, {max_bytes} are the most", path=self._path)
        return b"".join(self._pieces(name))

    def extract(self, name: str, into: Path) -> str:
        """Writes an entry to a file that is not there yet; returns the sha256 of its content.

        Args:
            name: Of the entry.
            into: The file; its directory exists.

        Raises:
            FormatError: It is damaged. A part of it may have been written.
            WriteError: It cannot be written.
        """
        digest = hashlib.sha256()
        with explained("write", into):
            descriptor = os.open(into, CREATE | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            for piece in self._pieces(name):
                digest.update(piece)
                with explained("write", into):
                    file.write(piece)
            with explained("write", into):
                file.flush()
                os.fsync(descriptor)
        return digest.hexdigest()

    def _pieces(self, name: str) -> Iterator[bytes]:
        left = self.entries[name].size_bytes
        with self._explained(repr(name)):
            file = self._zip.open(self._infos[name])
        with file:
            while True:
                with self._explained(repr(name)):
                    piece = file.read(_READ_AT_ONCE)
                    left -= len(piece)
                    if left < 0 or (not piece and left):
                        raise ValueError("its size is another one")
                if not piece:
                    return
                yield piece

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turns whatever goes wrong inside into a ``FormatError``: ``zipfile`` raises many types."""
        try:
            yield
        except FormatError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise FormatError(f"{what} cannot be read ({reason:.300})", path=self._path) from error


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError("it is no file", path=path)
    return os.fdopen(descriptor, "rb")


def _check_directory(file: BinaryIO, limits: ZipLimits) -> int:
    """Returns where the directory begins, which is read whole: so it is measured first."""
    size = file.seek(0, os.SEEK_END)
    end = size - _END.size
    if end < 0:
        raise ValueError("it is too short")
    file.seek(end)
    signature, *_, count, length, start, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        raise ValueError("its end is not that of a ZIP archive without a comment")
    locator = end - _END64_LOCATOR.size
    if locator >= 0:
        file.seek(locator)
        signature, _, place, _ = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
        if signature == b"PK\x06\x07":
            end = locator - _END64.size
            if place != end or end < 0:
                raise ValueError("its Zip64 end is elsewhere")
            file.seek(end)
            signature, *_, count, length, start = _END64.unpack(file.read(_END64.size))
            if signature != b"PK\x06\x06":
                raise ValueError("it has no Zip64 end")
    if count > limits.entries or length > limits.entries * (_ENTRY_BYTES + 2 * MAX_NAME_BYTES):
        raise ValueError(f"it has more than {limits.entries} entries, or a directory that is too large for them")
    if start + length != end:
        raise ValueError("there is something before it or behind it")
    file.seek(0)
    return int(start)


def _check(infos: list[zipfile.ZipInfo], file: BinaryIO, start: int, limits: ZipLimits) -> None:
    names: set[str] = set()
    total = 0
    if len(infos) > limits.entries:
        raise ValueError(f"it has {len(infos)} entries, {limits.entries} are the most")
    for info in infos:
        problem = problem_of_name(info.orig_filename) or _problem_of_entry(info, limits)
        if not problem and folded(info.filename) in names:
            problem = "there are two of this name"
        if problem:
            raise ValueError(f"{info.orig_filename[:200]!r} is refused: {problem}")
        names.add(folded(info.filename))
        total += info.file_size
    if total > limits.total_bytes:
        raise ValueError(f"its entries have {total} bytes, {limits.total_bytes} are the most")
    ends = [*sorted(info.header_offset for info in infos)[1:], start]
    for info, end in zip(sorted(infos, key=lambda info: info.header_offset), ends, strict=True):
        file.seek(info.header_offset)
        *_, name_length, extra_length = _LOCAL.unpack(file.read(_LOCAL.size))
        if info.header_offset + _LOCAL.size + name_length + extra_length + info.compress_size > end:
            raise ValueError(f"{info.filename!r} shares bytes with what comes after it")


def _problem_of_entry(info: zipfile.ZipInfo, limits: ZipLimits) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.external_attr & _DOS_DIRECTORY:
        return "it is no plain file"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"it is compressed by method {info.compress_type}"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return "it has two sizes"
    if info.file_size > limits.entry_bytes:
        return f"it has {info.file_size} bytes, {limits.entry_bytes} are the most"
    if info.file_size > max(_RATIO_FROM_BYTES, limits.ratio * info.compress_size):
        return f"{info.compress_size} bytes would grow to {info.file_size}"
    return ""
