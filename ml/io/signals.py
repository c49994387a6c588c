"""Signals that are heeded before they act: what was there before acts afterwards."""

import os
import signal
import time
from collections.abc import Callable
from functools import cache
from threading import current_thread, get_ident, local, main_thread
from types import FrameType

from ml.io.worker import Worker

_AGAIN_S = 0.1
"""A signal that comes just before a thread sleeps in the kernel is heard when it wakes up: it is sent again."""


class Handler:
    """A handler of one signal that knows what it stands in for.

    Args:
        number: The signal.
        handle: What is called, on the main thread, between any two instructions of it.
    """

    def __init__(self, number: int, handle: Callable[[int, FrameType | None], None]) -> None:
        self._number, self._handle = number, handle
        self._before = signal.getsignal(number)

    @property
    def ends_process(self) -> bool:
        """Whether the signal ends the process when nothing stands in for it."""
        return self._before is signal.SIG_DFL

    def check(self) -> None:
        """Finds out whether the handler can be installed here.

        Raises:
            ValueError: This is not the main thread, where alone Python has signals, or what is there was not
                set by Python and could not be put back.
        """
        if current_thread() is not main_thread():
            raise ValueError("signals are handled in the main thread, and this is another one")
        if self._before is None:
            raise ValueError("the handler that is there was not set by Python")

    def install(self) -> None:
        """Puts the handler in place; raises what ``check`` raises."""
        self.check()
        signal.signal(self._number, self._handle)

    def restore(self) -> None:
        """Puts back what was there before, unless something else has been put there since: it may call this one."""
        if signal.getsignal(self._number) == self._handle:
            signal.signal(self._number, self._before)

    def act_as_before(self, frame: FrameType | None) -> None:
        """Does what the signal did before; called by ``handle``."""
        if callable(self._before):
            self._before(self._number, frame)
        elif self.ends_process:
            signal.signal(self._number, signal.SIG_DFL)
            os.kill(os.getpid(), self._number)


class Sigterm:
    """Has something done when a SIGTERM comes, before it acts as it did before.

    The handler may interrupt the main thread anywhere, inside of a write too, where it
    holds locks. So it only wakes a thread, which waits already and does the work while
    the main thread goes on; then that thread sends the signal once more, and it acts as
    before: it ends the process, with the status of a SIGTERM, or calls the handler that
    was there. One that comes meanwhile acts at once; so does one in a forked child.

    As with every handler of Python, a main thread that stands inside of a C function
    which no signal interrupts hears of it when that function returns.

    Args:
        prepare: What is done, on a thread of its own; it must not raise.

    Raises:
        ValueError: See ``Handler.check``.
    """

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._came = False
        self._process = os.getpid()
        self._main_thread = get_ident()
        self._handler = Handler(signal.SIGTERM, self._note)
        self._handler.check()
        _hold_back_in_forks()
        self._worker: Worker[None] = Worker("ml-sigterm", self._work, max_bytes=1, linger_s=0.0)
        self._handler.install()

    @staticmethod
    def check() -> None:
        """Raises the ``ValueError`` that making one here would raise."""
        Handler(signal.SIGTERM, lambda number, frame: None).check()

    @property
    def ends_process(self) -> bool:
        """Whether the process ends when ``prepare`` has returned."""
        return self._handler.ends_process

    def close(self) -> None:
        """From now on the signal acts as before; on another thread than the main one, through a handler that stays."""
        self._worker.end(0.0)
        if get_ident() == self._main_thread:
            self._handler.restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        came, self._came = self._came, True
        if came or not self._worker.is_alive or os.getpid() != self._process:
            self._came = False
            self._handler.act_as_before(frame)
        else:
            self._worker.submit(None, size_bytes=0)

    def _work(self, requests: list[None]) -> None:
        try:
            self._prepare()
        finally:
            while self._came:  # else another one came meanwhile, and has acted
                signal.pthread_kill(self._main_thread, signal.SIGTERM)
                time.sleep(_AGAIN_S)


@cache
def _hold_back_in_forks() -> None:
    """Lets a SIGTERM wait while a thread forks: one that reaches a child before Python is ready there is forgotten."""
    mask = local()

    def block() -> None:
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=restore)
