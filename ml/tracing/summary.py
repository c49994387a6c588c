"""What an evaluation says in numbers: how often which error, of which class, and on which images most of them.

Inferences are added as they are read. What is kept of each are its visible boxes, for the mean average precision: some
30 bytes a box.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from ml.detection.average_precision import MeanAveragePrecision, mean_average_precision
from ml.detection.boxes import Detections
from ml.loggers.strict_json import Json
from ml.tracing.judging import MISSED, TYPES, VERDICTS, Judgement
from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.reading import Traced
from ml.tracing.record import Truth

_TYPES = TYPES["detection"]


class Summary:
    """Counts judged inferences.

    Args:
        num_worst: How many of the worst are named.
    """

    def __init__(self, num_worst: int) -> None:
        self._num_worst = num_worst
        self._inferences = self._truths = 0
        self._by_class: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._truths_by_class: Counter[int] = Counter()
        self._confused: Counter[tuple[int, int]] = Counter()
        self._worst: list[tuple[float, int, str, str]] = []
        self._predicted: list[Detections] = []
        self._true: list[Detections] = []

    def add(self, traced: Traced, judgement: Judgement) -> None:
        """Counts an inference.

        Args:
            traced: Its truth is known.
            judgement: What is wrong with it.
        """
        output, truth = traced.inference.output, traced.inference.truth
        if isinstance(output, DetectionOutput):
            assert isinstance(truth, Truth), "it was judged"
            shown, true_labels = output.shown(), truth.labels
            labels, scores = shown.labels, shown.scores
            self._predicted.append(Detections(shown.boxes, labels, scores))
            self._true.append(Detections(truth.xyxy, true_labels))
        else:
            labels, scores = answered(output)
            true_labels = np.array([truth], np.int64)
        for label, verdict, of in zip(labels.tolist(), judgement.verdicts, judgement.truths.tolist(), strict=True):
            self._by_class[label][verdict] += 1
            if verdict == "classification":
                self._confused[int(true_labels[of]), label] += 1
        for label in true_labels[judgement.missed].tolist():
            self._by_class[label][MISSED] += 1
        self._truths_by_class.update(true_labels.tolist())
        self._inferences += 1
        wrong = np.nan_to_num(scores[judgement.is_wrong].astype(np.float64)).sum()
        self._rank(float(wrong) + len(judgement.missed), traced)

    def to_json(self) -> dict[str, Json]:
        """Returns the numbers.

        ``errors`` has how many of each type, ``classes`` the same by the class of the detection, or of the truth that
        was missed; ``confused`` lists truth, prediction and how often, the most frequent first; ``worst`` the
        inferences with the highest sum of the scores of wrong detections and the number of missed truths.
        """
        totals: Counter[str] = sum(self._by_class.values(), Counter())
        precision = mean_average_precision(self._predicted, self._true) if self._true else None
        labels = sorted({*self._by_class, *self._truths_by_class})
        seen = sum(totals[verdict] for verdict in VERDICTS)
        return {
            "num_inferences": self._inferences,
            "num_detections": seen,
            "num_truths": self._truths_by_class.total(),
            "errors": _counts(totals),
            "classes": {str(label): self._of_class(label, precision) for label in labels},
            "confused": [[*pair, count] for pair, count in sorted(self._confused.items(), key=lambda item: -item[1])],
            "worst": [
                {"id": known, "input_id": name, "badness": badness}
                for badness, _, known, name in sorted(self._worst, reverse=True)
            ],
            **_precision(precision, totals, seen),
        }

    def _of_class(self, label: int, precision: MeanAveragePrecision | None) -> Json:
        figures = None if precision is None else precision.by_class.get(label)
        found: dict[str, Json] = {
            "num_truths": self._truths_by_class[label],
            "errors": _counts(self._by_class.get(label, Counter())),
        }
        if figures is not None:
            found |= {"ap": _finite(figures.ap), "ap_50": _finite(figures.ap_50), "ap_75": _finite(figures.ap_75)}
        return found

    def _rank(self, badness: float, traced: Traced) -> None:
        if badness <= 0 or not self._num_worst:
            return
        entry = (badness, -self._inferences, traced.id, traced.inference.input_id)  # of equal ones the first stays
        if len(self._worst) < self._num_worst:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)


def answered(output: ClassificationOutput) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class that a classifier answers, and its probability, shape (1,) each."""
    probabilities = output.probabilities()
    label = int(output.logits.argmax())
    return np.array([label], np.int64), probabilities[label : label + 1]


def _precision(precision: MeanAveragePrecision | None, totals: Mapping[str, int], seen: int) -> dict[str, Json]:
    if precision is None:
        return {"accuracy": totals["correct"] / seen if seen else None}
    return {
        "map": _finite(precision.map),
        "map_50": _finite(precision.map_50),
        "map_75": _finite(precision.map_75),
    }


def _counts(counts: Counter[str]) -> dict[str, Json]:
    return {name: counts[name] for name in _TYPES}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
