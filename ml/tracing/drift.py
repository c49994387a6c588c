"""Watches whether what a model says stays as usual, window by window, and raises an alarm when it does not.

::

    monitor = DriftMonitor(baseline, logger, window_size=200)
    for drift in monitor.add(inferences):
        if drift.is_alarm:
            print(drift.alarming, drift.values)        # ("score_ks",) {"class_psi": 0.02, ..., "score_ks": 0.31}

Of each window the logger gets ``drift/alarm``, 0 or 1, and every measure: ``drift/class_psi``, ``drift/score_psi``,
``drift/score_ks``, and of a detector ``size`` and ``count`` as of ``score``. ``ml.tracing.shift`` has their formulas.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ml.core.errors import LogValueError
from ml.io.worker import Lock
from ml.tracing.baseline import Baseline
from ml.tracing.binning import BinNumbers, seen_of
from ml.tracing.record import Inference
from ml.tracing.shift import measured, thresholds

if TYPE_CHECKING:
    from ml.loggers.multi import MultiLogger

FALSE_ALARM_RATE = 0.01
WINDOW_SIZE = 100


class Drift(NamedTuple):
    """How far a window of inferences is from the baseline.

    Attributes:
        number: Of the window, from 1.
        num_inferences: How many it has.
        values: Of each measure.
        thresholds: What each has to be above for an alarm.
    """

    number: int
    num_inferences: int
    values: Mapping[str, float]
    thresholds: Mapping[str, float]

    @property
    def alarming(self) -> tuple[str, ...]:
        """The measures that are above their thresholds."""
        return tuple(name for name, value in self.values.items() if value > self.thresholds[name])

    @property
    def is_alarm(self) -> bool:
        """Whether there is any."""
        return bool(self.alarming)

    def scalars(self) -> dict[str, float]:
        """Returns what is logged."""
        measures = {f"drift/{name}": value for name, value in self.values.items()}
        return {**measures, "drift/alarm": float(self.is_alarm)}


class DriftMonitor:
    """Takes inferences as they come, of any thread, and judges each full window.

    A threshold belongs to a size of window: it is found out here, which takes up to some seconds of a large baseline.

    Args:
        baseline: What is usual.
        logger: Takes the measures, under its own namespace.
        window_size: How many inferences are judged together; >= 1.
        false_alarm_rate: Of windows that are as the baseline the part that may raise an alarm, all measures together;
            between 0.001 and 0.5.

    Raises:
        ConfigError: A number is out of its range.
    """

    def __init__(
        self,
        baseline: Baseline,
        logger: "MultiLogger | None" = None,
        *,
        window_size: int = WINDOW_SIZE,
        false_alarm_rate: float = FALSE_ALARM_RATE,
    ) -> None:
        self._baseline, self._logger = baseline, logger
        self._window_size, self._rate = window_size, false_alarm_rate
        self._thresholds = thresholds(baseline, window_size, false_alarm_rate=false_alarm_rate)
        usual = baseline.bins.counts_of(baseline.images)
        self._usual = {name: counts.sum(axis=0) for name, counts in usual.items()}
        self._lock, self._number = Lock(), 0
        self._window: list[BinNumbers] = []

    def add(self, inferences: Sequence[Inference]) -> list[Drift]:
        """Counts inferences; returns the drift of each window that they made full, and logs it.

        Raises:
            LogValueError: One is of another task; none of them was counted.
        """
        for inference in inferences:
            task = inference.output.task
            if task != self._baseline.task:
                raise LogValueError(f"the baseline is one of {self._baseline.task}, and this is {task}")
        binned, found = [self._baseline.bins.numbers_of(seen_of(inference.output)) for inference in inferences], []
        with self._lock:
            for bins in binned:
                self._window.append(bins)
                if len(self._window) == self._window_size:
                    found.append(self._end_window(self._thresholds))
        for drift in found:
            self._log(drift)
        return found

    def finish(self) -> Drift | None:
        """Returns the drift of the last window, which is not full, by thresholds of its size; ``None``: it is empty."""
        with self._lock:
            if not self._window:
                return None
            drift = self._end_window(thresholds(self._baseline, len(self._window), false_alarm_rate=self._rate))
        self._log(drift)
        return drift

    def _end_window(self, limits: Mapping[str, float]) -> Drift:
        window, self._window = self._window, []
        self._number += 1
        counts = {name: counts.sum(axis=0) for name, counts in self._baseline.bins.counts_of(window).items()}
        values = measured(self._baseline.task, self._usual, counts)
        return Drift(self._number, len(window), {name: float(value) for name, value in values.items()}, limits)

    def _log(self, drift: Drift) -> None:
        if self._logger is not None:
            self._logger.log_scalars(drift.scalars())
