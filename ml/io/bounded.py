"""A queue that is bounded in bytes, of items that are handled in runs. No thread, no lock: ``Worker`` holds one."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

_COMPACT_ABOVE = 64


class _Entry(Generic[T]):
    """An item in the queue.

    Attributes:
        ends: Whether it is the last one of its run.
        is_back: Whether it was taken and put back.
        is_gone: Whether it was dropped or is done.
    """

    __slots__ = ("droppable", "ends", "is_back", "is_gone", "item", "size_bytes")

    def __init__(self, item: T, size_bytes: int, droppable: bool, ends: bool) -> None:
        self.item, self.size_bytes, self.droppable, self.ends = item, size_bytes, droppable, ends
        self.is_back = self.is_gone = False


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
        self._droppable_bytes = 0
        self._taken: list[_Entry[T]] = []
        self._taken_runs = 0
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
        dropped: list[T] = []
        if size_bytes and self.size_bytes + size_bytes > self.max_bytes:
            if self._firm_bytes(entry.droppable) + size_bytes > self.max_bytes:
                if ends:
                    self.end_run()
                return [item]
            dropped = self.shrink(self.max_bytes - size_bytes, only_droppable=entry.droppable)
        self._run_is_open = not ends
        self.runs += ends
        self._entries.append(entry)
        if size_bytes:
            self._queue_of(entry).append(entry)
            self.size_bytes += size_bytes
            self._droppable_bytes += size_bytes if entry.droppable else 0
        return dropped

    def shrink(self, max_bytes: int, *, only_droppable: bool = False) -> list[T]:
        """Drops the oldest droppable items, then the oldest others unless ``only_droppable``; returns them.

        It stops when the queue holds at most ``max_bytes``.
        """
        dropped = []
        for queue in (self._droppable,) if only_droppable else (self._droppable, self._others):
            while self.size_bytes > max_bytes and queue:
                entry = queue.popleft()
                dropped.append(entry.item)
                self._gone += 1
                self.runs -= entry.ends  # the others of its run went before it
                self._forget(entry)
        if self._gone > _COMPACT_ABOVE + len(self._entries) // 2:
            self._entries = deque(entry for entry in self._entries if not entry.is_gone)
            self._gone = 0
        return dropped

    def end_run(self) -> None:
        """Has the last run end with the items that it has: the rest was dropped on arrival, or never comes."""
        self._run_is_open = False
        last = next((entry for entry in reversed(self._entries) if entry.ends or not entry.is_gone), None)
        if last is not None and not last.ends:
            last.ends = True
            self.runs += 1

    def take(self, gather_bytes: int = 0) -> list[T]:
        """Returns the items of the oldest run, which stay in the queue until ``done`` or ``put_back``.

        Args:
            gather_bytes: Runs behind it come along while all together are no larger. Runs that
                hold something droppable or of size 0 are always taken alone, and what was put
                back comes again as it was: whoever handles it may have done a part of it.
        """
        size_bytes, is_plain = 0, True
        while self._taken_runs < self.runs and (run := self._first_run()):
            size_bytes += sum(entry.size_bytes for entry in run)
            is_plain = is_plain and all(entry.size_bytes and not entry.droppable for entry in run)
            goes_along = is_plain and size_bytes <= gather_bytes
            if self._taken and not (goes_along and run[0].is_back == self._taken[-1].is_back):
                break
            while self._taken[-1:] != run[-1:]:
                self._take_first()
            self._taken_runs += 1
        # A Ctrl-C in the middle of ``add`` may have left a run that is counted, and not there.
        self.runs = self.runs - self._taken_runs if self._taken else 0
        return [entry.item for entry in self._taken]

    def done(self) -> None:
        """The run that was taken leaves the queue."""
        for entry in self._taken:
            self._forget(entry)
        self._taken, self._taken_runs = [], 0

    def put_back(self) -> None:
        """The run that was taken is the oldest again, and may be dropped."""
        for entry in reversed(self._taken):
            entry.is_back = True
            self._entries.appendleft(entry)
            if entry.size_bytes:
                self._queue_of(entry).appendleft(entry)
        self.runs += self._taken_runs
        self._taken, self._taken_runs = [], 0

    def clear(self) -> list[T]:
        """Empties the queue, and returns what it held, the run that was taken included."""
        left = [entry.item for entry in (*self._taken, *self._entries) if not entry.is_gone]
        for queue in (self._entries, self._droppable, self._others):
            queue.clear()
        self._taken, self._taken_runs, self._run_is_open = [], 0, False
        self.size_bytes = self._droppable_bytes = self._gone = self.runs = 0
        return left

    def _queue_of(self, entry: _Entry[T]) -> deque[_Entry[T]]:
        """Returns where an entry stands while it may be dropped."""
        return self._droppable if entry.droppable else self._others

    def _first_run(self) -> list[_Entry[T]]:
        """Returns the oldest run that is complete."""
        run: list[_Entry[T]] = []
        for entry in self._entries:
            if not entry.is_gone:
                run.append(entry)
                if entry.ends:
                    return run
        return []

    def _take_first(self) -> None:
        entry = self._entries.popleft()
        if entry.is_gone:
            self._gone -= 1
            return
        queue = self._queue_of(entry)
        if queue and queue[0] is entry:
            queue.popleft()
        self._taken.append(entry)

    def _firm_bytes(self, for_droppable: bool) -> int:
        """Returns what cannot make room for an item: what is taken, and for a droppable one all that is not."""
        taken = sum(entry.size_bytes for entry in self._taken if entry.droppable or not for_droppable)
        loose = (self._droppable_bytes if for_droppable else self.size_bytes) - taken
        return self.size_bytes - loose

    def _forget(self, entry: _Entry[T]) -> None:
        entry.is_gone = True
        del entry.item  # media are large, and the entry may stand in a queue for a while
        self.size_bytes -= entry.size_bytes
        self._droppable_bytes -= entry.size_bytes if entry.droppable else 0
