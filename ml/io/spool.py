"""A durable queue on disk, of keyed records on their way to one destination.

::

    spool/
      01767323045000000000-4711-9f3c/     what one process appended; see ``ml.io.spool_queue``
      01767326645000000000-4712-07ab/     another one's
      damaged/                            segments of which a part could not be read

Any number of processes may share the directory. Each appends to a queue of its own,
whose lock it holds while it lives. What a process leaves when it ends, however it
ends, is taken over by the others, and by the next one that starts.
"""

import logging
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import ClosedError, WriteError
from ml.io.fileops import OPS, FileOps
from ml.io.files import explained, make_directories
from ml.io.frames import FRAME_BYTES
from ml.io.journal import JournalWriter
from ml.io.lockfile import LockFile, try_lock
from ml.io.spool_queue import LOCK_NAME, Spooled, SpoolQueue, encode_entry

__all__ = ["LOOK_EVERY_S", "Spool", "Spooled"]

_log = logging.getLogger("ml")

SEGMENT_BYTES = 16 * 2**20
"""What is kept of records that are done, at most: a segment goes when all of it is done."""

LOOK_EVERY_S = 30.0
"""How often it is looked for queues of processes that have died."""

_MAX_ADOPTED = 32  # at a time: each takes an open file
_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]{8}")


class _Own(NamedTuple):
    lock: LockFile
    writer: JournalWriter
    queue: SpoolQueue


class _Adopted(NamedTuple):
    lock: LockFile
    queue: SpoolQueue


