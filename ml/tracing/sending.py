"""Brings traced inferences to where they are sent: from the database by way of a spool, each exactly once.

::

    spool/
      3f6c0b1d9a24e857/     of one destination
        destination         its URL
        lock                held by the process that sends
        ledger.db           which inferences are on their way, or have arrived
        queue/              batches on their way: ``ml.io.spool``

What was cut into batches arrives though the endpoint, this process, or the machine go down at any moment; what was not
is still in the database. The directory is the memory of what was sent: without it all is sent again, in other batches.
"""

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ml.core.errors import WriteError
from ml.io.atomic import write_atomically
from ml.io.files import make_directories
from ml.io.http_target import HttpTarget
from ml.io.lockfile import try_lock
from ml.io.spool import Spool
from ml.io.spool_sender import SpoolSender
from ml.tracing.archive import TraceTables, require_pyarrow
from ml.tracing.batches import INFERENCES_PER_BATCH, Batch, Cutter, Progress
from ml.tracing.destination import Destination, StoreTarget
from ml.tracing.ledger import Ledger

if TYPE_CHECKING:
    from ml.tracing.selection import Selection

MAX_SPOOL_BYTES: Final = 2**30
"""What waits in a spool: more is cut when some of it has arrived."""


class SpoolBusy(WriteError):  # noqa: N818  # it is what the spool is
    """Another process, or another thread of this one, sends from the spool."""


class UploadReport(NamedTuple):
    """What became of the chosen inferences.

    Attributes:
        sent: Arrived by this.
        already_there: Had arrived before.
        pending: Have not arrived. They are in the spool, or still in the database: sending again sends them.
        bytes: That were sent and arrived.
        refused: Will never be kept there: they are too large.
        problem: Why some are pending; empty: none is, or there was no time.
    """

    sent: int
    already_there: int
    pending: int
    bytes: int
    refused: int = 0
    problem: str = ""


def directory_of(spool: Path, destination: Destination) -> Path:
    """Returns where in a spool lies what is on its way to a destination."""
    return spool / hashlib.sha256(destination.url.encode()).hexdigest()[:16]


