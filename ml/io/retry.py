"""Tries again what failed for now: after pauses that grow and are drawn by chance, until a deadline."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ml.core.errors import ClosedError, WriteError
from ml.io.store import Refused

FIRST_S = 0.2
LONGEST_S = 20.0

CHANCE = random.SystemRandom().random
"""Not the numbers that the whole program shares: the training draws those."""

T = TypeVar("T")


class Backoff:
    """How long to wait after each failure: anything up to a bound that doubles, so that many who failed together part.

    Args:
        first_s: The bound after the first failure.
        longest_s: What it grows to.
        chance: Returns numbers from 0 to 1.
    """

    def __init__(
        self, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S, chance: Callable[[], float] = CHANCE
    ) -> None:
        self._first_s, self._longest_s, self._chance = first_s, longest_s, chance
        self._bound_s = min(first_s, longest_s)

    def next_delay_s(self) -> float:
        """Returns how long to wait now, and doubles the bound."""
        bound_s, self._bound_s = self._bound_s, min(2 * self._bound_s, self._longest_s)
        return bound_s * self._chance()

    def reset(self) -> None:
        """Begins again, after a success."""
        self._bound_s = min(self._first_s, self._longest_s)


class Retry:
    """How often and how long calls are tried.

    Args:
        attempts: The most; ``None``: any number.
        deadline_s: No attempt begins so long after the first one, and no pause goes beyond.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        chance: Returns numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        attempts: int | None = None,
        deadline_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = CHANCE,
    ) -> None:
        self._attempts, self._deadline_s = attempts, deadline_s
        self._clock, self._sleep, self._chance = clock, sleep, chance

    def call(self, attempt: Callable[[], T]) -> T:
        """Returns what ``attempt`` returns, as soon as it raises no ``WriteError``.

        Raises:
            WriteError: Of the last attempt.
            Refused, ClosedError: Of the first one that raised it: it is not tried again.
        """
        end_s = self._clock() + self._deadline_s
        backoff = Backoff(chance=self._chance)
        failed = 0
        while True:
            try:
                return attempt()
            except (Refused, ClosedError):
                raise
            except WriteError as error:
                failed += 1
                delay_s = backoff.next_delay_s()
                if failed == self._attempts or self._clock() + delay_s >= end_s:
                    if failed > 1:
                        error.add_note(f"It was tried {failed} times.")
                    raise
            self._sleep(delay_s)
