"""Calls that wait for somebody else, such as a server: several at a time, their results collected by one thread."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from ml.io.lifetime import tell_after_fork
from ml.io.worker import LAST_JOIN_S

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class CallPool(Generic[ItemT, ResultT]):
    """Makes one call for each item, each on a thread of its own; whoever starts them also collects what came of them.

    The threads are daemons, made when they are needed: a call that never returns keeps no process alive. It is used by
    one thread. After a fork the child's copy is inert.

    Args:
        name: Of the threads, with a number each: ``"ml-upload"``.
        call: Is given an item. What it raises is the result instead.

    Attributes:
        under_way: How many calls were started, and not collected yet.
    """

    def __init__(self, name: str, call: Callable[[ItemT], ResultT]) -> None:
        self.under_way = 0
        self._name, self._call = name, call
        self._threads: list[threading.Thread] = []
        self._reset()
        tell_after_fork(self)

    def _reset(self) -> None:
        self._started: SimpleQueue[ItemT | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[ItemT, ResultT | Exception]] = SimpleQueue()

    def start(self, item: ItemT) -> None:
        """Starts a call, beside those that are under way.

        Where no more threads can be started it waits for one that there is; where there is none, it has failed.
        """
        if self.under_way >= len(self._threads):
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many, or the interpreter ends
                if not self._threads:
                    self._ended.put((item, error))
                    self.under_way += 1
                    return
            else:
                self._threads.append(thread)
        self.under_way += 1
        self._started.put(item)

    def collect(self, timeout_s: float) -> tuple[ItemT, ResultT | Exception] | None:
        """Returns an item whose call has ended, and its result; ``None``: none has in that time, or is under way."""
        if not self.under_way:
            return None
        try:
            ended = self._ended.get(timeout=timeout_s)
        except Empty:
            return None
        self.under_way -= 1
        return ended

    def stop(self) -> None:
        """Has the threads end that are not inside of a call, and waits a moment. Nothing is started any more."""
        for _ in self._threads:
            self._started.put(None)
        end_s = time.monotonic() + LAST_JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def after_fork_in_child(self) -> None:
        """Forgets the threads, which did not come along."""
        self.under_way = 0
        self._threads = []
        self._reset()

    # the threads

    def _run(self) -> None:
        while (item := self._started.get()) is not None:
            result: ResultT | Exception
            try:
                result = self._call(item)
            except Exception as error:
                result = error
            except BaseException as error:  # of a library, as SystemExit; the thread goes on
                result = RuntimeError(f"{type(error).__name__}: {error}")
            self._ended.put((item, result))
            del item, result
