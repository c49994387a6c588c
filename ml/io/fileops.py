"""The calls to the operating system that files are written with, in one object: the seam for faults."""

import errno
import os
import sys
from pathlib import Path

from ml.io.mounts import is_remote

_STDERR = 2
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


class FileOps:
    """The operating-system calls that files are written with; every one may raise ``OSError``.

    They are one object so that a test can let the Nth call fail.
    """

    def open(self, path: Path, flags: int, mode: int) -> int:
        """Returns a new descriptor, above those of the standard streams; ``mode`` loses the bits of the umask."""
        descriptor = os.open(path, flags, mode)
        if descriptor > _STDERR:
            return descriptor
        import fcntl

        try:  # somebody closed a standard stream: what is printed would go to this file
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
        finally:
            os.close(descriptor)

    def size(self, descriptor: int) -> int:
        """Returns the file's size in bytes."""
        return os.fstat(descriptor).st_size

    def identity(self, file: int | Path) -> tuple[int, int]:
        """Returns what tells an open file, or the one a path names, from every other one."""
        status = os.fstat(file) if isinstance(file, int) else os.lstat(file)
        return status.st_dev, status.st_ino

    def is_remote(self, path: Path) -> bool:
        """Whether a write to the file may report the failure of an earlier one, which the next sync then does not."""
        return is_remote(path)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """Returns up to ``size_bytes`` from ``offset``; empty at the end."""
        return os.pread(descriptor, size_bytes, offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Returns how many bytes the kernel took, perhaps fewer than given."""
        return os.write(descriptor, data)

    def begin_sync(self, descriptor: int) -> None:
        """Has the disk begin with the file's content, where that is known how; waits for nothing."""
        if sys.platform == "linux":
            # Before it gives up cached pages the kernel starts to write those that were changed, and does not wait.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

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

    def link(self, source: Path, target: Path) -> None:
        """Gives a file a second name, which is not there yet."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Removes a file."""
        os.unlink(path)

    def make_directory(self, path: Path) -> None:
        """Makes one directory; its parent must exist."""
        os.mkdir(path)

    def remove_directory(self, path: Path) -> None:
        """Removes an empty directory."""
        os.rmdir(path)

    def sync_file_system(self, directory: Path) -> bool:
        """Returns when everything on the directory's file system is on the disk; False: nothing was done.

        Linux has a call for that, of which Python knows nothing.
        """
        import ctypes

        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            return False
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if syncfs(descriptor) != 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
        finally:
            os.close(descriptor)
        return True

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


def sync_file(path: Path) -> None:
    """Returns when what others wrote to a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        OPS.sync(descriptor)
    finally:
        os.close(descriptor)
