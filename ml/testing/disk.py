"""A disk that fails: at the calls of the files of this package, not in a test double of them."""

import errno
from collections.abc import Callable, Container
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from ml.io.fileops import OPS


class FaultyDisk:
    """While entered, calls that this package's files make fail with "disk full", a write after half of its bytes.

    Args:
        failing: Which calls fail, numbered from 1: ``{3}``, or ``range(1, 10**9)`` for all of them.

    Attributes:
        failures: How many calls have failed.
    """

    def __init__(self, failing: Container[int]) -> None:
        self._failing = failing
        self._calls = 0
        self._restore = ExitStack()
        self.failures = 0

    def __enter__(self) -> "FaultyDisk":
        for name, call in (
            ("open", partial(self._whole, OPS.open)),
            ("write", partial(self._write, OPS.write)),
            ("rename", partial(self._whole, OPS.rename)),
            ("sync_directory", partial(self._whole, OPS.sync_directory)),
        ):
            setattr(OPS, name, call)
            self._restore.callback(delattr, OPS, name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore.close()

    def _whole(self, call: Callable[..., object], *arguments: object) -> object:
        self._count(arguments[0])
        return call(*arguments)

    def _write(self, call: Callable[[int, memoryview], int], descriptor: int, data: memoryview) -> int:
        try:
            self._count(descriptor)
        except OSError:
            call(descriptor, data[: len(data) // 2])
            raise
        return call(descriptor, data)

    def _count(self, subject: Path | int | object) -> None:
        self._calls += 1
        if self._calls in self._failing:
            self.failures += 1
            raise OSError(errno.ENOSPC, "disk full", str(subject))