class TraceSender:
    """Sends inferences to one destination, while it holds the lock of its part of the spool. Used by one thread.

    Args:
        destination: Where to.
        spool: A directory on a disk of this machine; several destinations may share it.
        max_spool_bytes: What may wait.
        inferences_per_batch: At most.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        chance: Returns numbers from 0 to 1, for the pauses between attempts.

    Raises:
        ConfigError: The destination cannot be one, or a library is missing.
        WriteError: The spool cannot be opened.
        SpoolBusy: Somebody else sends from it.
    """

    def __init__(
        self,
        destination: Destination,
        spool: Path,
        *,
        max_spool_bytes: int = MAX_SPOOL_BYTES,
        inferences_per_batch: int = INFERENCES_PER_BATCH,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        require_pyarrow()
        self._destination, self._found = destination, set[str]()
        target = self._opened()
        self._max_spool_bytes, self._clock, self._sleep = max_spool_bytes, clock, sleep
        self._sent = self._bytes = self._there = self._refused = 0
        directory = directory_of(spool, destination)
        make_directories(directory)
        lock = try_lock(directory / "lock")
        if lock is None:
            raise SpoolBusy(f"Another process sends from {directory} already. Wait for it, or name another spool.")
        self._lock = lock
        try:
            write_atomically(directory / "destination", f"{target.url}\n".encode())
            self._ledger = Ledger(directory / "ledger.db")
            self._spool = Spool(directory / "queue", clock=clock)
            self._sender = SpoolSender(
                self._spool,
                target,
                self._opened,
                self,
                what="batches of traces",
                who="They are sent when something is sent from this spool again.",
                clock=clock,
                chance=chance,
            )
        except BaseException:
            lock.release()
            raise
        self._cutter = Cutter(self._ledger, self._put, self._has_room, inferences_per_batch=inferences_per_batch)

    def upload(self, traces: TraceTables, selection: "Selection", *, timeout_s: float) -> UploadReport:
        """Sends what was not sent yet, until all has arrived, the time is over, or the endpoint refuses.

        Raises:
            MLError: The traces cannot be read, or the spool cannot be written.
        """
        end_s = self._clock() + timeout_s
        sent, sent_bytes, there, arrived = self._sent, self._bytes, self._there, -1
        while True:
            progress = self.cut(traces, selection)
            arrived = progress.arrived if arrived < 0 else arrived
            refused = self._refused
            if not self.send(end_s) or not progress.waiting:
                break
        return UploadReport(
            sent=self._sent - sent,
            already_there=arrived + self._there - there,
            pending=self._ledger.waiting() + progress.waiting,
            bytes=self._bytes - sent_bytes,
            refused=progress.refused + self._refused - refused,
            problem=self._sender.problem,
        )

    def cut(self, traces: TraceTables, selection: "Selection") -> Progress:
        """Puts what is new into the spool, as far as it has room.

        Raises:
            MLError: The traces cannot be read, or the spool cannot be written.
        """
        if not self._spool.pending:  # what the disk has lost is cut anew
            self._ledger.forget(self._ledger.batches("spooled"))
        self._cutter.finish(traces, selection)
        return self._cutter.cut(traces, selection)

    def turn(self) -> float | None:
        """Sends what waits; returns the seconds after which to be called again. See ``SpoolSender.turn``."""
        return self._sender.turn()

    def send(self, end_s: float) -> bool:
        """Sends what waits until a moment of the clock, or the endpoint refuses. False: not all has arrived."""
        self._sender.hurry()
        while self._spool.pending and (left_s := end_s - self._clock()) > 0:
            pause_s = self._sender.turn() or 0.0
            if self._sender.stats.breaker == "open":
                break
            if self._spool.pending and pause_s:
                self._sleep(min(pause_s, left_s))
        return not self._spool.pending

    @property
    def progress(self) -> UploadReport:
        """What became of what was cut, since this was made; of others it knows nothing."""
        waiting = self._ledger.waiting()
        return UploadReport(self._sent, self._there, waiting, self._bytes, self._refused, self._sender.problem)

    def close(self) -> None:
        """Leaves what waits in the spool.

        Raises:
            WriteError: It is closed, but what waits may not survive a power cut.
        """
        try:
            self._sender.close()
        finally:
            self._ledger.close()
            self._lock.release()

    # what the spool's sender is told

    def is_wanted(self, key: str) -> bool:
        """Whether a batch is on its way, and not forgotten."""
        return self._ledger.state_of(key) in ("sealed", "spooled")

    def arrived(self, key: str, size_bytes: int) -> None:
        """Notes that a batch has arrived."""
        inferences = self._ledger.move(key, "arrived")
        if key in self._found:
            self._found.discard(key)
            self._there += inferences
        else:
            self._sent += inferences
            self._bytes += size_bytes if inferences else 0

    def refused(self, key: str) -> None:
        """Notes that a batch never will."""
        self._refused += self._ledger.move(key, "refused")

    def is_aside_full(self, aside_bytes: int) -> bool:
        """As full as the spool may be."""
        return aside_bytes > self._max_spool_bytes

    def _has_room(self) -> bool:
        return self._spool.pending_bytes < self._max_spool_bytes

    def _put(self, batch: Batch) -> None:
        self._spool.append([(batch.key, batch.data)])
        self._spool.sync()

    def _opened(self) -> "_Asking":
        return _Asking(self._destination.open(), self._found)


class _Asking:
    """A target that is sent only what it has not."""

    def __init__(self, target: HttpTarget | StoreTarget, found: set[str]) -> None:
        self._target, self._found = target, found

    @property
    def url(self) -> str:
        return self._target.url

    def create(self, key: str, data: bytes) -> bool:
        if not self._target.holds(key, data):
            return self._target.create(key, data)
        self._found.add(key)
        return True
