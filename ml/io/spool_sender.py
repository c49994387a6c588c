"""Sends what waits in a spool to whoever keeps it: several at a time, in order, again while that fails.

What is sent has a key of its own that is made only if it is not there yet: so something that is sent twice, since
nobody knew that it had arrived, is kept once. It leaves the spool when it has arrived.
"""

import logging
import random
import time
from bisect import insort
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ml.core.errors import ClosedError, ConfigError, LogValueError, MLError, WriteError
from ml.io.breaker import Breaker
from ml.io.callpool import CallPool
from ml.io.sending import Aside, Listener, NotNow, SenderStats, Target
from ml.io.spool import LOOK_EVERY_S, Spool, Spooled
from ml.io.store import Refused

_log = logging.getLogger("ml")

MAX_REQUESTS = 8
"""Under way at a time: most of a request is waiting."""

SYNC_EVERY_S = 30.0
"""What waits in the spool is on the disk after this time, and after ``drain``."""

_MAX_HELD_BYTES = 64 * 2**20  # that are being sent, beyond one
_MAX_HANDED_OUT = 64  # none runs farther ahead of the oldest that has not arrived
_LISTEN_S = 0.05
_REFUSALS = 2  # of one, while others are kept
_ASIDE = "refused"
_TURNS = 64  # results that ``turn`` waits for, before it lets go


class _Upload(NamedTuple):
    """Something on its way: which of those that were handed out, in which round, and to what.

    Attributes:
        refusals: How often it was refused.
        arrived_before: How many had arrived when it was refused first.
    """

    number: int
    round: int
    target: Target
    spooled: Spooled
    refusals: int = 0
    arrived_before: int = 0


