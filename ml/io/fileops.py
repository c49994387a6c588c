"""The calls to the operating system that files are written with, in one object: the seam for faults."""

import errno
import os
import sys
from pathlib import Path

_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


class FileOps:
    """The operating-system calls that files are written with; every one may raise ``OSError``.

    They are one object so that a test can let the Nth call fail.
    """

    def open(self, path: Path, flags: int, mode: int) -> int:
        """Returns a new descriptor; ``mode`` loses the bits of the umask."""
        return os.open(path, flags, mode)

    def size(self, descriptor: int) -> int:
        """Returns the file's size in bytes."""
        return os.fstat(descriptor).st_size

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """Returns up to ``size_bytes`` from ``offset``; empty at the end."""
        return os.pread(descriptor, size_bytes, offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Returns how many bytes the kernel took, perhaps fewer than given."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Returns when the file's content is on the disk."""
        if sys.platform == "darwin":
            import fcntl

            try:
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            except OSError:  # not every file system knows it
                os.fsync(descriptor)
        else:
            os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cuts the file."""
        os.ftruncate(descriptor, size_bytes)

    def close(self, descriptor: int) -> None:
        """Closes the descriptor, which is gone even when this raises."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Replaces ``target``, in one step."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Removes a file."""
        os.unlink(path)

    def sync_directory(self, directory: Path) -> None:
        """Returns when the directory's entries are on the disk, as far as its file system can tell."""
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # writable but not readable
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(descriptor)


OPS = FileOps()
