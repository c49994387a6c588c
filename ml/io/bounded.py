"""A queue that is bounded in bytes, of items that are handled in runs. No thread, no lock: ``Worker`` holds one."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

_COMPACT_ABOVE = 64


class _Entry(Generic[T]):
    """An item in the queue. ``ends`` marks the last one of its run, ``gone`` one that was dropped or is done."""

    __slots__ = ("droppable", "ends", "gone", "item", "size_bytes", "taken")

    def __init__(self, item: T, size_bytes: int, droppable: bool, ends: bool) -> None:
        self.item, self.size_bytes, self.droppable, self.ends = item, size_bytes, droppable, ends
        self.taken = self.gone = False


class BoundedQueue(Generic[T]):
    """Holds runs of items, oldest first. A run that was taken counts until it is done.

    When room is short the oldest droppable items go, then the oldest others;
    never one that is taken, and never one of size 0.

    Args:
        max_bytes: What it may hold.

    Attributes:
        size_bytes: What it holds.
        runs: Complete runs that wait.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.runs = 0
        self._entries: deque[_Entry[T]] = deque()
        self._gone = 0  # entries that were dropped, and still stand in ``_entries``
        self._droppable: deque[_Entry[T]] = deque()
        self._others: deque[_Entry[T]] = deque()
        self._taken: list[_Entry[T]] = []
        self._run_is_open = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is taken."""
        return len(self._entries) == self._gone and not self._taken

    @property
    def is_taken(self) -> bool:
        """Whether a run is taken, and neither done nor put back."""
        return bool(self._taken)

    def add(self, item: T, size_bytes: int, *, droppable: bool, ends: bool) -> list[T]:
        """Adds an item behind the others.

        Args:
            item: The item.
            size_bytes: What it counts for.
            droppable: Whether it goes before items that are not. The last item of a
                longer run is dropped only after the others.
            ends: Whether it ends its run.

        Returns:
            What was dropped, oldest first. Only ``item``, if room for it could not be made.
        """
        entry = _Entry(item, size_bytes, droppable and not (ends and self._run_is_open), ends)
        max_bytes = self.max_bytes - size_bytes
        kept = self._others if entry.droppable else deque[_Entry[T]]()
        if size_bytes and sum(e.size_bytes for e in (*self._taken, *kept) if e.taken or not e.gone) > max_bytes:
            if ends:
                self._end_run()
            return [item]
        dropped = self.shrink(max_bytes, only_droppable=entry.droppable) if size_bytes else []
        self._run_is_open = not ends
        self.runs += ends
        self._entries.append(entry)
        if size_bytes:
            (self._droppable if entry.droppable else self._others).append(entry)
            self.size_bytes += size_bytes
        return dropped
