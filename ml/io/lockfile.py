"""A lock that a process holds on a file while it lives; the kernel frees it when the process is gone, in any way."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from ml.core.errors import WriteError
from ml.io.fileops import OPS, FileOps
from ml.io.files import CREATE, explained
from ml.io.lifetime import tell_after_fork

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class LockFile:
    """A lock that is held until ``release``. A forked child's copy holds nothing, and releases nothing.

    Attributes:
        path: The file that is locked.
    """

    def __init__(self, path: Path, descriptor: int, ops: FileOps) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._ops = ops
        tell_after_fork(self)

    def release(self) -> None:
        """Lets others have the lock; again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # it is gone all the same
                self._ops.close(descriptor)

    def after_fork_in_child(self) -> None:
        """Closes the child's copy: a lock is free when no process has it open, and this one may outlive its parent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def try_lock(path: Path, *, ops: FileOps = OPS) -> LockFile | None:
    """Takes the lock on a file, which is made if need be. Never waits.

    Args:
        path: The file; a symbolic link is refused.
        ops: The calls to the operating system.

    Returns:
        The lock; ``None``: somebody else holds it, or has removed the file or its directory by now.

    Raises:
        WriteError: The file cannot be opened, or the file system has no locks.
    """
    import fcntl

    with explained("lock", path):
        try:
            descriptor = ops.open(path, CREATE | os.O_NONBLOCK, 0o600)  # a pipe that somebody put there would block
        except FileNotFoundError:
            return None
        lock = LockFile(path, descriptor, ops)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if ops.identity(descriptor) == ops.identity(path):
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            lock.release()
            if error.errno in _NO_LOCKS:
                raise WriteError(
                    f"Cannot lock {path}: its file system has no locks. Name a directory on a disk of this machine."
                ) from error
            raise
        lock.release()
        return None
