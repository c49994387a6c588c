"""When a store may be asked again after it failed: a state machine that knows a clock, and nothing of stores."""

import random
from collections.abc import Callable
from typing import Literal

from ml.io.retry import Backoff

BreakerState = Literal["closed", "open", "half-open"]

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 60.0
"""The ceilings of the pauses after failures that pass by themselves; they double from one to the next."""

FIRST_PROBE_S, LAST_PROBE_S = 60.0, 900.0
"""The pauses after refusals, alike."""


class Breaker:
    """Keeps calls from a store that cannot take them.

    *Closed*, calls are made. A failure is followed by a pause that is drawn at random up to a ceiling, so that many
    clients of one server do not come back together; then one call is made alone, and the others when it has succeeded.
    A refusal *opens* the breaker: asking again soon would not help. When the pause is over it is *half-open*, and one
    call is made alone, the probe: if it is refused as well, the next pause is twice as long.

    Calls that are under way when the first of them fails mostly fail too. They count as one: each belongs to a round,
    which ends with its first failure.

    Args:
        clock: Monotonic seconds.
        chance: Returns numbers from 0 to 1.

    Attributes:
        round: The number of the round that calls belong to which are made now.
        is_cautious: Whether only one call may be under way.
    """

    def __init__(self, clock: Callable[[], float], chance: Callable[[], float] = random.random) -> None:
        self.round = 1
        self.is_cautious = False
        self._clock = clock
        self._retries = Backoff(first_s=FIRST_RETRY_S, longest_s=LAST_RETRY_S, chance=chance)
        self._probes = Backoff(first_s=FIRST_PROBE_S, longest_s=LAST_PROBE_S, chance=lambda: 1.0)
        self._is_refused = False
        self._until_s = clock()

    @property
    def state(self) -> BreakerState:
        """Whether calls are made, none, or a probe."""
        if not self._is_refused:
            return "closed"
        return "open" if self.wait_s else "half-open"

    @property
    def wait_s(self) -> float:
        """Seconds until a call may be made; 0: now."""
        return max(0.0, self._until_s - self._clock())

    def succeeded(self, in_round: int) -> bool:
        """A call of a round has succeeded; one from before the last failure says nothing.

        Returns:
            Whether all is well again.
        """
        if in_round != self.round or not self.is_cautious:
            return False
        self.is_cautious = self._is_refused = False
        self._retries.reset()
        self._probes.reset()
        return True

    def failed(self, in_round: int, *, at_least_s: float = 0.0) -> bool:
        """A call of a round has failed. Returns whether the pause begins with it.

        Args:
            in_round: The round.
            at_least_s: How long the server wants to be left alone.
        """
        if in_round != self.round:
            return False
        self._pause(max(at_least_s, self._retries.next_delay_s()))
        return True

    def refused(self, in_round: int) -> bool:
        """A call of a round was refused. Returns whether the pause begins with it."""
        if in_round != self.round:
            return False
        self._is_refused = True
        self._pause(self._probes.next_delay_s())
        return True

    def hurry(self) -> None:
        """Ends the pause: somebody wants to know now."""
        self._until_s = self._clock()

    def _pause(self, seconds: float) -> None:
        self.round += 1
        self.is_cautious = True
        self._until_s = self._clock() + seconds
