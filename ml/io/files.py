"""Files that a crash, a full disk or a fork cannot spoil.

Everything of a run that lies on disk is written through here: appended whole
(``AppendFile``), replaced whole (``write_atomically``), or moved aside whole when
a crash tore it (``set_torn_tail_aside``). Nothing is buffered in this process, so
what was appended survives a SIGKILL, and a forked child flushes nothing twice.
"""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from ml.core.errors import ClosedError, WriteError
from ml.io.fileops import OPS, FileOps

_BLOCK_BYTES = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_MAX_SEGMENT_BYTES = 120
_HASH_DIGITS = 32


class AppendFile:
    """A file that only grows, by whole records.

    It has one writer: one thread of one process. ``append`` is all or nothing,
    and what it took survives the death of the process; what ``sync`` returned
    from survives a power cut. A forked child's copy is closed.

    Args:
        path: The file, made if it is not there; its directory must exist. A symbolic link is refused.
        exclusive: Whether the file must not exist yet.
        mode: Permission bits of a new file, less the umask.
        ops: The calls to the operating system.

    Raises:
        WriteError: The file cannot be opened.
    """

    def __init__(self, path: str | Path, *, exclusive: bool = False, mode: int = 0o666, ops: FileOps = OPS) -> None:
        self.path = Path(path)
        self._ops, self._pid = ops, os.getpid()
        self._torn = False  # bytes past the last whole record may lie in the file
        self._sync_error: OSError | None = None
        flags = _CREATE | os.O_APPEND | (os.O_EXCL if exclusive else 0)
        with _explained("open", self.path):
            descriptor = ops.open(self.path, flags, mode)
            try:
                self._size_bytes = ops.size(descriptor)
                ops.sync_directory(self.path.parent)
            except BaseException:
                with suppress(OSError):
                    ops.close(descriptor)
                if exclusive:  # nobody else can have written to it yet, and the next try must find the name free
                    with suppress(OSError):
                        ops.unlink(self.path)
                raise
        self._descriptor: int | None = descriptor

    @property
    def size_bytes(self) -> int:
        """Bytes up to the end of the last whole record."""
        return self._size_bytes

    def append(self, data: bytes) -> None:
        """Hands all of ``data`` to the kernel, or leaves the file as it was.

        Raises:
            WriteError: Nothing was appended; the same data may be offered again.
            ClosedError: The file is closed, or belongs to another process.
        """
        descriptor = self._open_descriptor()
        with _explained("append to", self.path):
            if self._torn:
                self._cut_back(descriptor)
            try:
                _write_all(self._ops, descriptor, data)
            except BaseException:
                self._torn = True
                with suppress(OSError):  # the next append tries again before it writes
                    self._cut_back(descriptor)
                raise
            self._size_bytes += len(data)

    def sync(self) -> None:
        """Returns when everything appended so far is on the disk.

        After one failure every later call fails too: the kernel forgets the pages
        that it could not write, so a success would promise what nobody knows.

        Raises:
            WriteError: It cannot be said that the data is on the disk.
            ClosedError: The file is closed, or belongs to another process.
        """
        descriptor = self._open_descriptor()
        with _explained("sync", self.path):
            if self._sync_error is not None:
                raise OSError(self._sync_error.errno, f"{self._sync_error.strerror}, at an earlier sync")
            try:
                self._ops.sync(descriptor)
            except OSError as error:
                self._sync_error = error
                raise

    def close(self) -> None:
        """Syncs and closes the file; again does nothing. In a forked child nothing is synced.

        Raises:
            WriteError: The file is closed, but its last data may not be on the disk.
        """
        if self._descriptor is None:
            return
        try:
            if os.getpid() == self._pid:
                if self._torn:
                    with _explained("cut", self.path):
                        self._cut_back(self._descriptor)
                self.sync()
        finally:
            descriptor, self._descriptor = self._descriptor, None
            with _explained("close", self.path):
                self._ops.close(descriptor)

    def __enter__(self) -> "AppendFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_descriptor(self) -> int:
        if os.getpid() != self._pid:
            raise ClosedError(
                f"{self.path} belongs to process {self._pid}; a forked child cannot write. Log from the parent."
            )
        if self._descriptor is None:
            raise ClosedError(f"{self.path} is closed.")
        return self._descriptor

    def _cut_back(self, descriptor: int) -> None:
        self._ops.truncate(descriptor, self._size_bytes)
        self._torn = False


