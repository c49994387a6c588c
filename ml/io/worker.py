"""One background thread that handles items in order: bounded, woken by events, aware of fork and exit.

It is the only thread boundary on the way of a value. The thread is a daemon, so
a handler that blocks for ever never keeps the process alive; what is queued at
the end is handled by ``drain`` and ``stop``, which whoever owns the worker calls
from ``close`` and, through ``close_at_exit``, when the interpreter ends.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Event
from threading import RLock as Lock
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

__all__ = ["Closeable", "Event", "ForkAware", "Lock", "Worker", "close_at_exit", "tell_after_fork"]

_log = logging.getLogger("ml")

LINGER_S = 0.05
"""How long a first item waits for company: one wake-up then serves many steps."""

_BUSY_S, _REST_S = 0.001, 0.0002
_LAST_JOIN_S = 0.5

T = TypeVar("T")
ResultT = TypeVar("ResultT")


class _Entry(Generic[T]):
    """An item in the queue. ``ends`` marks the last one of its run."""

    __slots__ = ("droppable", "ends", "in_flight", "item", "left", "size_bytes")

    def __init__(self, item: T, size_bytes: int, droppable: bool, ends: bool) -> None:
        self.item, self.size_bytes, self.droppable, self.ends = item, size_bytes, droppable, ends
        self.in_flight = False
        self.left = False


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
    ) -> None:
        self.name, self.max_bytes = name, max_bytes
        self._handle, self._idle, self._finish, self._linger_s = handle, idle, finish, linger_s
        self._process = os.getpid()
        self._inert = False
        self._warned = False
        self._rested_s = 0.0
        self._reset()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        tell_after_fork(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._entries: deque[_Entry[T]] = deque()
        self._droppable: deque[_Entry[T]] = deque()
        self._running: list[_Entry[T]] = []
        self._runs = 0
        self._run_is_open = False
        self._bytes = 0
        self._wake_s = 0.0
        self._hurried = 0
        self._stopping = False
        self._abandoned = False

    @property
    def is_alive(self) -> bool:
        """Whether items are still handled: not stopped, not a forked child's copy."""
        return not self._inert and not self._stopping

    @property
    def queued_bytes(self) -> int:
        """What the queue holds, the run being handled included."""
        return self._bytes

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
        with self._changed:
            if not self.is_alive:
                self._warn_once()
                return [item]
            droppable = droppable and (more or not self._run_is_open)
            dropped = self._make_room(self.max_bytes - size_bytes, droppable) if size_bytes else []
            if size_bytes and self._bytes + size_bytes > self.max_bytes:
                if not more:
                    self._end_run()
                return [*dropped, item]
            self._run_is_open = more
            entry = _Entry(item, size_bytes, droppable, not more)
            self._entries.append(entry)
            if droppable:
                self._droppable.append(entry)
            self._bytes += size_bytes
            if not more:
                self._complete_run()
            return dropped

    def shrink(self, max_bytes: int) -> list[T]:
        """Drops the oldest items until the queue holds at most ``max_bytes``; returns them."""
        with self._changed:
            return self._make_room(max_bytes, False)

    def wait_for_room(self, max_bytes: int, timeout_s: float | None = None) -> bool:
        """Waits until the queue holds at most ``max_bytes``. False: it does not, in time or ever."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._bytes <= max_bytes or not self.is_alive, timeout_s)
            finally:
                self._hurried -= 1
            return self._bytes <= max_bytes

    def drain(self, timeout_s: float | None = None) -> bool:
        """Waits until everything submitted was handled; a run that waits to be retried is retried at once."""
        if self._inert:
            return False
        with self._changed:
            self._hurried += 1
            self._wake_s = 0.0
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._entries and not self._running, timeout_s)
            finally:
                self._hurried -= 1

    def stop(self, timeout_s: float | None = None) -> list[T]:
        """Handles what is queued, then ends the thread.

        Returns:
            What was not handled in time, oldest first; it never will be.
        """
        if self._inert:
            return []
        own_thread = self._thread is threading.current_thread()
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        if not own_thread:
            self.drain(timeout_s)
        with self._changed:
            self._stopping = self._abandoned = True
            left = [entry.item for entry in (*self._running, *self._entries) if not entry.left]
            self._entries.clear()
            self._droppable.clear()
            self._changed.notify_all()
        if not own_thread:
            # A thread that is still inside a C library when the interpreter goes away can abort the process.
            self._thread.join(None if deadline_s is None else max(_LAST_JOIN_S, deadline_s - time.monotonic()))
        return left

    def breathe(self) -> None:
        """Called by a handler now and then: lets other threads have the interpreter once a millisecond."""
        if time.monotonic() - self._rested_s > _BUSY_S:
            time.sleep(_REST_S)
            self._rested_s = time.monotonic()

    def after_fork_in_child(self) -> None:
        """Makes this copy inert: its thread did not come along, its files are the parent's."""
        self._inert = True
        self._reset()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"{self.name} belongs to process {self._process} and cannot be pickled.")

    # the queue; the lock is held

    def _make_room(self, max_bytes: int, for_droppable: bool) -> list[T]:
        dropped = []
        while self._bytes > max_bytes and (entry := self._oldest(only_droppable=for_droppable)) is not None:
            self._forget(entry)
            dropped.append(entry.item)
        return dropped

    def _oldest(self, *, only_droppable: bool) -> _Entry[T] | None:
        while self._droppable and self._droppable[0].left:
            self._droppable.popleft()
        for entry in self._droppable:
            if not entry.left and not entry.in_flight:
                return entry
        if only_droppable:
            return None
        while self._entries and self._entries[0].left:
            self._entries.popleft()
        return next((entry for entry in self._entries if entry.size_bytes and not entry.left), None)

    def _forget(self, entry: _Entry[T]) -> None:
        entry.left = True
        self._bytes -= entry.size_bytes
        if entry.ends:  # the others of its run went before it
            self._runs -= 1

    def _end_run(self) -> None:
        """The last item of a run was dropped on arrival: what came before it ends the run."""
        self._run_is_open = False
        for entry in reversed(self._entries):
            if entry.ends:
                return
            if not entry.left:
                entry.ends = True
                self._complete_run()
                return

    def _complete_run(self) -> None:
        self._runs += 1
        if self._runs == 1 and not self._running:
            self._wake_s = time.monotonic() + self._linger_s
            self._changed.notify_all()

    def _take_run(self) -> list[_Entry[T]]:
        run: list[_Entry[T]] = []
        while self._entries:
            entry = self._entries.popleft()
            if entry.left:
                continue
            entry.in_flight = True
            run.append(entry)
            if entry.ends:
                break
        self._runs -= 1
        return run

    # the thread

    def _run(self) -> None:
        idle_s: float | None = None
        while True:
            with self._changed:
                self._wait(idle_s)
                if self._abandoned:
                    break
                self._running = run = self._take_run() if self._runs and self._is_time() else []
            if run:
                delay_s = self._call(partial(self._handle, [entry.item for entry in run]))
                with self._changed:
                    self._settle(run, delay_s)
                self.breathe()
            if self._idle is not None and (not self._runs or (idle_s is not None and time.monotonic() >= idle_s)):
                wanted_s = self._call(self._idle)
                idle_s = None if wanted_s is None else time.monotonic() + wanted_s
        if self._finish is not None:
            self._call(self._finish)

    def _call(self, function: Callable[[], ResultT]) -> ResultT | None:
        try:
            return function()
        except Exception:
            _log.exception("%s: its handler raised, which it must not; what it held is lost.", self.name)
            return None

    def _wait(self, idle_s: float | None) -> None:
        while not self._abandoned:
            now = time.monotonic()
            if self._runs and self._is_time():
                return
            if idle_s is not None and now >= idle_s:
                return
            deadlines = [idle_s] if idle_s is not None else []
            if self._runs:
                deadlines.append(self._wake_s)
            self._changed.wait(min(deadlines) - now if deadlines else None)
            self._rested_s = time.monotonic()

    def _is_time(self) -> bool:
        now = time.monotonic()
        return now >= self._wake_s or (self._hurried > 0 and self._wake_s - now <= self._linger_s)

    def _settle(self, run: list[_Entry[T]], delay_s: float | None) -> None:
        self._running = []
        if self._abandoned:
            return
        for entry in run:
            entry.in_flight = False
        if delay_s is None:
            for entry in run:
                entry.left = True
                self._bytes -= entry.size_bytes
            self._wake_s = 0.0
        else:
            self._entries.extendleft(reversed(run))
            self._runs += 1
            self._wake_s = time.monotonic() + delay_s
        self._changed.notify_all()

    def _warn_once(self) -> None:
        if self._inert and not self._warned:
            self._warned = True
            _log.warning(
                "%s belongs to process %d; a forked child cannot write. Log from the parent.", self.name, self._process
            )


class ForkAware(Protocol):
    """Something that must not go on as before in a forked child."""

    def after_fork_in_child(self) -> None: ...


class Closeable(Protocol):
    """Something that is to be closed before the interpreter ends."""

    def close(self) -> object: ...


# One entry of each hook for the whole process: Python has no way to take a fork hook back.
_fork_aware: WeakSet[ForkAware] = WeakSet()
_to_close: WeakSet[Closeable] = WeakSet()


def tell_after_fork(target: ForkAware) -> None:
    """Has ``after_fork_in_child`` called in every child that is forked while ``target`` lives."""
    _fork_aware.add(target)


def close_at_exit(target: Closeable) -> None:
    """Has ``close`` called when the interpreter ends, if ``target`` still lives.

    Threads cannot be started then any more, and other libraries' pools are gone:
    ``close`` may only wait for threads that run already.
    """
    _to_close.add(target)


def _after_fork_in_child() -> None:
    for target in list(_fork_aware):
        target.after_fork_in_child()


@atexit.register
def _close_all() -> None:
    for target in list(_to_close):
        try:
            target.close()
        except Exception:
            _log.exception("Closing %r at exit failed.", target)


os.register_at_fork(after_in_child=_after_fork_in_child)
