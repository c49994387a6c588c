"""One thread for everything that is read now and then: CPU, memory, power, of all measured calls side by side.

::

    subscription = process_sampler().subscribe(1.0, read)     # read() in 1 s, 2 s, 3 s ...
    ...
    subscription.stop()                                       # read is not running, and will not run again

Times do not drift: each is a whole number of intervals after the first. What is overrun is left out, never made up
for. The thread starts with the first subscription and ends ``LINGER_S`` after the last. It is a daemon, and told to
end when the interpreter does. After a fork the child's copy has no subscriptions, and starts a thread of its own when
it gets one.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ml.io.breath import Breath
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.worker import LAST_JOIN_S

LINGER_S = 1.0
"""How long the thread waits for a next subscription: calls in close succession start it once."""

SLOW_S = 0.25
"""From here on a callable is slow: it then rests ten times as long as it took, as the others wait for it."""

STUCK_S = 1.0
"""How long ``stop`` waits for a running callable. One that takes longer keeps its thread, the others get a new one."""

SHORTEST_S, LONGEST_S = 1e-4, 1e8
"""The ends of what an interval may be; the latter, three years, is never. No thread can sleep for 300 years."""

_REST = 10.0

_log = logging.getLogger("ml")


def next_time(first_s: float, interval_s: float, now_s: float) -> float:
    """Returns the first moment after ``now_s`` that lies a whole number of intervals after ``first_s``."""
    count = math.floor((now_s - first_s) / interval_s) + 1
    due_s = first_s + count * interval_s
    return due_s if due_s > now_s else due_s + interval_s  # rounding may give the moment itself


def rest_s(took_s: float) -> float:
    """Returns how long a callable that took so long is left alone, beyond its interval."""
    return _REST * took_s if took_s >= SLOW_S else 0.0


class Subscription:
    """A callable that is called at an interval, until ``stop``.

    Attributes:
        name: Of what is read, for messages.
        count: How often it was called.
        missed: How many times were left out, as it or another one took too long.
    """

    __slots__ = ("_call", "_due_s", "_first_s", "_interval_s", "_sampler", "_told", "count", "missed", "name")

    def __init__(
        self, sampler: "Sampler", interval_s: float, call: Callable[[], None], name: str, first_s: float
    ) -> None:
        self._sampler, self._interval_s, self._call, self.name = sampler, interval_s, call, name
        self._first_s = self._due_s = time.monotonic() + first_s
        self._told: set[str] = set()
        self.count = self.missed = 0

    def stop(self, timeout_s: float = STUCK_S) -> bool:
        """Ends it, now: a callable that is asleep is not waited for, one that is running is.

        Returns:
            Whether the callable is not running, and will not run again. False: it is stuck.
        """
        return self._sampler._stop(self, timeout_s)


class Sampler:
    """Calls what has subscribed, one at a time, on a thread of its own; see the top of the module.

    A callable that raises or is slow costs itself alone: it is told once, and the others go on. Between two of them
    the thread rests, so that it never keeps the interpreter for longer than one takes.
    """

    def __init__(self) -> None:
        self._reset()
        tell_after_fork(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._subscriptions: dict[Subscription, None] = {}
        self._thread: threading.Thread | None = None
        self._running: Subscription | None = None
        self._stuck: set[Subscription] = set()
        self._running_since_s = self._idle_since_s = 0.0
        self._wake_s = -math.inf  # when the thread looks by itself: -inf while it is awake
        self._cost_s = 0.0

    @property
    def cost_s(self) -> float:
        """CPU seconds that all sampling of this process has taken."""
        return self._cost_s

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the sampler's thread."""
        return threading.current_thread() is self._thread

    def subscribe(
        self, interval_s: float, call: Callable[[], None], name: str = "", *, first_s: float | None = None
    ) -> Subscription:
        """Has ``call`` called at an interval.

        Args:
            interval_s: Above 0; taken for ``SHORTEST_S`` if it is shorter, and for ``LONGEST_S`` if it is longer.
            call: Does not block.
            name: Of what it reads, for messages.
            first_s: Seconds until the first call; by default ``interval_s``.

        Raises:
            ValueError: The interval is not above 0.
        """
        if not interval_s > 0:
            raise ValueError(f"An interval is above 0 seconds, got {interval_s!r}.")
        name = name or getattr(call, "__qualname__", repr(call))
        interval_s = min(max(interval_s, SHORTEST_S), LONGEST_S)
        first_s = interval_s if first_s is None else min(first_s, LONGEST_S)
        subscription = Subscription(self, interval_s, call, name, first_s)
        with self._lock:
            self._subscriptions[subscription] = None
            if self._is_stuck():
                self._abandon()
            if self._thread is None:
                self._start()
            elif subscription._due_s < self._wake_s:
                self._changed.notify_all()
        return subscription

    def close(self) -> None:
        """Ends the thread, also with subscriptions; they are not called any more. A next one starts it anew."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._subscriptions.clear()
            self._changed.notify_all()
        forget_at_exit(self)
        if thread is not None and thread is not threading.current_thread():
            thread.join(LAST_JOIN_S)

    def after_fork_in_child(self) -> None:
        """Forgets everything: the thread did not come along."""
        forget_at_exit(self)
        self._reset()

    # the lock is held

    @property
    def _running_for_s(self) -> float:
        return time.monotonic() - self._running_since_s

    def _is_stuck(self) -> bool:
        return self._running is not None and self._running_for_s > STUCK_S

    def _abandon(self) -> None:
        """Leaves the thread to the callable that does not return: if it ever does, both end."""
        assert self._running is not None
        stuck, self._running, self._thread = self._running, None, None
        self._subscriptions.pop(stuck, None)
        self._stuck.add(stuck)
        _warn("Reading %s has not returned for %.1f s: it is not read any more.", stuck.name, self._running_for_s)

    def _start(self) -> None:
        self._wake_s = -math.inf
        self._thread = threading.Thread(target=self._run, name="ml-sampler", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the interpreter is ending
            self._thread = None
            self._subscriptions.clear()
            _log.debug("Nothing is sampled any more: %s", error)
            return
        close_at_exit(self)

    def _stop(self, subscription: Subscription, timeout_s: float) -> bool:
        with self._lock:
            self._subscriptions.pop(subscription, None)
            if not self._subscriptions:
                self._idle_since_s = time.monotonic()
            if self._running is not subscription or self.is_here:
                return subscription not in self._stuck
            end_s = time.monotonic() + timeout_s
            while self._running is subscription and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            if self._running is not subscription:
                return True
            self._abandon()
            if self._subscriptions:
                self._start()
            else:
                forget_at_exit(self)
        return False

    # the thread

    def _run(self) -> None:
        me, breathe = threading.current_thread(), Breath()
        before_s = time.thread_time()
        while True:
            with self._lock:
                self._cost_s += (now_s := time.thread_time()) - before_s
                before_s = now_s
                subscription = self._wait(me, breathe)
                if subscription is None:
                    return
                self._running, self._running_since_s = subscription, time.monotonic()
            error = self._call(subscription)
            with self._lock:
                if self._thread is not me:
                    self._stuck.discard(subscription)
                    return
                took_s = self._running_for_s
                self._running = None
                self._plan(subscription, took_s)
                self._changed.notify_all()
            _tell(subscription, error, took_s)
            del subscription  # what it reads is not kept alive by a thread that sleeps
            breathe()

    def _wait(self, me: threading.Thread, breathe: Breath) -> Subscription | None:
        """Returns what is due, when it is; ``None`` when the thread is to end."""
        while self._thread is me:
            now_s = time.monotonic()
            if self._subscriptions:
                due_s = min(map(_due, self._subscriptions))
                if due_s <= now_s:
                    self._wake_s = -math.inf
                    return min(self._subscriptions, key=_due)
                self._wake_s = due_s
            else:
                self._wake_s = self._idle_since_s + LINGER_S
                if self._wake_s <= now_s:
                    self._thread = None
                    forget_at_exit(self)
                    return None
            self._changed.wait(self._wake_s - now_s)
            breathe.rested()
        return None

    @staticmethod
    def _call(subscription: Subscription) -> BaseException | None:
        try:
            subscription._call()
        except BaseException as error:
            return error
        return None

    @staticmethod
    def _plan(subscription: Subscription, took_s: float) -> None:
        subscription.count += 1
        due_s = next_time(subscription._first_s, subscription._interval_s, time.monotonic() + rest_s(took_s))
        subscription.missed += round((due_s - subscription._due_s) / subscription._interval_s) - 1
        subscription._due_s = due_s


def _due(subscription: Subscription) -> float:
    return subscription._due_s


def _warn(message: str, *arguments: object) -> None:
    with suppress(Exception):  # a handler of logging that raises must end neither the thread nor a call
        _log.warning(message, *arguments)


def _tell(subscription: Subscription, error: BaseException | None, took_s: float) -> None:
    if error is not None and "error" not in subscription._told:
        subscription._told.add("error")
        _warn("Reading %s failed; it is tried again: %r", subscription.name, error)
    if took_s >= SLOW_S and "slow" not in subscription._told:
        subscription._told.add("slow")
        _warn("Reading %s took %.2f s, which the others wait for: it is read less often.", subscription.name, took_s)


_SAMPLER = Sampler()


def process_sampler() -> Sampler:
    """Returns the sampler of this process."""
    return _SAMPLER
