"""Replaces a file by one that is too large to be held in memory: written aside, put in its place when it is whole."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ml.core.errors import WriteError
from ml.io.fileops import OPS, FileOps
from ml.io.files import CREATE, explained, make_directories
from ml.io.lockfile import try_lock

_NAME_DIGITS = 8
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def replacing(path: Path, *, ops: FileOps = OPS) -> Iterator[BinaryIO]:
    """Gives a file to write to, and to seek in, which is ``path`` when the block ends; if that raises, nothing is left.

    A reader, and a crash at any moment, finds the old content or the new one, on the disk when this returns. What a
    process leaves that was killed in the middle lies beside ``path`` as ``.<16 digits>.tmp``, and goes when the same
    path is replaced the next time.

    Args:
        path: Need not exist; its directory is made.
        ops: The calls to the operating system.

    Raises:
        WriteError: The old content is still there, or the new one is but may not survive a power cut.
    """
    make_directories(path.parent, ops=ops)
    _sweep(path)
    with explained("write", path):
        temporary, descriptor = _made(path, ops)
    is_in_place = False
    try:
        with explained("write", path), os.fdopen(descriptor, "r+b") as file:
            yield file
            file.flush()
            ops.sync(descriptor)
            ops.rename(temporary, path)  # while it is locked: nobody takes it for one that was left
            is_in_place = True
    finally:
        if not is_in_place:
            with suppress(OSError):
                ops.unlink(temporary)
    with explained("sync", path.parent):
        ops.sync_directory(path.parent)


def _made(path: Path, ops: FileOps) -> tuple[Path, int]:
    """Makes a file beside ``path``, and locks it as long as it is open."""
    import fcntl

    while True:
        temporary = path.with_name(f".{_digits(path)}{secrets.token_hex(_NAME_DIGITS // 2)}.tmp")
        descriptor = ops.open(temporary, CREATE & ~os.O_WRONLY | os.O_RDWR | os.O_EXCL, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if ops.identity(descriptor) == ops.identity(temporary):
                return temporary, descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # somebody took it for one that was left, in the moment before it was locked
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return temporary, descriptor
            ops.close(descriptor)
            raise
        ops.close(descriptor)


def _sweep(path: Path) -> None:
    """Removes what killed processes left that were replacing the same path."""
    with suppress(OSError):
        for left in path.parent.glob(f".{_digits(path)}{'[0-9a-f]' * _NAME_DIGITS}.tmp"):
            with suppress(WriteError):
                if (lock := try_lock(left)) is not None:
                    with suppress(OSError):
                        os.unlink(left)
                    lock.release()


def _digits(path: Path) -> str:
    return hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:_NAME_DIGITS]
