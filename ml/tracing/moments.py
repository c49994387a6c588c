"""How fast a model was, and what it showed, over time: inferences that follow each other are put together."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

MAX_MOMENTS: Final = 100
"""Points of a curve over time."""


class Moment(NamedTuple):
    """Inferences that follow each other.

    Attributes:
        time_s: Unix seconds, of the first of them.
        num_inferences: How many.
        median_latency_s: Seconds of the model, an input; NaN where none was measured.
        high_latency_s: What 95 % of them stay below.
        shown_per_image: Visible detections on average.
        mean_score: Of the visible; NaN where there are none.
        error_probability: As estimated, of the visible on average; NaN where it is not.
    """

    time_s: float
    num_inferences: int
    median_latency_s: float
    high_latency_s: float
    shown_per_image: float
    mean_score: float
    error_probability: float


class Instant(NamedTuple):
    """An inference, of which moments are made.

    Attributes:
        time_s: Unix seconds.
        latency_s: Seconds of the model.
        num_shown: How many visible detections.
        score: The sum of their scores.
        error_probability: The sum of what is estimated of them; NaN where it is not.
    """

    time_s: float
    latency_s: float
    num_shown: int
    score: float
    error_probability: float


class MomentTally:
    """Takes inferences in order; those of one moment are in memory.

    Args:
        count: About how many there will be. Of more there are more moments.
    """

    def __init__(self, count: int) -> None:
        self._count, self._place, self._seen = max(count, 1), 0, 0
        self._moments, self._now = list[Moment](), list[Instant]()

    def add(self, instant: Instant) -> None:
        """Takes an inference."""
        if (place := self._seen * MAX_MOMENTS // self._count) != self._place:
            self._moments, self._now, self._place = [*self.moments()], [], place
        self._seen += 1
        self._now.append(instant)

    def moments(self) -> tuple[Moment, ...]:
        """Returns the moments of all that was added."""
        return (*self._moments, _moment(self._now)) if self._now else tuple(self._moments)


def _moment(instants: Sequence[Instant]) -> Moment:
    times, latencies, shown, scores, errors = (np.array(column, np.float64) for column in zip(*instants, strict=True))
    measured, seen, is_known = latencies[np.isfinite(latencies)], shown.sum(), np.isfinite(errors)
    median, high = np.quantile(measured, (0.5, 0.95)).tolist() if len(measured) else (np.nan, np.nan)
    estimated = shown[is_known].sum()
    return Moment(
        float(times.min()),
        len(instants),
        median,
        high,
        float(seen / len(instants)),
        float(scores.sum() / seen) if seen else np.nan,
        float(errors[is_known].sum() / estimated) if estimated else np.nan,
    )
