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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from threading import RLock as Lock
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

__all__ = ["Closeable", "Event", "ForkAware", "Lock", "Worker", "close_at_exit", "forget_at_exit", "tell_after_fork"]

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
        # The lock is entered, never the condition: a KeyboardInterrupt cannot come between taking a
        # lock and holding it, but it can inside of the condition's own methods, which are Python.
        self._lock = Lock()
        self._changed = threading.Condition(self._lock)
        self._arrived: deque[_Entry[T]] = deque()
        self._is_changing = self._is_asleep = self._retry_at_once = False
        self._entries: deque[_Entry[T]] = deque()
        self._left = 0  # entries that were dropped, and still stand in ``_entries``
        self._droppable: deque[_Entry[T]] = deque()
        self._others: deque[_Entry[T]] = deque()
        self._droppable_bytes = 0
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
    def is_here(self) -> bool:
        """Whether the caller runs on this worker's thread."""
        return self._thread is threading.current_thread()

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
        with self._lock:
            if not self.is_alive:
                self._warn_once()
                return [item]
            self._arrived.append(_Entry(item, size_bytes, droppable, not more))
            return self._change(self.max_bytes)

    def shrink(self, max_bytes: int, *, only_droppable: bool = False) -> list[T]:
        """Drops the oldest droppable items, then the oldest others unless ``only_droppable``; returns them.

        It stops when the queue holds at most ``max_bytes``.
        """
        with self._lock:
            return self._change(max_bytes, only_droppable=only_droppable)

    def wait_for_room(self, max_bytes: int, timeout_s: float | None = None) -> bool:
        """Waits until the queue holds at most ``max_bytes``. False: it does not, in time or ever."""
        with self._lock:
            self._hurried += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._bytes <= max_bytes or not self.is_alive, timeout_s)
            finally:
                self._hurried -= 1
            return self._bytes <= max_bytes

    def drain(self, timeout_s: float | None = None) -> bool:
        """Waits until everything submitted was handled; what could not be handled is retried at once, one time."""
        if self._inert:
            return False
        with self._lock:
            self._hurried += 1
            self._wake_s, self._retry_at_once = 0.0, bool(self._running)
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._is_empty or self._abandoned, timeout_s)
                return self._is_empty
            finally:
                self._hurried -= 1

    def stop(self, timeout_s: float | None = None) -> list[T]:
        """Handles what is queued, then ends the thread.

        Returns:
            What was not handled in time, oldest first; it never will be.
        """
        if self._inert:
            return []
        own_thread = self.is_here
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        if not own_thread:
            self.drain(timeout_s)
        with self._lock:
            self._stopping = self._abandoned = True
            left = [entry.item for entry in (*self._running, *self._entries) if not entry.left]
            for queue in (self._entries, self._droppable, self._others):
                queue.clear()
            self._left = 0
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

    @property
    def _is_empty(self) -> bool:
        return len(self._entries) == self._left and not self._running and not self._arrived

    def _change(self, max_bytes: int, *, only_droppable: bool = False) -> list[T]:
        """Drops what is above ``max_bytes``, takes in what has arrived, and returns what was dropped.

        A signal handler or a finalizer may submit in the middle of a change, on the
        same thread; what it brings is left to the call that is under way.
        """
        dropped: list[T] = []
        queues = (self._droppable,) if only_droppable else (self._droppable, self._others)
        while not self._is_changing:
            self._is_changing = True
            try:
                dropped += self._make_room(max_bytes, *queues)
                while self._arrived:
                    dropped += self._add(self._arrived.popleft())
            finally:
                self._is_changing = False
            if not self._arrived:
                break
        return dropped

    def _add(self, entry: _Entry[T]) -> list[T]:
        entry.droppable = entry.droppable and not (entry.ends and self._run_is_open)
        dropped: list[T] = []
        if entry.size_bytes:
            max_bytes = self.max_bytes - entry.size_bytes
            held = sum(other.size_bytes for other in self._running if other.droppable or not entry.droppable)
            loose = (self._droppable_bytes if entry.droppable else self._bytes) - held
            if self._bytes - loose > max_bytes:  # room cannot be made, so nothing is dropped for it
                if entry.ends:
                    self._end_run()
                return [entry.item]
            dropped = self._make_room(max_bytes, self._droppable, *(() if entry.droppable else (self._others,)))
        self._append(entry)
        return dropped

    def _append(self, entry: _Entry[T]) -> None:
        self._run_is_open = not entry.ends
        if entry.ends:
            self._runs += 1
        self._entries.append(entry)
        if entry.size_bytes:
            (self._droppable if entry.droppable else self._others).append(entry)
            self._bytes += entry.size_bytes
            self._droppable_bytes += entry.size_bytes if entry.droppable else 0
        if entry.ends:
            self._wake()

    def _make_room(self, max_bytes: int, *queues: deque[_Entry[T]]) -> list[T]:
        dropped = []
        for queue in queues:
            while self._bytes > max_bytes and (entry := self._oldest(queue)) is not None:
                dropped.append(entry.item)
                self._left += 1
                if entry.ends:  # the others of its run went before it
                    self._runs -= 1
                self._forget(entry)
        if self._left > 64 + len(self._entries) // 2:
            self._entries = deque(entry for entry in self._entries if not entry.left)
            self._left = 0
        return dropped

    def _oldest(self, queue: deque[_Entry[T]]) -> _Entry[T] | None:
        while queue and queue[0].left:
            queue.popleft()
        return next((entry for entry in queue if not entry.in_flight and not entry.left), None)

    def _forget(self, entry: _Entry[T]) -> None:
        entry.left = True
        del entry.item
        self._bytes -= entry.size_bytes
        self._droppable_bytes -= entry.size_bytes if entry.droppable else 0

    def _end_run(self) -> None:
        """The last item of a run was dropped on arrival: what came before it ends the run."""
        self._run_is_open = False
        for entry in reversed(self._entries):
            if entry.ends:
                return
            if not entry.left:
                entry.ends = True
                self._runs += 1
                self._wake()
                return

    def _wake(self) -> None:
        if self._is_asleep:
            if self._runs == 1:
                self._wake_s = time.monotonic() + self._linger_s
            self._changed.notify_all()

    def _take_run(self) -> list[_Entry[T]]:
        run: list[_Entry[T]] = []
        while self._entries:
            entry = self._entries.popleft()
            if entry.left:
                self._left -= 1
                continue
            entry.in_flight = True
            run.append(entry)
            if entry.ends:
                break
        self._runs -= 1
        return run

    def _settle(self, run: list[_Entry[T]], delay_s: float | None) -> None:
        if delay_s is None:
            for entry in run:
                self._forget(entry)
            for queue in (self._droppable, self._others):
                while queue and queue[0].left:
                    queue.popleft()
            self._wake_s = 0.0
        else:
            for entry in run:
                entry.in_flight = False
            self._entries.extendleft(reversed(run))
            self._runs += 1
            self._wake_s = 0.0 if self._retry_at_once else time.monotonic() + delay_s
        self._retry_at_once = False
        self._running = []
        self._changed.notify_all()

    @contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """The worker's own change of the queue. A finalizer may submit meanwhile; there is no one to tell of drops."""
        self._is_changing = True
        yield
        self._is_changing = False
        while self._arrived:
            self._append(self._arrived.popleft())

    # the thread

    def _run(self) -> None:
        idle_s: float | None = None
        while True:
            with self._lock:
                self._wait(idle_s)
                if self._abandoned:
                    break
                run: list[_Entry[T]] = []
                if self._runs and self._is_time():
                    with self._uninterrupted():
                        self._running = run = self._take_run()
            if run:
                delay_s = self._call(partial(self._handle, [entry.item for entry in run]))
                with self._lock:
                    if self._abandoned:
                        self._running = []
                        break
                    with self._uninterrupted():
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
        except BaseException:
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
            self._is_asleep = not self._runs
            self._changed.wait(min(deadlines) - now if deadlines else None)
            self._is_asleep = False
            self._rested_s = time.monotonic()

    def _is_time(self) -> bool:
        now = time.monotonic()
        return now >= self._wake_s or (self._hurried > 0 and self._wake_s - now <= self._linger_s)

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
_to_close: dict[Closeable, None] = {}


def tell_after_fork(target: ForkAware) -> None:
    """Has ``after_fork_in_child`` called in every child that is forked while ``target`` lives."""
    _fork_aware.add(target)


def close_at_exit(target: Closeable) -> None:
    """Has ``close`` called when the interpreter ends, unless ``forget_at_exit`` came first.

    It keeps ``target`` alive: what a function left open is closed too. Threads cannot be
    started then any more, and other libraries' pools are gone: ``close`` may only wait
    for threads that run already.
    """
    _to_close[target] = None


def forget_at_exit(target: Closeable) -> None:
    """Takes back ``close_at_exit``: the target is closed."""
    _to_close.pop(target, None)


def _after_fork_in_child() -> None:
    for target in list(_fork_aware):
        target.after_fork_in_child()


@atexit.register
def _close_all() -> None:
    for target in reversed(list(_to_close)):  # a run before the group that it writes to
        try:
            target.close()
        except Exception:
            _log.exception("Closing %r at exit failed.", target)


os.register_at_fork(after_in_child=_after_fork_in_child)
