"""A disk that fails: at the calls that the files of this package make, not in a test double of them."""

import errno
import os
from collections.abc import Callable, Container
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from ml.io.fileops import OPS, FileOps

CALLS = (
    "open",
    "write",
    "sync",
    "truncate",
    "close",
    "rename",
    "link",
    "unlink",
    "make_directory",
    "remove_directory",
    "sync_directory",
)
"""The calls that put something on a disk: all but ``size``, ``identity`` and ``read``, which only look."""

P = ParamSpec("P")
R = TypeVar("R")
DiskT = TypeVar("DiskT", bound="TestDisk")


class TestDisk(FileOps):
    """While entered, all files of this package are written through this object, which a subclass makes worse.

    Nothing is synced: no test can see whether it was, and it takes most of the time.
    """

    __test__ = False  # for pytest

    def __init__(self) -> None:
        self._restore = ExitStack()

    def __enter__(self: DiskT) -> DiskT:
        for name in vars(FileOps):
            if not name.startswith("_"):
                setattr(OPS, name, getattr(self, name))
                self._restore.callback(delattr, OPS, name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore.close()

    def begin_sync(self, descriptor: int) -> None:
        pass

    def sync(self, descriptor: int) -> None:
        pass

    def sync_file_system(self, directory: Path) -> bool:
        return True

    def sync_directory(self, directory: Path) -> None:
        pass


class FaultyDisk(TestDisk):
    """A disk of which some calls fail: a write after half of its bytes, a close after all, others before they begin.

    Args:
        failing: Which calls fail, numbered from 1: ``{3}``, or ``range(1, 10**9)`` for all of them.
        error: What they fail with, of ``errno``. ``EINTR`` is what a write must survive; it has then written nothing.
        calls: Which calls are counted, by name.
        max_write_bytes: What a write takes at most, as if the disk were slow to make room.

    Attributes:
        calls_made: The names of the calls that were counted.
        failures: How many of them have failed.
    """

    def __init__(
        self,
        failing: Container[int],
        error: int = errno.ENOSPC,
        *,
        calls: Container[str] = CALLS,
        max_write_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self._failing, self._error, self._counted, self._max_write_bytes = failing, error, calls, max_write_bytes
        self._numbers = count(1)  # of all threads
        self.calls_made: list[str] = []
        self.failures = 0

    def open(self, path: Path, flags: int, mode: int) -> int:
        return self._whole(super().open, path, flags, mode)

    def size(self, descriptor: int) -> int:
        return self._whole(super().size, descriptor)

    def identity(self, file: int | Path) -> tuple[int, int]:
        return self._whole(super().identity, file)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        return self._whole(super().read, descriptor, size_bytes, offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        try:
            self._count("write", descriptor)
        except OSError:
            if self._error != errno.EINTR:
                super().write(descriptor, data[: len(data) // 2])
            raise
        return super().write(descriptor, data[: self._max_write_bytes])

    def sync(self, descriptor: int) -> None:
        self._whole(super().sync, descriptor)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._whole(super().truncate, descriptor, size_bytes)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._count("close", descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._whole(super().rename, source, target)

    def link(self, source: Path, target: Path) -> None:
        self._whole(super().link, source, target)

    def unlink(self, path: Path) -> None:
        self._whole(super().unlink, path)

    def make_directory(self, path: Path) -> None:
        self._whole(super().make_directory, path)

    def remove_directory(self, path: Path) -> None:
        self._whole(super().remove_directory, path)

    def sync_directory(self, directory: Path) -> None:
        self._whole(super().sync_directory, directory)

    def _whole(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self._count(call.__name__, args[0])
        return call(*args, **kwargs)

    def _count(self, name: str, subject: object) -> None:
        if name not in self._counted:
            return
        self.calls_made.append(name)
        if next(self._numbers) in self._failing:
            self.failures += 1
            raise OSError(self._error, os.strerror(self._error), str(subject))
