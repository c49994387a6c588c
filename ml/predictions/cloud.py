"""Keeps records in an object store, by way of a spool on the disk: the store may be away, and the process may die.

A record is safe when the spool has it. From there it is sent, several at a time, in the
order in which they were logged, under a key of its own that is made only if it is not
there yet: so a record that is sent twice, since nobody knew that it had arrived, is
stored once.
"""

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import LogValueError
from ml.io.breaker import BreakerState
from ml.io.spool import Spool
from ml.io.spool_sender import MAX_REQUESTS, SpoolSender
from ml.io.store import Store, check_key
from ml.predictions.record import Record, without_images
from ml.predictions.sink import MAX_FLUSH_S, WRITTEN, Outcome

_log = logging.getLogger("ml")

_REFUSED = "refused"

Reason = str


class CloudStats(NamedTuple):
    """What became of the records so far.

    Attributes:
        uploaded: Sent, and stored.
        already_there: Sent, and something else was stored under their keys: it was left as it is.
        pending: In the spool.
        pending_bytes: What they take there, about.
        damaged: Lost to damage of the disk.
        failures: Requests that failed, and were made again.
        images_left_out: Records that were taken without their images, by reason.
        dropped: Records that were not kept, by reason.
        breaker: Whether requests are made.
        set_aside: Records that the store does not take though it takes others: they lie in ``refused`` in the spool.
    """

    uploaded: int
    already_there: int
    pending: int
    pending_bytes: int
    damaged: int
    failures: int
    images_left_out: Mapping[Reason, int]
    dropped: Mapping[Reason, int]
    breaker: BreakerState
    set_aside: int = 0


class CloudSink:
    """Spools records, and sends them to a store while it can be reached.

    Args:
        open_store: Opens the store, for requests that are one attempt each. Called here, and again before the store is
            asked anew after it refused: that reads credentials again.
        spool_directory: Where records wait, on a disk of this machine. Processes may share it.
        max_spool_bytes: What may wait there. Past it images are left out; past another eighth records are dropped, and
            counted. What others have left there counts once this process has taken it over.
        min_free_bytes: Below it on the disk of the spool, images are left out.
        max_uploads: Requests under way at a time.
        clock: Monotonic seconds.
        chance: Returns numbers from 0 to 1, for the pauses between attempts.

    Raises:
        ConfigError: The store cannot be opened.
        WriteError: The spool cannot be opened.
    """

    name = "cloud"

    def __init__(
        self,
        open_store: Callable[[], Store],
        spool_directory: Path,
        *,
        max_spool_bytes: int,
        min_free_bytes: int = 0,
        max_uploads: int = MAX_REQUESTS,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._max_spool_bytes, self._min_free_bytes = max_spool_bytes, min_free_bytes
        store = open_store()
        self._spool = Spool(spool_directory, clock=clock)
        self._sender = SpoolSender(
            self._spool,
            store,
            open_store,
            self,
            what="records",
            who="They are sent when a logger with this spool is started.",
            max_requests=max_uploads,
            clock=clock,
            chance=chance,
        )
        self._images_left_out: Counter[Reason] = Counter()
        self._dropped: Counter[Reason] = Counter()

    @property
    def stats(self) -> CloudStats:
        """The counts, as they are now."""
        sent = self._sender.stats
        dropped = self._dropped + Counter({_REFUSED: sent.lost})
        return CloudStats(
            sent.arrived,
            sent.already_there,
            self._spool.pending,
            self._spool.pending_bytes,
            self._spool.damaged,
            sent.failures,
            dict(self._images_left_out),
            dict(dropped),
            sent.breaker,
            sent.set_aside,
        )

    # the sink

    def write(self, records: Sequence[Record]) -> list[Outcome]:
        """Puts records in the spool; see ``Sink.write``."""
        outcomes, entries = [], []
        left_out: Counter[Reason] = Counter()
        is_low = self._is_disk_low()
        size_bytes = self._spool.pending_bytes
        for record in records:
            data, why = record.data, "disk_low" if is_low else ""
            if size_bytes + len(data) > self._max_spool_bytes:
                why = "spool_budget"
            if why:
                data = without_images(data, why)
            outcomes.append(outcome := self._outcome_of(record.key, size_bytes + len(data)))
            if outcome.is_written:
                entries.append((record.key, data))
                size_bytes += len(data)
                if len(data) < len(record.data):
                    left_out[why] += 1
        if entries:
            self._spool.append(entries)
        self._count(left_out, outcomes)
        return outcomes

    def idle(self) -> float | None:
        """Sends what waits, as long as results come in; see ``Sink.idle``."""
        return self._sender.turn()

    def flush(self, timeout_s: float = MAX_FLUSH_S) -> None:
        """Has what was written on the disk, and sends it now, whatever pause there is.

        Raises:
            WriteError: Some of it still waits: the store failed, or it takes longer than ``timeout_s``.
        """
        self._sender.drain(timeout_s)

    def close(self) -> None:
        """Takes in the results of what was sent, and leaves the rest in the spool; again does nothing.

        Raises:
            WriteError: It is closed, but what waits may not survive a power cut.
        """
        self._sender.close()

    # what the sender is told

    def is_wanted(self, key: str) -> bool:
        """Every record is."""
        return True

    def arrived(self, key: str, size_bytes: int) -> None:
        """Nothing more is known of it than that the spool lets it go."""

    def refused(self, key: str) -> None:
        """It is counted by the sender."""

    def is_aside_full(self, aside_bytes: int) -> bool:
        """As full as the spool may be, or the disk is."""
        return aside_bytes > self._max_spool_bytes or self._is_disk_low()

    # writing

    def _outcome_of(self, key: str, size_bytes: int) -> Outcome:
        """Returns what becomes of a record that makes the spool so large."""
        try:
            check_key(key)
        except LogValueError:
            return Outcome(False, "bad_key")
        return Outcome(False, "spool_full") if size_bytes > self._max_spool_bytes * 9 // 8 else WRITTEN

    def _is_disk_low(self) -> bool:
        if not self._min_free_bytes:
            return False
        try:
            disk = os.statvfs(self._spool.directory)
        except OSError:  # appending will tell
            return False
        return disk.f_bavail * disk.f_frsize < self._min_free_bytes

    def _count(self, left_out: Counter[Reason], outcomes: list[Outcome]) -> None:
        for why in left_out.keys() - self._images_left_out.keys():
            _log.warning(
                "Images are left out of new records for %s, results are kept (%s): %s",
                self._sender.url,
                why,
                self._sender.what_waits,
            )
        self._images_left_out += left_out
        dropped = Counter(outcome.reason for outcome in outcomes if not outcome.is_written)
        for why in dropped.keys() - self._dropped.keys():
            _log.warning("Records for %s are dropped (%s): %s", self._sender.url, why, self._sender.what_waits)
        self._dropped += dropped