class SpoolSender:
    """Sends from a spool while its target can be reached. Used by one thread, that of the spool.

    Args:
        spool: Where it waits.
        target: Takes it.
        open_target: Opens the target again, before it is asked anew after it refused: that reads credentials again.
        listener: Is told what becomes of it.
        what: It is, for messages: ``"records"``.
        who: Sends what is left in the spool, and when, for messages.
        max_requests: Under way at a time.
        clock: Monotonic seconds.
        chance: Returns numbers from 0 to 1, for the pauses between attempts.

    Attributes:
        url: Of the target.
        problem: Why nothing arrives now; empty: it does, or nobody has tried.
    """

    def __init__(
        self,
        spool: Spool,
        target: Target,
        open_target: Callable[[], Target],
        listener: Listener,
        *,
        what: str,
        who: str,
        max_requests: int = MAX_REQUESTS,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._spool, self._open_target, self._listener = spool, open_target, listener
        self._what, self._who, self._max_requests, self._clock = what, who, max_requests, clock
        self._target: Target | None = target
        self.url, self.problem = target.url, ""
        self._breaker = Breaker(clock, chance)
        self._pool = CallPool[_Upload, bool]("ml-upload", _create)
        self._again: list[_Upload] = []  # what failed, oldest first
        self._next_number = self._held_bytes = 0
        self._synced_s = clock()
        self._is_closed = False
        self._arrived = self._already_there = self._failures = 0
        self._aside = Aside(spool.directory / _ASIDE, self.url, what, listener)

    @property
    def stats(self) -> SenderStats:
        """The counts, as they are now."""
        return SenderStats(
            self._arrived,
            self._already_there,
            self._failures,
            self._aside.kept,
            self._aside.lost,
            self._breaker.state,
        )

    @property
    def what_waits(self) -> str:
        """A sentence that says it."""
        return f"{self._spool.pending} {self._what} wait in {self._spool.directory}."

    def turn(self) -> float | None:
        """Sends what waits, as long as results come in; returns the seconds after which to be called again.

        ``None``: it is closed.
        """
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

    def drain(self, timeout_s: float) -> None:
        """Has what waits on the disk, and sends it now, whatever pause there is.

        Raises:
            WriteError: Some of it still waits: the target failed, or it takes longer than ``timeout_s``.
        """
        self.sync()
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
            raise WriteError(self.what_waits)

    def hurry(self) -> None:
        """Ends the pause after a failure: somebody wants to know now."""
        self._breaker.hurry()

    def close(self) -> None:
        """Takes in the results of what was sent, and leaves the rest in the spool, which it closes; again does nothing.

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
            _log.warning("%s %s", self.what_waits, self._who)
        self._spool.close()

    def sync(self) -> None:
        """Returns when what waits is on the disk.

        Raises:
            WriteError: It cannot be said that it is.
        """
        with suppress(ClosedError):
            self._spool.sync()
        self._synced_s = self._clock()

    def _sync_if_due(self) -> None:
        if self._clock() >= self._synced_s + SYNC_EVERY_S:
            if self._spool.pending:
                with suppress(WriteError):  # the next one, or what is appended next, tells
                    self.sync()
            self._synced_s = self._clock()

    def _send(self) -> float:
        """Starts as many requests as may be under way; returns the seconds until it is worth to look again."""
        if self._breaker.wait_s:
            return self._breaker.wait_s
        may_be_under_way = 1 if self._breaker.is_cautious else self._max_requests
        while self._pool.under_way < may_be_under_way:
            try:
                if self._target is None:
                    self._target = self._open_target()
                upload = self._next(self._target)
            except (WriteError, ConfigError) as error:
                self._fail(error, self._breaker.round)
                break
            if upload is None:
                return LOOK_EVERY_S
            self._pool.start(upload)
        return self._breaker.wait_s

    def _next(self, target: Target) -> _Upload | None:
        """Returns what is to be sent next: what failed before, else from the spool."""
        # One that was refused when it was sent alone may be refused for its own sake: then another one is the probe.
        is_other_wanted = self._breaker.is_cautious and bool(self._again) and self._again[0].refusals > 1
        if self._again and not is_other_wanted:
            return self._take_again(0, target)
        is_full = self._held_bytes >= _MAX_HELD_BYTES or self._spool.handed_out >= _MAX_HANDED_OUT
        if is_full or (spooled := self._next_wanted()) is None:
            if not self._again:
                return None
            return self._take_again(min(range(len(self._again)), key=lambda at: self._again[at].refusals), target)
        self._held_bytes += len(spooled.data)
        self._next_number += 1
        return _Upload(self._next_number, self._breaker.round, target, spooled)

    def _next_wanted(self) -> Spooled | None:
        while (spooled := self._spool.next()) is not None:
            if self._listener.is_wanted(spooled.key):
                return spooled
            self._spool.done(spooled)
        return None

    def _take_again(self, place: int, target: Target) -> _Upload:
        return self._again.pop(place)._replace(round=self._breaker.round, target=target)

    def _settle(self, upload: _Upload, result: bool | Exception) -> None:
        """Notes what became of a request."""
        if isinstance(result, Refused):
            before = upload.arrived_before if upload.refusals else self._arrived
            upload = upload._replace(refusals=upload.refusals + 1, arrived_before=before)
        is_its_own_fault = isinstance(result, LogValueError) or (
            upload.refusals > _REFUSALS and self._arrived > upload.arrived_before
        )
        try:
            if isinstance(result, Exception) and is_its_own_fault:
                self._aside.put(upload.spooled.key, upload.spooled.data, str(result))
                self._listener.refused(upload.spooled.key)
            elif not isinstance(result, Exception) and not result:
                self._aside.put(upload.spooled.key, upload.spooled.data, "something else is stored under its key")
                self._already_there += 1
                self._listener.refused(upload.spooled.key)
            elif result is True:
                self._listener.arrived(upload.spooled.key, len(upload.spooled.data))
        except MLError as error:
            result, is_its_own_fault = WriteError(f"What became of one cannot be noted: {error}"), False
        if isinstance(result, Exception) and not is_its_own_fault:
            self._failures += 1
            insort(self._again, upload, key=lambda failed: failed.number)
            self._fail(result, upload.round)
            return
        self._arrived += result is True
        if self._breaker.succeeded(upload.round):
            self.problem = ""
            _log.warning("%s takes %s again.", self.url, self._what)
        self._held_bytes -= len(upload.spooled.data)
        self._spool.done(upload.spooled)

    def _fail(self, error: Exception, in_round: int) -> None:
        was_well = not self._breaker.is_cautious
        was_closed = self._breaker.state == "closed"
        self.problem = str(error)
        if isinstance(error, Refused | ConfigError):
            if self._breaker.refused(in_round):
                self._target = None
                if was_closed:
                    _log.warning("%s refuses %s. %s It says: %s", self.url, self._what, self.what_waits, error)
            return
        at_least_s = error.retry_after_s if isinstance(error, NotNow) else 0.0
        if self._breaker.failed(in_round, at_least_s=at_least_s) and was_well:
            _log.warning(
                "%s cannot be sent to %s now. %s The reason: %s",
                self._what.capitalize(),
                self.url,
                self.what_waits,
                error,
            )


def _create(upload: _Upload) -> bool:
    return upload.target.create(upload.spooled.key, upload.spooled.data)
