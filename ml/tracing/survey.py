"""What there is to say of chosen inferences: how many, what is wrong, how sure, how fast, and which ones to look at.

All of it comes out of one pass, in bounded memory but for the visible boxes of what has a truth, which the mean average
precision needs.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.loggers.strict_json import Json
from ml.tracing.drift import Drift, DriftMonitor
from ml.tracing.estimator import ErrorEstimator
from ml.tracing.judging import Judgement, Thresholds, judge
from ml.tracing.moments import Instant, Moment, MomentTally
from ml.tracing.output import DetectionOutput
from ml.tracing.reading import Traced, Traces
from ml.tracing.reliability import Reliability, ReliabilityTally
from ml.tracing.selection import Selection
from ml.tracing.statistics import Statistics, Tally
from ml.tracing.summary import Summary, answered
from ml.tracing.sweep import Sweep, Swept

MAX_SWEPT: Final = 2000
"""Images whose candidates are looked at for other thresholds; of more, so many are chosen by their ids."""


class Sample(NamedTuple):
    """An inference to look at.

    Attributes:
        traced: Without its features.
        judgement: What is wrong with it; ``None``: its truth is not known.
        error_probability: Of each visible detection, by descending score; ``None``: it is not estimated.
        badness: With a truth, the scores of wrong detections and the number of missed truths together; without, how
            many wrong detections are expected, or where nothing is estimated, by how much scores miss 1.
    """

    traced: Traced
    judgement: Judgement | None
    error_probability: npt.NDArray[np.floating] | None
    badness: float


class WindowDrift(NamedTuple):
    """The drift of a window, and when it was: Unix seconds of its first and its last inference."""

    drift: Drift
    first_s: float
    last_s: float


@dataclass(frozen=True, eq=False)
class Survey:
    """What there is to say of the inferences of one dataset type.

    Attributes:
        dataset_type: As the user calls it.
        task: ``"detection"`` or ``"classification"``.
        runs: The uuids of their runs, in order.
        epochs: Of the model, ascending.
        num_inferences: How many.
        num_labelled: Those whose truth is known.
        statistics: Of all of them.
        errors: What ``Summary.to_json`` says of those with a truth; ``None``: there are none.
        swept: What other thresholds would show.
        reliability: Of the estimated probabilities.
        drifts: Of each window; empty without a baseline.
        moments: Over time.
        worst: The worst first.
    """

    dataset_type: str
    task: str
    runs: tuple[str, ...]
    epochs: tuple[int, ...]
    num_inferences: int
    num_labelled: int
    statistics: Statistics
    errors: Mapping[str, Json] | None
    swept: Swept
    reliability: Reliability
    drifts: tuple[WindowDrift, ...]
    moments: tuple[Moment, ...]
    worst: tuple[Sample, ...]


def survey(
    traces: Traces,
    selection: Selection,
    *,
    count: int,
    estimator: ErrorEstimator | None = None,
    monitor: DriftMonitor | None = None,
    thresholds: Thresholds | None = None,
    max_samples: int = 0,
) -> Survey | None:
    """Reads chosen inferences once; returns ``None`` where there are none.

    Args:
        traces: Where they are.
        selection: Which; of one dataset type.
        count: About how many there are.
        estimator: Estimates errors; ``None``: what was estimated when they were traced counts.
        monitor: Judges windows; its window is empty, before and afterwards.
        thresholds: Of the IoU; ``None``: 0.5 and 0.1.
        max_samples: How many samples are kept.

    Raises:
        ConfigError: A database cannot be read.
        FormatError: One is damaged.
    """
    thresholds = Thresholds() if thresholds is None else thresholds
    surveyor = _Surveyor(count, estimator, monitor, thresholds, max_samples)
    for traced in traces.read(selection):
        surveyor.add(traced)
    return surveyor.survey() if surveyor.num_inferences else None


class _Surveyor:
    """Takes inferences one after the other."""

    def __init__(
        self,
        count: int,
        estimator: ErrorEstimator | None,
        monitor: DriftMonitor | None,
        thresholds: Thresholds,
        max_samples: int,
    ) -> None:
        self._count, self._estimator, self._monitor = max(count, 1), estimator, monitor
        self._thresholds, self._max_samples = thresholds, max_samples
        self.num_inferences, self._num_labelled = 0, 0
        self._tally, self._summary, self._sweep = Tally(), Summary(0), Sweep(thresholds.foreground)
        self._reliability, self._times = ReliabilityTally(), list[float]()
        self._runs, self._epochs = dict[str, None](), set[int]()
        self._drifts, self._moments = list[WindowDrift](), MomentTally(self._count)
        self._worst: list[tuple[float, int, Sample]] = []
        self._dataset_type = self._task = ""

    def add(self, traced: Traced) -> None:
        inference, output = traced.inference, traced.inference.output
        self.num_inferences += 1
        self._dataset_type, self._task = inference.dataset_type, inference.output.task
        self._runs[traced.run] = None
        self._epochs.add(inference.epoch)
        self._tally.add([inference])
        judgement = None
        if inference.truth is not None:
            judgement = judge(traced, self._thresholds)
            self._num_labelled += 1
            self._summary.add(traced, judgement)
        if int(traced.id[:8], 16) < 2**32 * MAX_SWEPT / self._count:
            self._sweep.add(output, inference.truth, inference.num_candidates, inference.setting)
        probability = self._estimated(traced)
        if probability is not None:
            self._reliability.add(probability, None if judgement is None else judgement.is_wrong)
        scores = np.nan_to_num(_scores(traced))
        self._watch(traced)
        self._rank(traced, judgement, probability, scores)
        total = np.nan if probability is None else float(np.nansum(probability))
        self._moments.add(Instant(inference.time_s, inference.latency_s, len(scores), float(scores.sum()), total))

    def survey(self) -> Survey:
        self._end_window()
        return Survey(
            dataset_type=self._dataset_type,
            task=self._task,
            runs=tuple(self._runs),
            epochs=tuple(sorted(self._epochs)),
            num_inferences=self.num_inferences,
            num_labelled=self._num_labelled,
            statistics=self._tally.statistics(),
            errors=self._summary.to_json() if self._num_labelled else None,
            swept=self._sweep.swept(),
            reliability=self._reliability.reliability(),
            drifts=tuple(self._drifts),
            moments=self._moments.moments(),
            worst=tuple(sample for _, _, sample in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)),
        )

    def _estimated(self, traced: Traced) -> npt.NDArray[np.floating] | None:
        inference = traced.inference
        if self._estimator is None:
            return inference.error_probability
        try:
            return self._estimator.estimate(inference.output, inference.features)
        except LogValueError:  # a feature that it looks at is not there
            return None

    def _watch(self, traced: Traced) -> None:
        if self._monitor is None:
            return
        self._times.append(traced.inference.time_s)
        for drift in self._monitor.add([traced.inference]):
            self._drifts.append(WindowDrift(drift, min(self._times), max(self._times)))
            self._times.clear()

    def _end_window(self) -> None:
        """Judges what is left; it may be the only window."""
        last = None if self._monitor is None else self._monitor.finish()
        if last is not None:
            self._drifts.append(WindowDrift(last, min(self._times), max(self._times)))

    def _rank(
        self,
        traced: Traced,
        judgement: Judgement | None,
        probability: npt.NDArray[np.floating] | None,
        scores: npt.NDArray[np.floating],
    ) -> None:
        if judgement is not None:
            badness = float(scores[judgement.is_wrong].sum()) + len(judgement.missed)
        else:
            badness = float(np.nansum(1 - scores if probability is None else probability))
        if not self._max_samples or badness <= 0:
            return
        bare = traced._replace(inference=replace(traced.inference, features={}))
        entry = (badness, -self.num_inferences, Sample(bare, judgement, probability, badness))
        if len(self._worst) < self._max_samples:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)


def _scores(traced: Traced) -> npt.NDArray[np.float64]:
    """Returns the scores of what the user saw, by descending score."""
    output = traced.inference.output
    shown = output.shown().scores if isinstance(output, DetectionOutput) else answered(output)[1]
    scores: npt.NDArray[np.float64] = shown.astype(np.float64)
    return scores
