"""What became of every value that a backend was offered, exactly."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from ml.io.worker import Lock

Dropped = Literal["queue_full", "media_budget", "disk_low", "closed", "deadline"]
Failed = Literal["callable", "value", "mutated", "collective", "write"]
Skipped = Literal["rate_limited", "unsupported", "excluded", "reduced"]


@dataclass(frozen=True)
class LoggerStats:
    """What became of the values of one backend.

    Always ``accepted == written + sum(dropped) + sum(failed) + pending``.

    Attributes:
        accepted: Values chosen for this backend, counted before they were computed.
        written: Values that its ``write`` committed.
        pending: Values that wait: for a window to end, in the queue, or for a retry.
        dropped: Values given up, by reason: ``queue_full``, ``media_budget``, ``disk_low``,
            ``closed`` (logged after close), ``deadline`` (not written when close had to end).
        failed: Values that could not be had or written, by reason: ``callable`` (it raised),
            ``value`` (not of its kind), ``mutated`` (changed in place before the step ended),
            ``collective`` (its callable needs other ranks), ``write`` (the backend raised).
        skipped: Values that were never given to it, by reason: ``rate_limited``,
            ``unsupported`` (kind), ``excluded`` (key), ``reduced`` (part of one reduced value).
    """

    accepted: int = 0
    written: int = 0
    pending: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


class Tally:
    """Counts what becomes of a backend's values, on two threads, without an error.

    Attributes:
        offered: How many values the training thread has accepted, skipped as ``rate_limited`` and
            skipped as ``reduced`` so far. Set as a whole, so neither an interruption nor a signal
            handler that asks for the counts can spoil them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.offered = (0, 0, 0)
        self._accepted = self._written = 0
        self._dropped: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self.is_finished = False

    def accept(self, count: int) -> None:
        """Takes ``count`` values on; each is resolved once by the methods below."""
        with self._lock:
            self._accepted += count

    def refuse(self, reason: Dropped, count: int) -> None:
        """Takes ``count`` values on and gives them up at once; counts after ``finish`` too."""
        with self._lock:
            if count:
                self._accepted += count
                self._dropped[reason] += count

    def write(self, count: int) -> None:
        """``count`` accepted values were committed."""
        with self._lock:
            if not self.is_finished:
                self._written += count

    def drop(self, reason: Dropped, count: int = 1) -> None:
        """``count`` accepted values were given up."""
        with self._lock:
            if count and not self.is_finished:
                self._dropped[reason] += count

    def fail(self, reason: Failed, count: int = 1) -> None:
        """``count`` accepted values could not be had or written."""
        with self._lock:
            if count and not self.is_finished:
                self._failed[reason] += count

    def skip(self, reason: Skipped, count: int = 1) -> None:
        """``count`` values were not accepted."""
        with self._lock:
            if count:
                self._skipped[reason] += count

    def finish(self) -> int:
        """Gives up what is still pending, and returns how many: a late answer of the backend no longer counts."""
        with self._lock:
            count = 0 if self.is_finished else self.stats().pending
            self.drop("deadline", count)
            self.is_finished = True
            return count

    def stats(self) -> LoggerStats:
        """Returns the counts of this moment."""
        with self._lock:
            accepted, limited, reduced = self.offered
            accepted += self._accepted
            pending = accepted - self._written - self._dropped.total() - self._failed.total()
            late = pending if self.is_finished else 0  # of a step that another thread was in when all was closed
            return LoggerStats(
                accepted=accepted,
                written=self._written,
                pending=pending - late,
                dropped=dict(+(self._dropped + Counter(closed=late))),
                failed=dict(self._failed),
                skipped=dict(+(self._skipped + Counter(rate_limited=limited, reduced=reduced))),
            )
