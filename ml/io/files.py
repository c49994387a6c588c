"""Files that a crash, a full disk or a fork cannot spoil.

Everything of a run that lies on disk is appended whole (``AppendFile``), or replaced
whole (``ml.io.atomic``), in directories whose names are on the disk as well
(``make_directories``). Nothing is buffered in this process, so what was appended
survives a SIGKILL, and a forked child flushes nothing twice.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

from ml.core.errors import ClosedError, WriteError
from ml.io.fileops import OPS, FileOps

CREATE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
"""Flags that open a file to write to it, made if need be; never one behind a symbolic link."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


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
        self._identity: tuple[int, int] | None = None
        self._fragment = b""  # of this a part may lie behind the last whole record
        self._sync_error: OSError | None = None
        # What a failed write left is read before it is cut off: somebody else may have appended to the file.
        flags = CREATE & ~os.O_WRONLY | os.O_RDWR | os.O_APPEND | (os.O_EXCL if exclusive else 0)
        with explained("open", self.path):
            descriptor = ops.open(self.path, flags, mode)
            try:
                self._size_bytes = ops.size(descriptor)
                ops.sync_directory(self.path.parent)
                identity = ops.identity(descriptor)
                if identity == ops.identity(self.path):  # some network file systems number a file anew at every look
                    self._identity = identity
            except BaseException:
                with suppress(OSError):
                    ops.close(descriptor)
                if exclusive:  # nobody else can have written to it yet, and the next try must find the name free
                    with suppress(OSError):
                        ops.unlink(self.path)
                raise
        self._descriptor: int | None = descriptor
        self._is_shared = False
        self._is_new = exclusive or self._size_bytes == 0

    @property
    def is_new(self) -> bool:
        """Whether it held nothing when it was opened."""
        return self._is_new

    @property
    def size_bytes(self) -> int:
        """Bytes up to the end of the last whole record."""
        return self._size_bytes

    @property
    def is_shared(self) -> bool:
        """Whether another process has appended to it since it was opened, as far as can be seen."""
        if not self._is_shared and self._descriptor is not None:
            with suppress(OSError):
                self._is_shared = not self._fragment.startswith(self._tail(self._descriptor))
        return self._is_shared

    @property
    def whereabouts(self) -> Literal["in place", "gone", "replaced"]:
        """Whether the path still names this file, no file, or another one."""
        try:
            identity = self._ops.identity(self.path)
        except OSError as error:  # of anything else a write says more
            return "gone" if error.errno in _GONE else "in place"
        return "in place" if self._identity in (None, identity) else "replaced"

    @property
    def is_remote(self) -> bool:
        """Whether a failed append may mean that an earlier one was lost: so it is on network file systems."""
        try:
            return self._ops.is_remote(self.path)
        except OSError:
            return True

    def check_open(self) -> None:
        """Returns when the file can be written to by this process.

        Raises:
            ClosedError: The file is closed, or belongs to another process.
        """
        self._open_descriptor()

    def append(self, data: bytes) -> None:
        """Hands all of ``data`` to the kernel, or leaves the file as it was.

        Raises:
            WriteError: Nothing was appended; the same data may be offered again.
            ClosedError: The file is closed, or belongs to another process.
        """
        descriptor = self._open_descriptor()
        with explained("append to", self.path):
            if self._fragment:
                self._cut_back(descriptor)
            size_bytes = self._ops.size(descriptor)
            if size_bytes > self._size_bytes:
                self._size_bytes, self._is_shared = size_bytes, True
            try:
                write_whole(self._ops, descriptor, data)
            except BaseException:
                self._fragment = data
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
        with explained("sync", self.path):
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
                if self._fragment:
                    with explained("cut", self.path):
                        self._cut_back(self._descriptor)
                self.sync()
        finally:
            descriptor, self._descriptor = self._descriptor, None
            with explained("close", self.path):
                self._ops.close(descriptor)

    def abandon(self) -> None:
        """Closes the file, and promises nothing about what was appended since the last sync; again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self._fragment and os.getpid() == self._pid:
                with suppress(OSError):  # else the next attempt sets it aside
                    self._cut_back(descriptor)
            with suppress(OSError):
                self._ops.close(descriptor)

    def remove(self) -> None:
        """Removes a file that holds nothing but what its writer still has; it stays open.

        Raises:
            WriteError: It is still there.
        """
        with explained("remove", self.path), suppress(FileNotFoundError):
            self._ops.unlink(self.path)

    def discard(self) -> None:
        """Closes and removes a file that holds nothing but what its writer still has.

        Raises:
            WriteError: It is closed, but still there.
        """
        try:
            self.remove()
        finally:
            self.abandon()

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
        """Cuts off what a failed append left, if nothing else lies behind the last whole record."""
        if tail := self._tail(descriptor):
            if not self._fragment.startswith(tail):
                self._is_shared = True
                raise OSError(errno.EBUSY, "Another process writes to it")
            self._ops.truncate(descriptor, self._size_bytes)
        self._fragment = b""

    def _tail(self, descriptor: int) -> bytes:
        """Returns what lies behind the last whole record, as far as it can be told from what a failed append left."""
        if self._ops.size(descriptor) <= self._size_bytes:  # of a device anything can be read
            return b""
        return self._ops.read(descriptor, len(self._fragment) + 1, self._size_bytes)


def cut(path: Path, size_bytes: int, *, ops: FileOps = OPS) -> None:
    """Cuts a file that nobody writes to down to its first ``size_bytes``, on the disk when this returns.

    Raises:
        WriteError: It may be as long as it was.
    """
    with explained("cut", path):
        descriptor = ops.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0)
        try:
            if ops.size(descriptor) > size_bytes:
                ops.truncate(descriptor, size_bytes)
                ops.sync(descriptor)
        finally:
            ops.close(descriptor)


def make_directories(path: Path, *, ops: FileOps = OPS) -> None:
    """Makes a directory and those above it that are missing, and has their names on the disk when it returns.

    Raises:
        WriteError: It is not there, or its name may not survive a power cut; then this can be called again.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        with explained("make", directory):
            try:
                ops.make_directory(directory)
            except FileExistsError:
                if not directory.is_dir():
                    raise
            try:
                ops.sync_directory(directory.parent)
            except BaseException:
                with suppress(OSError):  # what is in it by now stays; else the next call syncs its name again
                    ops.remove_directory(directory)
                raise


@contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turns an ``OSError`` into a ``WriteError`` that says what was done to which file."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"Cannot {action} {path}: {error.strerror or error}.") from error


def write_whole(ops: FileOps, descriptor: int, data: bytes | memoryview) -> None:
    """Writes all of ``data``, however many calls that takes.

    Raises:
        OSError: A part of it may have been written.
    """
    rest = memoryview(data)
    while rest:
        try:
            count = ops.write(descriptor, rest)
        except InterruptedError:
            continue
        if count == 0:  # or a full device could keep this loop for ever
            raise OSError(errno.EIO, "The kernel took no byte")
        rest = rest[count:]
