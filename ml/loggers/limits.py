"""When a backend is due: intervals in seconds and steps, one clock for each phase.

Asking never changes anything. Whoever hands a backend a write says so with
``mark``, which moves its clocks; until then the answer for a state stays the
same. Intervals are measured on the run's monotonic clock.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ml.core.state import Phase, State


class Intervals(Protocol):
    """The settings of a backend that say how often it writes; see ``BaseLoggerConfig``."""

    write_every_n_seconds: float | None
    write_train_every_n_seconds: float | None
    write_val_every_n_seconds: float | None
    write_every_n_steps: int | None
    write_media_every_n_seconds: float | None


class _Mark(NamedTuple):
    """The last write of a phase."""

    time_s: float
    state: State


class RateLimit:
    """The rate limit of one backend.

    Args:
        intervals: The backend's settings.
        default_s: Seconds between writes in training where nothing is set.
        clock: Monotonic seconds.
    """

    def __init__(self, intervals: Intervals, default_s: Callable[[State], float], clock: Callable[[], float]) -> None:
        self._intervals, self._default_s, self._clock = intervals, default_s, clock
        self._started_s = clock()
        self._last: dict[Phase, _Mark] = {}
        self._last_media: dict[Phase, _Mark] = {}

    def due(self, state: State) -> bool:
        """Whether ``state`` is to be written.

        The first training state is. Inside a validation or test pass nothing
        is, unless ``write_val_every_n_seconds`` is set.
        """
        last = self._last.get(state.phase)
        if state.phase != "train":
            seconds = self._intervals.write_val_every_n_seconds
            if seconds is None:
                return False
            return last is None or last.state == state or self._clock() - last.time_s >= seconds
        if last is None or last.state == state:
            return True
        steps = self._intervals.write_every_n_steps
        # A counter that went back was started again: its steps are no part of the interval.
        if steps is not None and 0 <= state.num_steps - last.state.num_steps < steps:
            return False
        seconds = self._train_seconds(state)
        return seconds <= 0 or self._clock() - last.time_s >= seconds

    def media_due(self, state: State) -> bool:
        """Whether a write of ``state`` opens a new window for media."""
        last = self._last_media.get(state.phase)
        if last is None or last.state == state:
            return True
        now = self._clock()
        seconds = self._intervals.write_media_every_n_seconds
        if seconds is None:
            seconds = max(10.0, max(now - self._started_s, state.elapsed_time_s) / 200)
        return now - last.time_s >= seconds

    def mark(self, state: State) -> None:
        """Moves the clock of the state's phase: a write of ``state`` was handed over."""
        self._last[state.phase] = _Mark(self._clock(), state)

    def mark_media(self, state: State) -> None:
        """Moves the media clock of the state's phase."""
        self._last_media[state.phase] = _Mark(self._clock(), state)

    def _train_seconds(self, state: State) -> float:
        settings = self._intervals
        if settings.write_train_every_n_seconds is not None:
            return settings.write_train_every_n_seconds
        if settings.write_every_n_seconds is not None:
            return settings.write_every_n_seconds
        return 0.0 if settings.write_every_n_steps is not None else self._default_s(state)
