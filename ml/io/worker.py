"""One background thread that handles items in order: bounded, woken by events, aware of fork and exit.

It is the only thread boundary on the way of a value. The thread is a daemon, so
a handler that blocks for ever never keeps the process alive; what is queued at
the end is handled by ``drain`` and ``stop``, which whoever owns the worker calls
from ``close`` and, through ``close_at_exit``, when the interpreter ends.
"""

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, get_ident
from threading import RLock as Lock
from typing import Generic, TypeVar

from ml.io.bounded import BoundedQueue
from ml.io.breath import Breath
from ml.io.lifetime import tell_after_fork

__all__ = ["Event", "Future", "Lock", "Worker", "get_ident"]

_log = logging.getLogger("ml")

LINGER_S = 0.05
"""How long a first item waits for company: one wake-up then serves many steps."""

LAST_JOIN_S = 0.5
"""How long a thread that was told to end is waited for after every deadline.

One that is still inside a C library when the interpreter goes away can abort the process.
"""

_LISTEN_S = 0.5

T = TypeVar("T")
ResultT = TypeVar("ResultT")


class Worker(Generic[T]):
    """Handles items one run at a time, in the order they were submitted.

    A run is one item, or several that were submitted with ``more=True`` and the
    one that followed them. The queue is bounded in bytes. When it is full the
    oldest droppable items make room, then the oldest others; what was dropped is
    returned to the caller, which counts it. ``submit`` never waits. After a fork
    the child's copy is inert.

    Args:
        name: The thread's name, for messages: ``"ml-json"``.
        handle: Handles a run. Returns ``None`` when it is done with it, or the
            seconds after which to be given the same run again; until then its
            items stay in the queue and may be dropped from it.
        max_bytes: What the queue may hold, the run being handled included.
        idle: Called between runs; returns the seconds after which it wants to be
            called again if nothing was submitted, or ``None``.
        finish: Called last, on the thread, after everything was handled or given up.
        linger_s: How long a first item waits for others.
        gather_bytes: Runs that wait are handled as one, up to this size; see ``BoundedQueue.take``.

    Attributes:
        thread_id: What ``get_ident()`` returns on the worker's thread.
        breathe: Called by a handler now and then: lets other threads have the interpreter once a millisecond.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[T]], float | None],
        *,
        max_bytes: int,
        idle: Callable[[], float | None] | None = None,
        finish: Callable[[], None] | None = None,
        linger_s: float = LINGER_S,
        gather_bytes: int = 0,
    ) -> None:
        self.name, self.max_bytes = name, max_bytes
        self._handle, self._idle, self._finish, self._linger_s = handle, idle, finish, linger_s
        self._gather_bytes = gather_bytes
        self._process = os.getpid()
        self._inert = False
        self._warned = False
        self.breathe = Breath()
        self._reset()
        self.thread_id: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self.thread_id = self._thread.ident
        tell_after_fork(self)

    def _reset(self) -> None:
        # The lock is entered, never the condition: a KeyboardInterrupt cannot come between taking a
        # lock and holding it, but it can inside of the condition's own methods, which are Python.
        self._lock = Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: BoundedQueue[T] = BoundedQueue(self.max_bytes)
        self._arrived: deque[tuple[T, int, bool, bool]] = deque()
        self._dropped: list[T] = []
        self._is_changing = self._is_asleep = self._retry_at_once = False
        self._wake_s = 0.0
        self._hurried = 0
        self._ending = self._stopping = self._gave_up = False

    @property
    def is_alive(self) -> bool:
        """Whether items are still taken: it was not told to end, and is not a forked child's copy."""
        return not (self._inert or self._ending or self._stopping)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on this worker's thread."""
        return self.thread_id == get_ident()

    @property
    def queued_bytes(self) -> int:
        """What the queue holds, the run being handled included."""
        return self._queue.size_bytes

    def submit(self, item: T, *, size_bytes: int, droppable: bool = False, more: bool = False) -> list[T]:
        """Queues an item. Never waits.

        Args:
            item: What ``handle`` is given.
            size_bytes: What it counts for. An item of size 0 is never dropped.
            droppable: Whether it goes before items that are not.
            more: Whether the next item belongs to the same run. The last item of a
                longer run is dropped only after the others.

        Returns:
            What was dropped, oldest first: maybe ``item`` itself, which is what
            happens after ``stop`` and in a forked child.
        """
        with self._lock:
            if not self.is_alive:
                self._warn_once()
                return [item]
            self._arrived.append((item, size_bytes, droppable, not more))
            self._take_in()
            return self._take_dropped()

    def shrink(self, max_bytes: int, *, only_droppable: bool = False) -> list[T]:
        """Drops the oldest droppable items, then the oldest others unless ``only_droppable``; returns them.

        It stops when the queue holds at most ``max_bytes``.
        """
        with self._lock:
            if not self._is_changing:
                with self._changing():
                    dropped = self._queue.shrink(max_bytes, only_droppable=only_droppable)
                    self._dropped += dropped
            return self._take_dropped()

    def wait_for_room(self, max_bytes: int, timeout_s: float | None = None) -> bool:
        """Waits until the queue holds at most ``max_bytes``. False: it does not, in time or ever."""
        self.wait_until(lambda: self.queued_bytes <= max_bytes or not self.is_alive, timeout_s)
        return self.queued_bytes <= max_bytes

    def wait_until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Waits until what is handled makes ``condition`` true, and has it handled soon. False: not in time."""
        with self._lock:
            self._hurried += 1
            self._changed.notify_all()
            try:
                # Also while it winds down: until the thread has ended, what was submitted is still handled.
                self._wait_until(lambda: condition() or self._stopping or self._inert, timeout_s)
            finally:
                self._hurried -= 1
            return condition()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Waits until everything submitted was handled; what could not be handled is retried at once, one time."""
        if self._inert:
            return False
        with self._lock:
            self._hurried += 1
            self._wake_s, self._retry_at_once = 0.0, self._queue.is_taken
            self._changed.notify_all()
            try:
                self._wait_until(lambda: self._is_empty or self._stopping, timeout_s)
                return self._is_empty and not self._gave_up
            finally:
                self._hurried -= 1

    def stop(self, timeout_s: float | None = None) -> list[T]:
        """Ends the worker and waits for its thread: ``end``, then ``join`` for what is left of the time, or 0.5 s.

        Returns:
            What was not handled in time, oldest first; it never will be.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        left = self.end(timeout_s)
        self.join(None if deadline_s is None else max(LAST_JOIN_S, deadline_s - time.monotonic()))
        return left

    def wind_down(self) -> None:
        """Takes nothing more: once everything is handled the thread ends. Does not wait for that.

        A run whose last item never came, as Ctrl-C was quicker, ends with those that did.
        """
        with self._lock:
            self._ending = True
            if not self._is_changing:
                with self._changing():
                    self._queue_arrived()
                    self._queue.end_run()
            self._changed.notify_all()

    def end(self, timeout_s: float | None = None) -> list[T]:
        """Handles what is queued, as long as there is time, then has the thread end.

        Returns:
            What was not handled in time, oldest first; it never will be.
        """
        if self._inert:
            return []
        self.wind_down()
        if not self.is_here:
            self.drain(timeout_s)
        with self._lock:
            self._stopping = True
            left = [*self._take_dropped(), *self._queue.clear()]
            self._gave_up = self._gave_up or bool(left)
            self._changed.notify_all()
        return left

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits until the thread that was told to ``end`` has; False: not in time, or this is that thread."""
        if self._inert or self.is_here:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def after_fork_in_child(self) -> None:
        """Makes this copy inert: its thread did not come along, its files are the parent's."""
        self._inert = True
        self._reset()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"{self.name} belongs to process {self._process} and cannot be pickled.")

    # the lock is held

    def _wait_until(self, condition: Callable[[], bool], timeout_s: float | None) -> None:
        """Waits, a while at a time: Python is deaf to a Ctrl-C that comes just before its thread goes to sleep."""
        end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not condition() and (left_s := end_s - time.monotonic()) > 0:
            self._changed.wait(min(left_s, _LISTEN_S))

    @property
    def _is_empty(self) -> bool:
        return self._queue.is_empty and not self._arrived

    def _take_in(self) -> None:
        """Queues what has arrived.

        A signal handler or a finalizer may submit in the middle of a change, on the
        same thread; what it brings is left to the change that is under way.
        """
        while self._arrived and not self._is_changing:
            try:  # as _changing has it, without a generator: it happens at every hand-over
                self._is_changing = True
                self._queue_arrived()
            finally:
                self._end_change()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._is_changing = True
        try:
            yield
            self._queue_arrived()
        finally:
            self._end_change()

    def _queue_arrived(self) -> None:
        while self._arrived:
            item, size_bytes, droppable, ends = self._arrived.popleft()
            dropped = self._queue.add(item, size_bytes, droppable=droppable, ends=ends)
            self._dropped += dropped  # apart: a signal handler that comes during the call takes the list away

    def _end_change(self) -> None:
        self._is_changing = False
        if self._is_asleep and self._queue.runs:
            if self._queue.runs == 1:
                self._wake_s = time.monotonic() + self._linger_s
            self._changed.notify_all()

    def _take_dropped(self) -> list[T]:
        dropped, self._dropped = self._dropped, []
        return dropped

    # the thread

    def _run(self) -> None:
        idle_s: float | None = None
        while True:
            with self._lock:
                self._wait(idle_s)
                if self._stopping:
                    break
                run: list[T] = []
                if self._queue.runs and self._is_time():
                    with self._changing():
                        run = self._queue.take(self._gather_bytes)
            if run:
                delay_s = self._call(partial(self._handle, run))
                with self._lock:
                    if self._stopping:
                        break
                    with self._changing():
                        self._settle(delay_s)
                del run
                self.breathe()
            is_idle = not self._queue.runs or idle_s is None or time.monotonic() >= idle_s
            if self._idle is not None and is_idle:
                wanted_s = self._call(self._idle)
                idle_s = None if wanted_s is None else time.monotonic() + wanted_s
        if self._finish is not None:
            self._call(self._finish)

    def _settle(self, delay_s: float | None) -> None:
        if delay_s is None:
            self._queue.done()
            self._wake_s = 0.0
        else:
            self._queue.put_back()
            self._wake_s = 0.0 if self._retry_at_once else time.monotonic() + delay_s
        self._retry_at_once = False
        self._changed.notify_all()

    def _call(self, function: Callable[[], ResultT]) -> ResultT | None:
        try:
            return function()
        except BaseException:
            with suppress(Exception):  # a handler of logging that raises must not end the thread
                _log.exception("%s: its handler raised, which it must not; what it held is lost.", self.name)
            return None

    def _wait(self, idle_s: float | None) -> None:
        while not self._stopping:
            now = time.monotonic()
            if self._ending and self._is_empty:
                self._stopping = True
                self._changed.notify_all()
                return
            if self._queue.runs and self._is_time():
                return
            if idle_s is not None and now >= idle_s:
                return
            deadlines = [idle_s] if idle_s is not None else []
            if self._queue.runs:
                deadlines.append(self._wake_s)
            self._is_asleep = not self._queue.runs
            self._changed.wait(min(deadlines) - now if deadlines else None)
            self._is_asleep = False
            self.breathe.rested()

    def _is_time(self) -> bool:
        now = time.monotonic()
        return now >= self._wake_s or (self._hurried > 0 and self._wake_s - now <= self._linger_s)

    def _warn_once(self) -> None:
        if self._inert and not self._warned:
            self._warned = True
            _log.warning(
                "%s belongs to process %d; a forked child cannot write. Log from the parent.", self.name, self._process
            )
