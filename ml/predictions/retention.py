"""What the records below a directory take, and which of them go first."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ml.predictions.layout import SUFFIX, parse_key

COUNT_EVERY_S = 60.0
"""How often all is counted anew: other processes write to the directory too."""

_ROOM = 0.1  # of the budget is made at a time, so that it is rarely made


class _File(NamedTuple):
    """A record: its day and name, which sort by time; where it is; what it takes."""

    day_and_name: str
    path: Path
    size_bytes: int


class Budget:
    """Knows what the records below a directory take.

    Args:
        root: The directory; need not exist.
        max_bytes: What they may take.
        clock: Monotonic seconds.
    """

    def __init__(self, root: Path, max_bytes: int, *, clock: Callable[[], float]) -> None:
        self._root, self._max_bytes, self._clock = root, max_bytes, clock
        self._counted_s: float | None = None
        self._size_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether they take as much as they may."""
        self._count_if_due()
        return self._size_bytes >= self._max_bytes

    def add(self, size_bytes: int) -> None:
        """A record of this size was written."""
        self._size_bytes += size_bytes

    def make_room(self, size_bytes: int) -> None:
        """Deletes the oldest records until another one of this size fits in; what is no record is left alone.

        Raises:
            OSError: One cannot be deleted.
        """
        self._count_if_due()
        if self._size_bytes + size_bytes <= self._max_bytes or size_bytes > self._max_bytes:
            return  # there is room, or there never will be
        files = sorted(_records(self._root))
        self._size_bytes = sum(file.size_bytes for file in files)
        goal = min(self._max_bytes - size_bytes, round((1 - _ROOM) * self._max_bytes))
        for file in files:
            if self._size_bytes <= goal:
                return
            file.path.unlink(missing_ok=True)
            self._size_bytes -= file.size_bytes
            with suppress(OSError):  # while other records of the day are in it
                file.path.parent.rmdir()

    def _count_if_due(self) -> None:
        if self._counted_s is None or self._clock() - self._counted_s >= COUNT_EVERY_S:
            self._counted_s = self._clock()
            self._size_bytes = sum(file.size_bytes for file in _records(self._root))


def _records(root: Path) -> Iterator[_File]:
    """Yields the records below a directory, in no order. Links are not followed."""
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(directory, name)
            if name.endswith(SUFFIX) and parse_key(path.relative_to(root).as_posix()) is not None:
                with suppress(FileNotFoundError):
                    yield _File(f"{path.parent.name}/{name}", path, path.lstat().st_size)
