"""Chooses which predictions are kept: one of each model in an interval, and those that someone will look for."""

from collections.abc import Callable
from typing import NamedTuple

from ml.io.lifetime import tell_after_fork
from ml.io.worker import Lock
from ml.predictions.kinds import VisionModelType


class Model(NamedTuple):
    """A model, as a record names it. Each has an interval of its own."""

    type: VisionModelType
    name: str
    version: str


class Sampler:
    """Chooses at the time of the call, so nothing is copied of what is not kept. Thread-safe.

    An error, and a result of low confidence, may be kept beside the interval; they do not begin a new one. What is
    remembered are the models of the current intervals.

    Args:
        interval_s: Between two predictions of a model that are kept; 0 keeps all.
        keep_errors: Whether every prediction with an error message is kept.
        keep_below_confidence: Whether every one whose best result has a lower confidence is kept; ``None``: it is not.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        interval_s: float,
        *,
        keep_errors: bool,
        keep_below_confidence: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._interval_s, self._keep_errors, self._keep_below = interval_s, keep_errors, keep_below_confidence
        self._clock = clock
        self._kept_s: dict[Model, float] = {}  # by time: the oldest is first
        self._lock = Lock()
        tell_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock when this process was forked."""
        self._lock = Lock()

    def takes(self, model: Model, *, is_error: bool, confidence: float | None) -> bool:
        """Whether a prediction is kept; if so as one of the interval, the next interval begins.

        Args:
            model: Which model made it.
            is_error: Whether it has an error message.
            confidence: Of its best result; ``None`` where it has none.
        """
        if self._interval_s <= 0 or self._begins(model):
            return True
        is_unsure = self._keep_below is not None and confidence is not None and not confidence >= self._keep_below
        return (is_error and self._keep_errors) or is_unsure

    def _begins(self, model: Model) -> bool:
        """Whether no interval of the model is under way; then one begins."""
        with self._lock:
            now = self._clock()
            while self._kept_s and now - next(iter(self._kept_s.values())) >= self._interval_s:
                del self._kept_s[next(iter(self._kept_s))]
            if model in self._kept_s:
                return False
            self._kept_s[model] = now
            return True
