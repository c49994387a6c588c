"""What is seen of a model without knowing what is true: how many, how sure, which classes, how fast."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ml.io.worker import Lock
from ml.tracing.output import DetectionOutput
from ml.tracing.record import Inference

_BINS = 1000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Statistics(NamedTuple):
    """Basic statistics of some inferences.

    Attributes:
        num_inferences: How many.
        mean_latency_s: Seconds of the model, an input.
        detections_per_image: How many visible detections on average; of a classifier 1.
        class_mix: The share of each class among the visible detections, by its number, the most frequent first.
        score_quantiles: Of the visible detections' scores, by share, within 0.001: ``{0.5: 0.913, ...}``; empty where
            there are none.
    """

    num_inferences: int
    mean_latency_s: float
    detections_per_image: float
    class_mix: Mapping[int, float]
    score_quantiles: Mapping[float, float]


class Tally:
    """Counts inferences. It may be told of them by several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count, self._seen, self._latency_s = 0, 0, 0.0
        self._classes: Counter[int] = Counter()
        self._bins = np.zeros(_BINS, np.int64)

    @classmethod
    def of(cls, inferences: Sequence[Inference]) -> "Tally":
        """Returns one of these alone."""
        tally = cls()
        tally.add(inferences)
        return tally

    def add(self, inferences: Sequence[Inference]) -> None:
        """Counts some more."""
        scores, labels = zip(*map(_seen, inferences), strict=True)
        seen, classes = np.concatenate(scores), np.concatenate(labels)
        bins = np.clip(np.nan_to_num(seen, nan=0.0) * _BINS, 0, _BINS - 1).astype(np.int64)
        with self._lock:
            self._count += len(inferences)
            self._seen += len(seen)
            self._latency_s += sum(inference.latency_s for inference in inferences)
            self._classes.update(classes.tolist())
            self._bins += np.bincount(bins, minlength=_BINS)

    def statistics(self) -> Statistics:
        """Returns what was counted."""
        with self._lock:
            count, seen, latency_s = self._count, self._seen, self._latency_s
            classes, bins = self._classes.most_common(), self._bins.copy()
        return Statistics(
            count,
            latency_s / count if count else 0.0,
            seen / count if count else 0.0,
            {label: number / seen for label, number in classes},
            _quantiles(bins),
        )

    def scalars(self) -> dict[str, float]:
        """Returns what is logged of a call."""
        found = self.statistics()
        median = {"median_score": found.score_quantiles[0.5]} if found.score_quantiles else {}
        return {"latency_s": found.mean_latency_s, "detections_per_image": found.detections_per_image, **median}


def _seen(inference: Inference) -> tuple[np.ndarray, np.ndarray]:
    output = inference.output
    if isinstance(output, DetectionOutput):
        assert output.visible is not None, "it was decided"
        return output.scores[output.visible], output.labels[output.visible]
    probabilities = output.probabilities()
    label = int(probabilities.argmax())
    return probabilities[label : label + 1], np.array([label])


def _quantiles(bins: np.ndarray) -> dict[float, float]:
    reached = np.cumsum(bins)
    if not reached[-1]:
        return {}
    return {share: float(np.searchsorted(reached, share * reached[-1]) + 0.5) / _BINS for share in _QUANTILES}
