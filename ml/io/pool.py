"""Background threads that share the work on a stream of items, whose results come out in order."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Generic, TypeVar

from ml.io.lifetime import tell_after_fork
from ml.io.worker import LAST_JOIN_S

_log = logging.getLogger("ml")

_LISTEN_S = 0.5  # Python is deaf to a Ctrl-C that comes just before its thread goes to sleep

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class _Place(Generic[ItemT, ResultT]):
    """An item in line, and its result once there is one."""

    __slots__ = ("is_gone", "item", "result", "size_bytes")

    def __init__(self, item: ItemT, size_bytes: int) -> None:
        self.item, self.size_bytes = item, size_bytes
        self.result: ResultT | Exception | None = None
        self.is_gone = False


class OrderedPool(Generic[ItemT, ResultT]):
    """Works on items on several threads, and delivers the results in the order in which the items were submitted.

    What waits, is worked on, or waits for an earlier result is bounded in bytes. When there is no room, the oldest
    items that nobody works on yet are dropped and returned to the caller, which counts them; or the caller waits for
    room. The threads are daemons. After a fork the child's copy is inert.

    Args:
        name: Of the threads, with a number each: ``"ml-encode"``.
        workers: How many threads, at least 1.
        work: Makes the result of an item, which is not ``None``. What it raises is the result instead.
        deliver: Is given each item with its result, one after the other, on any of the threads. Must not raise.
        max_bytes: What may be held.
    """

    def __init__(
        self,
        name: str,
        workers: int,
        work: Callable[[ItemT], ResultT],
        deliver: Callable[[ItemT, ResultT | Exception], None],
        *,
        max_bytes: int,
    ) -> None:
        self.name, self.max_bytes = name, max_bytes
        self._work, self._deliver = work, deliver
        self._is_inert = False
        self._reset()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()
        tell_after_fork(self)

    def _reset(self) -> None:
        self._lock = RLock()  # entered itself, as in ``Worker``, for the sake of a Ctrl-C
        self._has_work = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)
        self._is_empty = threading.Condition(self._lock)
        self._line: deque[_Place[ItemT, ResultT]] = deque()  # in the order of submission
        self._waiting: deque[_Place[ItemT, ResultT]] = deque()  # those that nobody works on yet
        self._held_bytes = 0
        self._delivered: _Place[ItemT, ResultT] | None = None  # the one that is being delivered
        self._is_ending = self._is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether items are still taken: it was not told to stop, and is not a forked child's copy."""
        return not (self._is_inert or self._is_ending)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on one of its threads."""
        return threading.current_thread() in self._threads

    def submit(self, item: ItemT, *, size_bytes: int) -> list[ItemT]:
        """Puts an item in line. Never waits.

        Args:
            item: What ``work`` is given.
            size_bytes: What it counts for, at least 1.

        Returns:
            What was dropped, oldest first: maybe ``item`` itself, which is what happens after ``stop`` and in a
            forked child.
        """
        dropped = []
        with self._lock:
            if not self.is_alive or size_bytes > self.max_bytes:
                return [item]
            while self._held_bytes + size_bytes > self.max_bytes and self._waiting:
                oldest = self._waiting.popleft()
                oldest.is_gone = True
                self._held_bytes -= oldest.size_bytes
                dropped.append(oldest.item)
            if self._held_bytes + size_bytes > self.max_bytes:
                dropped.append(item)
            else:
                self._put(item, size_bytes)
            self._forget_gone()
        return dropped

    def submit_in_room(self, item: ItemT, *, size_bytes: int, timeout_s: float | None = None) -> bool:
        """Puts an item in line as soon as it would drop none.

        Args:
            item: What ``work`` is given.
            size_bytes: What it counts for, at least 1.
            timeout_s: How long it waits for room; ``None``: until there is some.

        Returns:
            Whether it is in line: ``False`` if there was no room in time, if it is larger than all there is, after
            ``stop``, and in a forked child.
        """

        def has_room() -> bool:
            return self._held_bytes + size_bytes <= self.max_bytes

        if size_bytes > self.max_bytes:
            return False
        with self._lock:
            # Nobody comes between the room and the item: several threads may wait for the same room.
            is_taken = self._wait_until(self._has_room, has_room, timeout_s) and self.is_alive
            if is_taken:
                self._put(item, size_bytes)
            self._has_room.notify()  # one is woken at a time, and what it leaves may be enough for the next one
        return is_taken

    def drain(self, timeout_s: float | None = None) -> bool:
        """Waits until everything submitted was delivered. False: not in time, or this is one of its own threads."""
        return not self.is_here and self._wait_until(self._is_empty, lambda: not self._line, timeout_s)

    def wind_down(self) -> None:
        """Takes nothing more: once everything is delivered the threads end. Does not wait for that."""
        with self._lock:
            self._is_ending = True
            self._has_work.notify_all()
            self._has_room.notify_all()

    def stop(self, timeout_s: float | None = None) -> list[ItemT]:
        """Takes nothing more, works on what is there as long as there is time, and has the threads end.

        Returns:
            What was not delivered in time, oldest first; it never will be. What is being delivered is not among it.
        """
        if self._is_inert:
            return []
        self.wind_down()
        self.drain(timeout_s)
        with self._lock:
            self._is_stopped = True
            left = [place.item for place in self._line if not place.is_gone and place is not self._delivered]
            self._line.clear()
            self._waiting.clear()
            self._held_bytes = 0
            for changed in (self._has_work, self._has_room, self._is_empty):
                changed.notify_all()
        if not self.is_here:
            end_s = time.monotonic() + LAST_JOIN_S
            for thread in self._threads:
                thread.join(max(0.0, end_s - time.monotonic()))
        return left

    def after_fork_in_child(self) -> None:
        """Makes this copy inert: its threads did not come along."""
        self._is_inert = True
        self._reset()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"{self.name} has threads of this process and cannot be pickled.")

    def _put(self, item: ItemT, size_bytes: int) -> None:
        place = _Place[ItemT, ResultT](item, size_bytes)
        self._line.append(place)
        self._waiting.append(place)
        self._held_bytes += size_bytes
        self._has_work.notify()

    def _wait_until(self, changed: threading.Condition, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while not condition() and not self._is_stopped and not self._is_inert:
                left_s = _LISTEN_S if end_s is None else end_s - time.monotonic()
                if left_s <= 0:
                    break
                changed.wait(min(left_s, _LISTEN_S))
            return condition() and not self._is_inert

    def _forget_gone(self) -> None:
        # Those in front were taken before any that could be dropped, so no result waits behind what goes here.
        while self._line and self._line[0].is_gone:
            self._line.popleft()
        if not self._line:
            self._is_empty.notify_all()

    # the threads

    def _run(self) -> None:
        while (place := self._take()) is not None:
            try:
                place.result = self._work(place.item)
            except Exception as error:
                place.result = error
            except BaseException as error:  # of a library, as SystemExit; the thread goes on
                place.result = RuntimeError(f"{type(error).__name__}: {error}")
            del place
            self._deliver_ready()

    def _take(self) -> _Place[ItemT, ResultT] | None:
        """Returns the next item to work on, when there is one; ``None`` when there will be none."""
        with self._lock:
            while not self._waiting:
                if self._is_ending:
                    return None
                self._has_work.wait()
            return self._waiting.popleft()

    def _deliver_ready(self) -> None:
        """Delivers what is first in line and done. One thread at a time does so; it looks again before it stops."""
        while True:
            with self._lock:
                self._forget_gone()
                if self._delivered is not None or not self._line or (result := self._line[0].result) is None:
                    return
                place = self._delivered = self._line[0]
            try:
                self._deliver(place.item, result)
            except BaseException:
                with suppress(Exception):  # a handler of logging that raises must not end the thread
                    _log.exception("%s: what it delivers to raised, which it must not.", self.name)
            finally:
                with self._lock:
                    self._delivered = None
                    if self._line and self._line[0] is place:  # unless ``stop`` came meanwhile
                        self._line.popleft()
                        self._held_bytes -= place.size_bytes
                        self._has_room.notify()
