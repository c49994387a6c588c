"""How fast training goes, to name a step in time before it comes."""

import math
from collections.abc import Callable


class Pace:
    """Learns how long a step takes, and by how much the counter of steps grows.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[int, float] | None = None  # the last step and when it ended
        self._step_s, self._stride = math.inf, 1

    @property
    def is_known(self) -> bool:
        """Whether two steps have ended."""
        return self._step_s < math.inf

    def step(self, num_steps: int) -> bool:
        """A step ended; False: the counter stands lower than before, as training was started again.

        Args:
            num_steps: What the counter says.
        """
        now_s, goes_on = self._clock(), True
        if self._last is not None:
            before, before_s = self._last
            goes_on = num_steps >= before
            self._stride = max(1, num_steps - before)
            # The shortest of the last ones: a validation pass in between is no part of a step.
            self._step_s = min(max(now_s - before_s, 1e-6), 1.25 * self._step_s)
        self._last = (num_steps, now_s)
        return goes_on

    def ahead(self, seconds: float) -> int:
        """Returns by how much the counter grows in this time, one step at least; only once it ``is_known``."""
        return self._stride * max(1, math.ceil(seconds / self._step_s))
