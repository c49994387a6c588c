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
from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import ClosedError, ConfigError, LogValueError, MLError, WriteError
from ml.io.callpool import CallPool
from ml.io.local_store import LocalStore
from ml.io.spool import LOOK_EVERY_S, Spool, Spooled
from ml.io.store import Refused, Store, check_key
from ml.predictions.breaker import Breaker, BreakerState
from ml.predictions.record import Record, without_images
from ml.predictions.sink import MAX_FLUSH_S, WRITTEN, Outcome

_log = logging.getLogger("ml")

MAX_UPLOADS = 8
"""Requests under way at a time: most of a request is waiting."""

SYNC_EVERY_S = 30.0
"""What waits in the spool is on the disk after this time, and after ``flush``."""

_MAX_HELD_BYTES = 64 * 2**20  # of records that are being sent, beyond one
_MAX_HANDED_OUT = 64  # records: none runs farther ahead of the oldest that has not arrived
_LISTEN_S = 0.05
_REFUSALS = 2  # of one record, while others are stored
_ASIDE = "refused"
_TURNS = 64  # results that ``idle`` waits for, before it lets records be written

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


class _Upload(NamedTuple):
    """A record on its way: which of those that were handed out, in which round, and to what.

    Attributes:
        refusals: How often the store has refused it.
        uploaded_before: How many had been stored when it was refused first.
    """

    number: int
    round: int
    store: Store
    spooled: Spooled
    refusals: int = 0
    uploaded_before: int = 0


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
        max_uploads: int = MAX_UPLOADS,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._open_store, self._max_uploads, self._clock = open_store, max_uploads, clock
        self._max_spool_bytes, self._min_free_bytes = max_spool_bytes, min_free_bytes
        self._store: Store | None = open_store()
        self._url = self._store.url
        self._spool = Spool(spool_directory, clock=clock)
        self._breaker = Breaker(clock, chance)
        self._pool = CallPool[_Upload, bool]("ml-upload", _create)
        self._again: list[_Upload] = []  # what failed, oldest first
        self._next_number = 0
        self._held_bytes = 0
        self._synced_s = clock()
        self._is_closed = False
        self._uploaded = self._already_there = self._failures = self._set_aside = self._set_aside_bytes = 0
        self._images_left_out: Counter[Reason] = Counter()
        self._dropped: Counter[Reason] = Counter()

    @property
    def stats(self) -> CloudStats:
        """The counts, as they are now."""
        return CloudStats(
            self._uploaded,
            self._already_there,
            self._spool.pending,
            self._spool.pending_bytes,
            self._spool.damaged,
            self._failures,
            dict(self._images_left_out),
            dict(self._dropped),
            self._breaker.state,
            self._set_aside,
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
        if self._is_closed:
            return None
        self._sync_if_due()
        for _ in range(_TURNS):
            pause_s = self._send()
            if not self._pool.under_way:
                return min(pause_s, LOOK_EVERY_S)
            if (ended := self._pool.collect(_LISTEN_S)) is None:
                return 0.0
            self._settle(*ended)
        return 0.0

    def flush(self, timeout_s: float = MAX_FLUSH_S) -> None:
        """Has what was written on the disk, and sends it now, whatever pause there is.

        Raises:
            WriteError: Some of it still waits: the store failed, or it takes longer than ``timeout_s``.
        """
        self._sync()
        self._breaker.hurry()
        end_s = self._clock() + timeout_s
        while True:
            self._send()
            left_s = end_s - self._clock()
            if not self._pool.under_way or left_s <= 0:
                break
            if (ended := self._pool.collect(min(left_s, _LISTEN_S))) is not None:
                self._settle(*ended)
        if self._spool.pending:
            raise WriteError(self._what_waits())

    def close(self) -> None:
        """Takes in the results of what was sent, and leaves the rest in the spool; again does nothing.

        Raises:
            WriteError: It is closed, but what waits may not survive a power cut.
        """
        if self._is_closed:
            return
        self._is_closed = True
        while (ended := self._pool.collect(10 * _LISTEN_S)) is not None:
            self._settle(*ended)
        self._pool.stop()
        if self._spool.pending:
            _log.warning("%s They are sent when a logger with this spool is started.", self._what_waits())
        self._spool.close()

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
                self._url,
                why,
                self._what_waits(),
            )
        self._images_left_out += left_out
        dropped = Counter(outcome.reason for outcome in outcomes if not outcome.is_written)
        for why in dropped.keys() - self._dropped.keys():
            _log.warning("Records for %s are dropped (%s): %s", self._url, why, self._what_waits())
        self._dropped += dropped

    # sending

    def _send(self) -> float:
        """Starts as many requests as may be under way; returns the seconds until it is worth to look again."""
        if self._breaker.wait_s:
            return self._breaker.wait_s
        may_be_under_way = 1 if self._breaker.is_cautious else self._max_uploads
        while self._pool.under_way < may_be_under_way:
            try:
                if self._store is None:
                    self._store = self._open_store()
                upload = self._next(self._store)
            except (WriteError, ConfigError) as error:
                self._fail(error, self._breaker.round)
                break
            if upload is None:
                return LOOK_EVERY_S
            self._pool.start(upload)
        return self._breaker.wait_s

    def _next(self, store: Store) -> _Upload | None:
        """Returns what is to be sent next: what failed before, else from the spool."""
        # One that was refused when it was sent alone may be refused for its own sake: then another one is the probe.
        is_other_wanted = self._breaker.is_cautious and bool(self._again) and self._again[0].refusals > 1
        if self._again and not is_other_wanted:
            return self._take_again(0, store)
        is_full = self._held_bytes >= _MAX_HELD_BYTES or self._spool.handed_out >= _MAX_HANDED_OUT
        if is_full or (spooled := self._spool.next()) is None:
            if not self._again:
                return None
            return self._take_again(min(range(len(self._again)), key=lambda at: self._again[at].refusals), store)
        self._held_bytes += len(spooled.data)
        self._next_number += 1
        return _Upload(self._next_number, self._breaker.round, store, spooled)

    def _take_again(self, place: int, store: Store) -> _Upload:
        return self._again.pop(place)._replace(round=self._breaker.round, store=store)

    def _settle(self, upload: _Upload, result: bool | Exception) -> None:
        """Notes what became of a request."""
        if isinstance(result, Refused):
            before = upload.uploaded_before if upload.refusals else self._uploaded
            upload = upload._replace(refusals=upload.refusals + 1, uploaded_before=before)
        is_its_own_fault = isinstance(result, LogValueError) or (
            upload.refusals > _REFUSALS and self._uploaded > upload.uploaded_before
        )
        try:
            if isinstance(result, Exception) and is_its_own_fault:
                self._put_aside(upload.spooled, str(result))
            elif not isinstance(result, Exception) and not result:
                self._put_aside(upload.spooled, "something else is stored under its key")
                self._already_there += 1
        except MLError as error:
            result, is_its_own_fault = WriteError(f"A record cannot be set aside: {error}"), False
        if isinstance(result, Exception) and not is_its_own_fault:
            self._failures += 1
            insort(self._again, upload, key=lambda failed: failed.number)
            self._fail(result, upload.round)
            return
        self._uploaded += result is True
        if self._breaker.succeeded(upload.round):
            _log.warning("%s takes records again.", self._url)
        self._held_bytes -= len(upload.spooled.data)
        self._spool.done(upload.spooled)

    def _put_aside(self, spooled: Spooled, why: str) -> None:
        """Keeps a record that this store will never take: it was acknowledged.

        Raises:
            MLError: It cannot be kept now.
        """
        directory = self._spool.directory / _ASIDE
        if self._set_aside_bytes + len(spooled.data) > self._max_spool_bytes or self._is_disk_low():
            self._count(Counter(), [Outcome(False, "refused")])
            return
        LocalStore(directory).create(spooled.key, spooled.data)
        if not self._set_aside:
            _log.warning(
                "%s does not take a record: %s. It is kept in %s, as others will be; this is said once.",
                self._url,
                why.rstrip("."),
                directory,
            )
        self._set_aside += 1
        self._set_aside_bytes += len(spooled.data)

    def _fail(self, error: Exception, in_round: int) -> None:
        was_well = not self._breaker.is_cautious
        was_closed = self._breaker.state == "closed"
        if isinstance(error, Refused | ConfigError):
            if self._breaker.refused(in_round):
                self._store = None
                if was_closed:
                    _log.warning("%s refuses records. %s It says: %s", self._url, self._what_waits(), error)
        elif self._breaker.failed(in_round) and was_well:
            _log.warning("Records cannot be sent to %s now. %s The reason: %s", self._url, self._what_waits(), error)

    def _what_waits(self) -> str:
        return f"{self._spool.pending} records wait in {self._spool.directory}."

    # the disk

    def _sync_if_due(self) -> None:
        if self._clock() >= self._synced_s + SYNC_EVERY_S:
            if self._spool.pending:
                with suppress(WriteError):  # the next one, or the next record, tells
                    self._sync()
            self._synced_s = self._clock()

    def _sync(self) -> None:
        with suppress(ClosedError):
            self._spool.sync()
        self._synced_s = self._clock()


def _create(upload: _Upload) -> bool:
    return upload.store.create(upload.spooled.key, upload.spooled.data)
