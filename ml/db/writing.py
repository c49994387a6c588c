"""The queue between a process and a database, and the thread that empties it in batches, each one transaction."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from ml.core.errors import LogValueError, WriteError
from ml.io.worker import Worker
from ml.loggers.stats import Dropped, Tally

MAX_QUEUE_BYTES = 64 << 20

GATHER_BYTES = 1 << 20
_LONGEST_PAUSE_S = 30.0
_TELL_EVERY_S = 60.0

_log = logging.getLogger("ml")

ItemT = TypeVar("ItemT")


class BatchWriter(Generic[ItemT]):
    """Takes items of one process, and commits them in batches as they come.

    A database that is locked or away is tried again, after 1 s, doubling to 30 s; an item that is refused costs no
    other. What finds no room in the queue pushes the oldest out, counted and told. After a fork the child's copy is
    inert.

    Args:
        where: What is written to, at the beginning of a sentence: ``"The benchmark database log.db"``.
        commit: Commits items in one transaction, all or none, on the writer's thread; one that comes again is there
            once. ``WriteError``: not now. Anything else: they are refused; of several each is then offered alone.
        thread: The name of the thread.
        size_of: Returns about how many bytes an item takes in the queue.
        count_of: Returns how many of ``unit`` an item is.
        unit: What is counted: ``"rows"``.
        max_bytes: What the queue may hold, the batch being committed included.
        gather_bytes: Items that wait are committed together, up to this size, and a quarter of the queue: what is being
            committed makes no room.
        idle: Called on the writer's thread between batches.

    Attributes:
        tally: Counts.
    """

    def __init__(
        self,
        where: str,
        commit: Callable[[Sequence[ItemT]], None],
        *,
        thread: str,
        size_of: Callable[[ItemT], int],
        count_of: Callable[[ItemT], int],
        unit: str,
        max_bytes: int,
        gather_bytes: int = GATHER_BYTES,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._where, self._commit, self._unit = where, commit, unit
        self._size_of, self._count_of = size_of, count_of
        self.tally = Tally()
        self._pause_s, self._quiet_until_s = 0.0, dict[str, float]()
        self._is_whole, self._closed = True, False
        self._worker: Worker[tuple[ItemT, ...]] = Worker(
            thread, self._handle, max_bytes=max_bytes, idle=idle, gather_bytes=min(gather_bytes, max_bytes // 4)
        )

    @property
    def is_alive(self) -> bool:
        """Whether items are taken: it is not closed, and no forked child's copy."""
        return self._worker.is_alive

    @property
    def lost(self) -> int:
        """How many were given up."""
        stats = self.tally.stats()
        return sum(stats.dropped.values()) + sum(stats.failed.values())

    def breathe(self) -> None:
        """Lets other threads have the interpreter once a millisecond; ``commit`` calls it now and then."""
        self._worker.breathe()

    def submit(self, *items: ItemT, room_timeout_s: float = 0.0) -> None:
        """Queues items at the price of one. What finds no room is counted, and told.

        Args:
            items: In order.
            room_timeout_s: How long to wait for room at the most, before the oldest items are pushed out.
        """
        count, size_bytes = sum(map(self._count_of, items)), sum(map(self._size_of, items))
        self.tally.accept(count)
        is_forked = not (self._closed or self._worker.is_alive)
        if room_timeout_s > 0 and not (is_forked or self._worker.is_here):
            self._worker.wait_for_room(max(0, self._worker.max_bytes - size_bytes), room_timeout_s)
        dropped = self._worker.submit(items, size_bytes=size_bytes)
        if is_forked:
            self.tally.drop("closed", count)  # the worker has told it
        elif dropped:
            self._drop("closed" if self._closed else "queue_full", dropped)

    def command(self, item: ItemT) -> None:
        """Queues an item that is never pushed out, in its turn."""
        self._worker.submit((item,), size_bytes=0)

    def flush(self, timeout_s: float | None) -> bool:
        """Waits until all is in the database. False: it is not in time, or some of it since the last flush is lost."""
        if self._closed:
            return False
        is_drained = self._worker.drain(timeout_s)
        is_whole, self._is_whole = self._is_whole, True
        return is_drained and is_whole

    def close(self, last: ItemT, timeout_s: float | None) -> None:
        """Commits what is queued, then ``last``; tells what could not be in time."""
        self._closed = True
        if not self._worker.is_alive:
            return
        self.command(last)
        self._drop("deadline", self._worker.stop(timeout_s))
        self.tally.finish()
        if self.lost:
            _log.warning("%s lost %d %s: %s", self._where, self.lost, self._unit, self.tally.stats())

    def fail(self, count: int, error: Exception) -> None:
        """Counts accepted ones that cannot be kept, and tells it."""
        self.tally.fail("value" if isinstance(error, LogValueError) else "write", count)
        self._is_whole = False
        self.tell("failed", "%s: %d %s are lost: %s", self._where, count, self._unit, error)

    def tell(self, kind: str, message: str, *arguments: object) -> None:
        """Warns, of each kind at most once a minute."""
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s.get(kind, now_s):
            self._quiet_until_s[kind] = now_s + _TELL_EVERY_S
            _log.warning(message, *arguments)

    def write(self, items: Sequence[ItemT]) -> float | None:
        """Commits items at once, on the writer's thread. Returns after how many seconds they are to come again."""
        try:
            failed = self._refused(items)
        except WriteError as error:
            self._pause_s = min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
            self.tell("away", f"%s The {self._unit} wait, and are tried again.", error)
            return self._pause_s
        self._pause_s = 0.0
        self.tally.write(sum(map(self._count_of, items)) - sum(lost for lost, _ in failed))
        for lost, reason in failed:
            self.fail(lost, reason)
        return None

    def _handle(self, queued: list[tuple[ItemT, ...]]) -> float | None:
        return self.write([item for together in queued for item in together])

    def _refused(self, items: Sequence[ItemT]) -> list[tuple[int, Exception]]:
        """Commits items; those that are refused alone, so that one costs no other. Returns how many each lost."""
        try:
            self._commit(items)
        except WriteError:
            raise
        except Exception as error:
            if len(items) > 1:
                return [failure for item in items for failure in self._refused([item])]
            return [(sum(map(self._count_of, items)), error)]
        return []

    def _drop(self, reason: Dropped, dropped: Iterable[tuple[ItemT, ...]]) -> None:
        count = sum(self._count_of(item) for items in dropped for item in items)
        self.tally.drop(reason, count)
        if count:
            self._is_whole = False
            message = f"%s: %d {self._unit} are lost (%s); more are only counted."
            self.tell(reason, message, self._where, count, reason)