def write_atomically(path: str | Path, data: bytes, *, mode: int = 0o666, ops: FileOps = OPS) -> None:
    """Replaces a file's content, on the disk when this returns; a crash leaves the old or the new one whole.

    Args:
        path: The file; need not exist, its directory must.
        data: The whole new content.
        mode: Permission bits, less the umask.
        ops: The calls to the operating system.

    Raises:
        WriteError: The old content is still there, or the new one is but may not survive a power cut.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # the name alone may be as long as names can be
    with _explained("write", path):
        try:
            _create(ops, temporary, data, mode)
            ops.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                ops.unlink(temporary)
            raise
        ops.sync_directory(path.parent)


def set_torn_tail_aside(path: str | Path, *, ops: FileOps = OPS) -> Path | None:
    """Moves what follows the last newline of a file into a file beside it.

    A crash can leave half a line, or the zeros of a block that was never written,
    at the end of a file of lines; the next line appended would be lost with it.
    The tail is on the disk in its new place before it is cut off here, so no byte
    is lost whenever this is killed.

    Args:
        path: The file; it need not exist. Nothing may be writing to it.
        ops: The calls to the operating system.

    Returns:
        ``<path>.torn-<n>`` with the first free n from 1, or ``None`` if there was no tail.

    Raises:
        WriteError: The tail is still where it was, or is in both places.
    """
    path = Path(path)
    with _explained("repair", path):
        try:
            descriptor = ops.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0)
        except FileNotFoundError:
            return None
        try:
            size_bytes = ops.size(descriptor)
            end = _end_of_last_line(ops, descriptor, size_bytes)
            if end == size_bytes:
                return None
            aside = _copy_aside(ops, path, descriptor, end)
            ops.truncate(descriptor, end)
            ops.sync(descriptor)
            return aside
        finally:
            ops.close(descriptor)


def safe_segment(name: str) -> str:
    """Returns a path segment for a namespace or a key; different names get different segments.

    They differ on file systems that ignore case too, so capitals are percent-encoded
    like everything but ``a-z 0-9 _ - .`` and so is a leading dot; ``urllib.parse.unquote``
    undoes it. Past 120 bytes the segment is cut and ends in ``~`` and a hash.

    Args:
        name: Any text, the empty one (which becomes ``%``) and lone surrogates included.

    Returns:
        1 to 120 ASCII characters, never ``.`` or ``..`` or with a ``/``.
    """
    raw = name.encode("utf-8", "surrogatepass")
    segment = re.sub(rb"[^a-z0-9_.\-]|^\.", lambda match: b"%%%02X" % match[0][0], raw).decode("ascii") or "%"
    if len(segment) <= _MAX_SEGMENT_BYTES:
        return segment
    start = segment[: _MAX_SEGMENT_BYTES - _HASH_DIGITS - 1]
    whole = re.sub("%.?$", "", start)  # half an escape would not decode
    return f"{whole}~{hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]}"


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"Cannot {action} {path}: {error.strerror or error}.") from error


def _write_all(ops: FileOps, descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        try:
            count = ops.write(descriptor, rest)
        except InterruptedError:
            continue
        if count == 0:  # or a full device could keep this loop for ever
            raise OSError(errno.EIO, "The kernel took no byte")
        rest = rest[count:]


def _create(ops: FileOps, path: Path, data: bytes, mode: int) -> None:
    descriptor = ops.open(path, _CREATE | os.O_EXCL, mode)
    try:
        _write_all(ops, descriptor, data)
        ops.sync(descriptor)
    finally:
        ops.close(descriptor)


def _end_of_last_line(ops: FileOps, descriptor: int, size_bytes: int) -> int:
    stop = size_bytes
    while stop:
        start = max(0, stop - _BLOCK_BYTES)
        newline = ops.read(descriptor, stop - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        stop = start
    return 0


def _copy_aside(ops: FileOps, path: Path, source: int, offset: int) -> Path:
    aside, target = _open_aside(ops, path)
    try:
        try:
            while block := ops.read(source, _BLOCK_BYTES, offset):
                _write_all(ops, target, block)
                offset += len(block)
            ops.sync(target)
        finally:
            ops.close(target)
        ops.sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            ops.unlink(aside)
        raise
    return aside


def _open_aside(ops: FileOps, path: Path) -> tuple[Path, int]:
    number = 1
    while True:
        aside = path.with_name(f"{path.name}.torn-{number}")
        try:
            return aside, ops.open(aside, _CREATE | os.O_EXCL, 0o600)
        except FileExistsError:
            number += 1
