"""Carries messages of every rank to the primary one, through the store in which the ranks found one another.

No collective and no wait on the caller's thread: one thread a rank talks to the
store, over a connection of its own. The primary rank's messages never leave the
process. An *exchange* is one message of each rank under one name; the primary
rank settles it when all ranks have answered, or when its time is up. A rank that
missed three is not waited for until it answers again.
What the store holds, below a prefix for each restart of the job and each group of a process::

    used                some rank takes part: until then nobody asks for anything
    due                 "<name> <step>": the training step that is asked for; always the newest only
    <name>/<group>      "<rank> <message>" lines of up to 32 ranks; deleted three exchanges later
    <name>/count        how many of them there are
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from ml.io.breath import Breath
from ml.io.lifetime import tell_after_fork
from ml.io.rankstore import RankStore
from ml.io.worker import LAST_JOIN_S

_RANKS_PER_KEY = 32
_EXCHANGES_KEPT = 3
_MISSES_FORGIVEN = 3
_ASK_USED_EVERY_S = 1.0
_FRESH_S, _COLLECT_EVERY_S = 0.5, 0.005


class Announcement(NamedTuple):
    """An exchange about one training step, which every rank answers when it has passed that step."""

    name: str
    step: int


@dataclass
class _Exchange:
    """What the primary rank has of an exchange that is not settled."""

    own: Callable[[], str]
    deadline_s: float
    began_s: float = field(default_factory=time.monotonic)
    count: int = 0
    messages: dict[int, str] = field(default_factory=dict)


class Ranks:
    """One rank's end of the exchanges of a group. No method but ``stop`` waits; making it asks the store once.

    A store that fails, or whose host is gone, is given up: the primary rank then settles every
    exchange with what it has, the others fall silent. After a fork the child's copy is inert.

    Args:
        store: What the ranks share.
        rank: This process among ``world_size``.
        primary_rank: Who collects.
        world_size: How many ranks there are.
        settled: Called on the primary rank with the name of an exchange and its messages by rank,
            on the thread here; it must not raise.
        failed: Called once, with what ended the connection.
        environ: Says how often the job was restarted.

    Attributes:
        announced: The newest announcement that this rank has heard of.
        is_used: Whether any rank takes part, as far as this one knows.
        breathe: Called by ``settled`` now and then: lets other threads have the interpreter once a millisecond.
    """

    def __init__(
        self,
        store: RankStore,
        *,
        rank: int,
        primary_rank: int,
        world_size: int,
        settled: Callable[[str, Mapping[int, str]], None],
        failed: Callable[[Exception], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        self._is_primary = rank == primary_rank
        self._settled, self._failed = settled, failed
        self.poll_s = max(0.05, world_size / 4096)
        self.announced: Announcement | None = None
        self.is_used = self._is_lost = self._is_stopping = self._is_inert = False
        self._jobs: deque[Callable[[], None]] = deque()
        self._exchanges: dict[str, _Exchange] = {}
        self._misses = {other: 0 for other in range(world_size) if other != rank}
        self._done: deque[str] = deque()
        self._announcements = 0
        self.breathe = Breath()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._prefix = f"ml/ranks/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        self._attempt(self._join)
        tell_after_fork(self)
        if self._is_primary:
            self._start()

    def use(self) -> None:
        """This rank takes part from now on. Again does nothing."""
        if not self.is_used:
            self.is_used = True
            self._do(lambda: self._store.set(f"{self._prefix}/used", "1"))

    def announce(self, step: int) -> None:
        """Asks every rank for a message about ``step``: the primary rank's to call."""
        if self._is_inert:
            return
        self._announcements += 1
        announced = self.announced = Announcement(f"train/{self._announcements}", step)
        self._do(lambda: self._store.set(f"{self._prefix}/due", f"{announced.name} {announced.step}"))

    def send(self, name: str, message: Callable[[], str], *, wait_s: float) -> None:
        """Gives this rank's message of an exchange.

        Args:
            name: Of the exchange: ``<kind>/<number>``. Those of one kind are settled in order.
            message: Makes a text without line breaks, on the thread here: it may wait; it must not raise.
            wait_s: How long the primary rank waits for the others.
        """
        if self._is_inert or self._is_stopping:
            return
        if self._is_primary:
            self._exchanges[name] = _Exchange(message, time.monotonic() + wait_s)
            self._wake.set()
        else:
            self._do(partial(self._append, name, message))

    def stop(self, timeout_s: float) -> None:
        """Sends what was given, and ends; waits at most half a second longer than ``timeout_s``, whatever hangs.

        The primary rank waits for others' messages, but not longer than ``timeout_s``.
        """
        if self._is_stopping or self._is_inert:
            return
        deadline_s = time.monotonic() + timeout_s
        for exchange in list(self._exchanges.values()):
            exchange.deadline_s = min(exchange.deadline_s, deadline_s)
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None:
            # It must not be inside of the store's library when the interpreter goes away: that aborts the process.
            self._thread.join(timeout_s + LAST_JOIN_S / 2)
        if self._exchanges:  # the store does not answer, nor may the device that a message waits for
            with suppress(RuntimeError):  # the interpreter ends
                last = threading.Thread(target=self._settle_all, name="ml-ranks-last", daemon=True)
                last.start()
                last.join(LAST_JOIN_S / 2)

    def after_fork_in_child(self) -> None:
        """Leaves the store to the parent."""
        self._is_inert = True

    def _do(self, job: Callable[[], None]) -> None:
        if self._is_inert or self._is_stopping or self._is_lost:
            return
        self._jobs.append(job)
        if self._thread is None:
            self._start()
        self._wake.set()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ml-ranks", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the interpreter ends
            self._thread = None
            self._lose(error)

    # the thread

    def _run(self) -> None:
        self._attempt(self._connect)
        while True:
            stopping = self._is_stopping  # what was given before it was set is still sent
            while self._jobs and not self._is_lost:
                self._attempt(self._jobs.popleft())
            self._attempt(self._listen)
            self._collect_all()
            if stopping and not self._exchanges:
                break
            if self._is_lost and not self._is_primary:
                break
            self._wake.wait(self._pause_s())
            self._wake.clear()
        del self._store

    def _attempt(self, job: Callable[[], None]) -> None:
        if not self._is_lost:
            try:
                job()
            except Exception as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        if not self._is_lost:
            self._is_lost = True
            if not self._is_stopping:  # at the end, whoever hosts the store may be gone already
                self._failed(error)

    def _join(self) -> None:
        """Tells several groups of one process apart: every rank starts them in the same order."""
        self._prefix += f"/{self._store.add(f'{self._prefix}/groups/{self._rank}', 1)}"

    def _connect(self) -> None:
        self._store = self._store.clone()

    def _append(self, name: str, message: Callable[[], str]) -> None:
        self._store.append(f"{self._prefix}/{name}/{self._rank // _RANKS_PER_KEY}", f"{self._rank} {message()}\n")
        self._store.add(f"{self._prefix}/{name}/count", 1)

    def _listen(self) -> None:
        if self._is_primary:
            self.is_used = self.is_used or self._store.check([f"{self._prefix}/used"])
        elif self._store.check([f"{self._prefix}/due"]):
            name, step = self._store.get(f"{self._prefix}/due").decode().split()
            if self.announced is None or self.announced.name != name:
                self.announced = Announcement(name, int(step))

    def _pause_s(self) -> float | None:
        if not self._is_primary:
            return self.poll_s
        if self._exchanges:
            began_s = max((exchange.began_s for exchange in list(self._exchanges.values())), default=0.0)
            is_fresh = time.monotonic() - began_s < _FRESH_S
            return _COLLECT_EVERY_S * (1 + self._world_size / 128) if is_fresh else self.poll_s
        return None if self.is_used or self._is_lost else _ASK_USED_EVERY_S

    def _collect_all(self) -> None:
        """Settles what can be; of exchanges of one kind, in the order in which they began."""
        open_kinds = set()
        for name, exchange in list(self._exchanges.items()):
            kind = name.partition("/")[0]
            if kind not in open_kinds and not self._collect(name, exchange):
                open_kinds.add(kind)

    def _collect(self, name: str, exchange: _Exchange) -> bool:
        expected = {rank for rank, misses in self._misses.items() if misses < _MISSES_FORGIVEN}
        is_over = time.monotonic() >= exchange.deadline_s
        self._attempt(partial(self._receive, name, exchange, 1 if is_over else len(expected)))
        if is_over or self._is_lost or expected <= exchange.messages.keys():
            self._attempt(partial(self._forget_later, name))
            self._settle(name)
            return True
        return False

    def _receive(self, name: str, exchange: _Exchange, at_least: int) -> None:
        """Reads the messages, once there may be enough of them."""
        count = self._store.add(f"{self._prefix}/{name}/count", 0)
        if count > exchange.count and count >= at_least:
            exchange.count = count
            exchange.messages.update(self._messages(name))

    def _messages(self, name: str) -> dict[int, str]:
        messages: dict[int, str] = {}
        for key in self._keys(name):
            if self._store.check([key]):  # or getting it would wait
                for line in self._store.get(key).decode().split("\n")[:-1]:
                    rank, _, text = line.partition(" ")
                    messages[int(rank)] = text
        return messages

    def _settle(self, name: str) -> None:
        exchange = self._exchanges.pop(name, None)
        if exchange is None:
            return  # the other of two threads was faster
        for rank in self._misses:
            self._misses[rank] = 0 if rank in exchange.messages else self._misses[rank] + 1
        exchange.messages[self._rank] = exchange.own()
        self._settled(name, exchange.messages)

    def _settle_all(self) -> None:
        for name in list(self._exchanges):
            self._settle(name)

    def _forget_later(self, name: str) -> None:
        """Deletes what is three exchanges old; who answered that one late is there again."""
        self._done.append(name)
        if len(self._done) <= _EXCHANGES_KEPT:
            return
        oldest = self._done.popleft()
        if max(self._misses.values()) >= _MISSES_FORGIVEN:
            self._misses.update(dict.fromkeys(self._messages(oldest).keys() & self._misses.keys(), 0))
        for key in (f"{self._prefix}/{oldest}/count", *self._keys(oldest)):
            self._store.delete_key(key)

    def _keys(self, name: str) -> list[str]:
        groups = (self._world_size - 1) // _RANKS_PER_KEY + 1
        return [f"{self._prefix}/{name}/{group}" for group in range(groups)]