class Spool:
    """Takes records, and hands out those that wait: this process's, and before them what others have left.

    What ``append`` took survives the death of the process, what ``sync`` returned from survives a power cut. A record
    that was handed out and was not ``done`` when the process died is handed out again, by whoever adopts the queue.
    What is handed out is read back from the disk: a backlog takes no memory, whatever its size. It is used by one
    thread. In a forked child it does nothing.

    Args:
        directory: Where the queues lie, made if need be; on a file system that has locks.
        segment_bytes: When a segment has grown to this, the next one is begun.
        clock: Monotonic seconds.
        wall_clock: Unix seconds; queues are adopted in the order of their birth.
        ops: The calls to the operating system.

    Attributes:
        directory: Where the queues lie.

    Raises:
        WriteError: The directory cannot be made, or read.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        ops: FileOps = OPS,
    ) -> None:
        self.directory = directory = Path(os.path.abspath(directory))  # also when the process moves on elsewhere
        self._segment_bytes, self._clock, self._wall_clock, self._ops = segment_bytes, clock, wall_clock, ops
        self._process = os.getpid()
        self._own: _Own | None = None
        self._adopted: list[_Adopted] = []  # those that are read first come first
        self._left: list[LockFile] = []  # of queues that could not be removed: not to be adopted again and again
        self._damaged = 0  # in queues that are gone
        self._is_closed = False
        make_directories(directory, ops=ops)
        self._look_s = clock()
        self._adopt()

    @property
    def pending(self) -> int:
        """How many records wait, those included that were handed out and are not done.

        Of what others have left, it counts the queues that were taken over: a few dozen at a time.
        """
        return sum(queue.pending for queue in self._queues())

    @property
    def pending_bytes(self) -> int:
        """What they take on the disk, about."""
        return sum(queue.pending_bytes for queue in self._queues())

    @property
    def handed_out(self) -> int:
        """How many records were handed out and are not done, or not before all that were handed out earlier."""
        return sum(queue.handed_out for queue in self._queues())

    @property
    def damaged(self) -> int:
        """How many records were lost to damage; what was found of them is kept aside."""
        return self._damaged + sum(queue.damaged for queue in self._queues())

    def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Takes records, all or none.

        Args:
            entries: The key and the data of each; a key has at most ``ml.io.store.MAX_KEY_BYTES``.

        Raises:
            LogValueError: A key or a record is too long; nothing was appended.
            WriteError: Nothing was appended; the same records may be offered again.
            ClosedError: The spool is closed, or belongs to another process.
        """
        if self._is_closed or os.getpid() != self._process:
            raise ClosedError(f"The spool {self.directory} is closed, or belongs to process {self._process}.")
        payloads = [encode_entry(key, data) for key, data in entries]
        if self._own is None:
            self._own = self._claim()
        self._own.writer.append(payloads)
        self._own.queue.pending_bytes += sum(map(len, payloads)) + FRAME_BYTES * len(payloads)

    def next(self) -> Spooled | None:
        """Returns the oldest record that was not handed out yet; ``None``: there is none now.

        Raises:
            WriteError: This process has too many open files, or no memory. Call again later.
        """
        if self._is_closed or os.getpid() != self._process:
            return None
        while (spooled := self._next_adopted()) is None:
            if self._clock() < self._look_s + LOOK_EVERY_S:
                return self._own.queue.next() if self._own is not None else None
            self._look_s = self._clock()
            with suppress(WriteError):
                self._adopt()
        return spooled

    def done(self, spooled: Spooled) -> None:
        """Forgets a record: it has arrived, or never will. In any order; on disk it counts when those before it are."""
        if os.getpid() == self._process:
            spooled.place.segment.queue.done(spooled)

    def sync(self) -> None:
        """Returns when everything that was appended is on the disk.

        Raises:
            WriteError: It cannot be said that it is.
        """
        if self._own is not None and os.getpid() == self._process:
            self._own.writer.sync()

    def close(self) -> None:
        """Makes what waits durable, and leaves it to the next one; again does nothing.

        Raises:
            WriteError: It is closed, but what was appended last may not survive a power cut.
        """
        if self._is_closed or os.getpid() != self._process:
            return
        self._is_closed = True
        own = self._own
        try:
            if own is not None:
                own.writer.close()
        finally:
            if own is not None:
                self._own = None
                self._adopted.append(_Adopted(own.lock, own.queue))
            for adopted in self._adopted:
                if adopted.queue.pending == 0:
                    adopted.queue.remove()
                adopted.queue.close()
            for lock in [*self._left, *(adopted.lock for adopted in self._adopted)]:
                lock.release()

    def _queues(self) -> list[SpoolQueue]:
        own = self._own  # counts are asked for by other threads, too
        return [*(adopted.queue for adopted in self._adopted), *([] if own is None else [own.queue])]

    def _aside(self) -> Path:
        return self.directory / "damaged"

    def _claim(self) -> _Own:
        """Makes this process's own queue."""
        make_directories(self.directory, ops=self._ops)
        while True:
            name = f"{round(self._wall_clock() * 1e9):020d}-{self._process}-{secrets.token_hex(4)}"
            path = self.directory / name
            make_directories(path, ops=self._ops)
            lock = None
            try:
                lock = try_lock(path / LOCK_NAME, ops=self._ops)
            finally:
                if lock is None:
                    with suppress(OSError):
                        self._ops.remove_directory(path)
            if lock is not None:  # else somebody took it for one that was left, and removes it
                writer = JournalWriter(path, 1, max_segment_bytes=self._segment_bytes, ops=self._ops)
                return _Own(lock, writer, SpoolQueue(path, self._aside(), writer=writer, ops=self._ops))

    # what others have left

    def _adopt(self) -> None:
        """Takes over queues whose locks are free, the oldest first."""
        # Their locks can be taken again: the files of these went before the directory turned out to stay.
        left = {lock.path.parent.name for lock in self._left}
        with explained("read", self.directory):
            names = sorted(name for name in os.listdir(self.directory) if _NAME.fullmatch(name) and name not in left)
        for name in names:
            if len(self._adopted) >= _MAX_ADOPTED:
                return
            try:
                lock = try_lock(self.directory / name / LOCK_NAME, ops=self._ops)
                if lock is not None:
                    self._take_over(lock)
            except (OSError, WriteError) as error:
                _log.warning("%s: what an earlier process left there cannot be read: %s", self.directory / name, error)

    def _take_over(self, lock: LockFile) -> None:
        try:
            queue = SpoolQueue(lock.path.parent, self._aside(), ops=self._ops)
        except BaseException:
            lock.release()
            raise
        self._adopted.append(_Adopted(lock, queue))
        if queue.pending:
            _log.info("%s: sending %d records that an earlier process left.", queue.directory, queue.pending)

    def _next_adopted(self) -> Spooled | None:
        for adopted in list(self._adopted):
            if (spooled := adopted.queue.next()) is not None:
                return spooled
            if adopted.queue.is_finished:
                self._drop(adopted)
        return None

    def _drop(self, adopted: _Adopted) -> None:
        self._adopted.remove(adopted)
        self._look_s = -math.inf  # there may be more of them than are adopted at a time
        self._damaged += adopted.queue.damaged
        if adopted.queue.remove():
            adopted.lock.release()
        else:
            self._left.append(adopted.lock)
