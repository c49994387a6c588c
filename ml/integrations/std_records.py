"""What a record of ``logging`` says, and how often it may be said.

``message_of`` and ``trace_of`` never raise, whatever the record holds. ``Occurrences`` says of each record
whether it is kept in full: the first ones of a kind are, the others are counted.
"""

import logging
import traceback
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from ml.io.worker import Lock

KEPT_OF_A_KIND = 10
KINDS_OF_A_LOGGER = 50
LOGGERS = 100
SUM_UP_S = 60.0
"""How long what was only counted waits to be summed up, at the least."""

_OTHERS = "other loggers"
_LEVELS = {  # by descending number; logging's own table of names may have been changed
    logging.CRITICAL: "CRITICAL",
    logging.ERROR: "ERROR",
    logging.WARNING: "WARNING",
    logging.INFO: "INFO",
}


def level_of(level: int) -> str:
    """Returns the name of the standard level that a level is at or above, ``DEBUG`` at the least."""
    return next((name for known, name in _LEVELS.items() if level >= known), "DEBUG")


def message_of(record: logging.LogRecord) -> str:
    """Returns a record's message, and where it was said: ``loader is slow (loader.py:42)``.

    One whose arguments do not fit its format is the format and the arguments.
    """
    try:
        message = str(record.getMessage())
    except Exception as error:
        message = f"{_text(str, record.msg)} {_text(repr, record.args)} (cannot be formatted: {_text(str, error)})"
    return f"{message} ({record.filename}:{record.lineno})"


def trace_of(record: logging.LogRecord) -> str:
    """Returns a record's traceback and stack, if it has any."""
    trace = record.exc_text or ""
    try:
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info))
    except Exception as error:
        trace = f"A traceback that cannot be shown: {_text(str, error)}"
    return "\n".join(str(part).rstrip() for part in (trace, record.stack_info) if part)


def _text(of: Callable[[object], str], value: object) -> str:
    try:
        return of(value)
    except Exception:
        return f"<{type(value).__name__}>"


class Count:
    """A number that any thread and any signal handler may raise: no one is lost, no lock is held.

    Python code can be interrupted between reading a number and writing it; ``next`` of an iterator in C cannot.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._looks = 0

    def add(self) -> int:
        """Counts one more; returns how many there were before."""
        return next(self._numbers) - self._looks

    def total(self) -> int:
        """Returns how many were counted. One thread at a time may ask."""
        total = self.add()
        self._looks += 1
        return total


class _Source(NamedTuple):
    logger: str
    level: str


class _Kind(NamedTuple):
    said: Count
    kept: int  # at most


class Occurrences:
    """Counts records by kind, and says which ones are kept. What is remembered is bounded, whatever comes.

    A kind is a logger, a level and a text before its arguments are put in. Of each the first 10 are kept; of the
    kinds of one logger and level the first 50; loggers beyond the first 100 are taken as one.

    Args:
        clock: Seconds, monotonic; spaces the summaries.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[_Source, dict[int | None, _Kind]] = {}
        self._told: dict[_Source, int] = {}
        self._summing = Lock()
        self._is_summing = False
        self._summed_s = clock()

    def keep(self, record: logging.LogRecord) -> str | None:
        """Counts a record. Returns ``None`` when that is all, else what is to be said after its message."""
        kind = self._kind(record)
        number = kind.said.add()
        if number == kind.kept - 1:
            return " (more like this are counted)"
        return "" if number < kind.kept else None

    def due_summary(self) -> list[tuple[str, str, str]]:
        """Returns what ``sum_up`` does once a minute has passed, else nothing."""
        return self.sum_up() if self._clock() - self._summed_s >= SUM_UP_S else []

    def sum_up(self) -> list[tuple[str, str, str]]:
        """Returns logger, level and text about what was only counted since the last time."""
        if not self._summing.acquire(blocking=False):
            return []
        try:
            if self._is_summing:  # a signal handler in the middle of it
                return []
            self._is_summing = True
            self._summed_s = self._clock()
            return [
                (source.logger, source.level, f"{more} more messages, counted and not kept.")
                for source in list(self._kinds)
                if (more := self._untold(source))
            ]
        finally:
            self._is_summing = False
            self._summing.release()

    def total(self) -> tuple[int, int]:
        """Returns how many records were kept, and how many were only counted."""
        with self._summing:
            kinds = [(kind.said.total(), kind.kept) for of in list(self._kinds.values()) for kind in list(of.values())]
        return sum(min(pair) for pair in kinds), sum(max(0, total - kept) for total, kept in kinds)

    def _untold(self, source: _Source) -> int:
        total = sum(max(0, kind.said.total() - kind.kept) for kind in list(self._kinds[source].values()))
        told = self._told.get(source, 0)
        self._told[source] = total
        return total - told

    def _kind(self, record: logging.LogRecord) -> _Kind:
        source = _Source(record.name, level_of(record.levelno))
        kinds = self._kinds.get(source)
        if kinds is None:
            if len(self._kinds) >= LOGGERS:
                source = _Source(_OTHERS, source.level)
            kinds = self._kinds.setdefault(source, {})
        # Of a text only its hash: it may be long. What is no text is not asked for one before it is to be kept.
        about = hash(record.msg) if type(record.msg) is str else hash(type(record.msg))
        kind = kinds.get(about)
        if kind is None and len(kinds) < KINDS_OF_A_LOGGER:
            kind = kinds.setdefault(about, _Kind(Count(), KEPT_OF_A_KIND))
        return kind or kinds.setdefault(None, _Kind(Count(), 0))
