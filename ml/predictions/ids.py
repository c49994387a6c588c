"""Names records: ULIDs, which sort by time, and which no other process or machine makes again."""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from ml.core.errors import FormatError
from ml.io.worker import Lock

LENGTH: Final = 26

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: without I, L, O, U
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_TIME_BITS, _RANDOM_BITS = 48, 80
_SEED_BYTES: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RecordIds:
    """Makes ids: 48 bits of milliseconds since 1970, then 80 bits that are random.

    Every id of a process is larger than the one before, also within a millisecond and when the clock goes back.
    A forked child starts with random bits of its own. It may be called from several threads.

    Args:
        wall_clock: Seconds since 1970.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._begin()
        self._last = 0

    def _begin(self) -> None:
        self._lock, self._process = Lock(), os.getpid()
        self._chance = random.Random(os.urandom(_SEED_BYTES))  # asking the system lets go of the interpreter

    def next(self) -> str:
        """Returns a new id: 26 characters of Crockford's base 32."""
        if self._process != os.getpid():  # the lock may be held by a thread that is not here
            self._begin()
            self._last = (self._last >> _RANDOM_BITS) + 1 << _RANDOM_BITS | self._chance.getrandbits(_RANDOM_BITS - 1)
        now_ms = min(max(int(self._wall_clock() * 1000), 0), 2**_TIME_BITS - 1)
        with self._lock:
            if now_ms > self._last >> _RANDOM_BITS:
                # The highest bit is left free, so that there is room to count up from here.
                self._last = now_ms << _RANDOM_BITS | self._chance.getrandbits(_RANDOM_BITS - 1)
            else:
                self._last += 1
            number = self._last
        return "".join(_DIGITS[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def time_of(record_id: str) -> datetime:
    """Returns when an id was made, UTC.

    Raises:
        FormatError: It is none.
    """
    if len(record_id) != LENGTH or not all(digit in _VALUES for digit in record_id) or record_id[0] > "7":
        raise FormatError(f"this is no id of a record: {record_id[:40]!r}")
    number = 0
    for digit in record_id:
        number = number << 5 | _VALUES[digit]
    try:
        return _EPOCH + timedelta(milliseconds=number >> _RANDOM_BITS)
    except OverflowError as error:
        raise FormatError(f"the time of {record_id} lies beyond the year 9999") from error
