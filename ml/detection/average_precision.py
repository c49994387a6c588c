"""Mean average precision, as COCO defines it: one figure for how well a detector finds, locates and ranks.

Each prediction of a class found a truth or not, as ``ml.detection.matching`` says. Of the n surest of them, in all
images together::

    precision(n) = found / n        recall(n) = found / truths of the class

The average precision at one IoU threshold is the mean, over the 101 recalls 0, 0.01, ... 1, of the highest precision
at that recall or a higher one; 0 where that recall is never reached. ``ap`` is its mean over the ten IoU thresholds
0.5, 0.55, ... 0.95, ``map`` the mean of ``ap`` over the classes that have a truth.

The figures are those of pycocotools, with its areaRng "all" and without crowds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, LogValueError
from ml.detection.boxes import BoxesLike, Label, common_labels, scores_of
from ml.detection.iou import iou
from ml.detection.matching import by_descending_score, greedy

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)

_AT_50, _AT_75 = 0, 5


class AveragePrecision(NamedTuple):
    """How well one class is detected: each in [0, 1], or NaN where it has no truth.

    Attributes:
        ap: Mean over the IoU thresholds 0.5, 0.55, ... 0.95.
        ap_50: At the IoU threshold 0.5.
        ap_75: At the IoU threshold 0.75.
        num_truths: How many there are in all images.
    """

    ap: float
    ap_50: float
    ap_75: float
    num_truths: int


class MeanAveragePrecision(NamedTuple):
    """How well all classes are detected: each in [0, 1], or NaN where there is no truth at all.

    Attributes:
        map: Mean of ``ap`` over the classes that have a truth.
        map_50: Mean of ``ap_50``.
        map_75: Mean of ``ap_75``.
        by_class: Of each label that was predicted or is true, in ascending order.
    """

    map: float
    map_50: float
    map_75: float
    by_class: Mapping[Label, AveragePrecision]


def mean_average_precision(
    predicted: Sequence[BoxesLike], truth: Sequence[BoxesLike], *, max_detections: int = 100
) -> MeanAveragePrecision:
    """Returns how well the truth of images was predicted.

    Args:
        predicted: One an image, with scores. NaN ranks last; equal scores rank in the order of the images.
        truth: One an image, in the same order.
        max_detections: How many predictions of a class count in one image, the surest; >= 1.

    Raises:
        ConfigError: ``max_detections`` is below 1, or there are not as many of the one as of the other.
        LogValueError: Predictions have no scores, boxes, scores or labels have another shape, or labels cannot be
            compared.
    """
    if max_detections < 1:
        raise ConfigError(f"max_detections is 1 or more, got {max_detections!r}.")
    if len(predicted) != len(truth):
        raise ConfigError(f"Every image has predictions and a truth, got {len(predicted)} and {len(truth)} images.")
    outcomes: defaultdict[Label, list[_Outcome]] = defaultdict(list)
    for index, (found, there) in enumerate(zip(predicted, truth, strict=True)):
        try:
            for label, outcome in _outcomes(found, there, max_detections):
                outcomes[label].append(outcome)
        except LogValueError as error:
            raise LogValueError(f"image {index}: {error.problem}", error.fix) from error
    if len({type(label) for label in outcomes}) > 1:
        raise LogValueError("some images name classes by numbers, others by texts", "Name every class alike.")
    by_class = {label: _average_precision(outcomes[label]) for label in sorted(outcomes)}
    with_truth = [figures for figures in by_class.values() if figures.num_truths]
    mean, mean_50, mean_75 = np.mean([figures[:3] for figures in with_truth] or [(np.nan,) * 3], axis=0).tolist()
    return MeanAveragePrecision(mean, mean_50, mean_75, by_class)


class _Outcome(NamedTuple):
    """What came of the predictions of one class in one image, by descending score.

    Attributes:
        scores: Shape (P,).
        is_found: Shape (thresholds, P): which found a truth.
        num_truths: How many there were to find.
    """

    scores: npt.NDArray[np.float64]
    is_found: npt.NDArray[np.bool_]
    num_truths: int


def _outcomes(predicted: BoxesLike, truth: BoxesLike, max_detections: int) -> Iterable[tuple[Label, _Outcome]]:
    """Yields what came of each class of one image."""
    if predicted.scores is None:
        raise LogValueError("predictions are ranked by their scores, and there are none", "Pass scores.")
    labels, true_labels = common_labels(predicted, truth)
    scores, overlaps = scores_of(predicted.scores, len(labels)), iou(predicted.xyxy, truth.xyxy)
    order = by_descending_score(predicted, len(labels))
    for label in {*labels.tolist(), *true_labels.tolist()}:
        chosen = order[labels[order] == label][:max_detections]
        true = np.flatnonzero(true_labels == label)
        found = greedy(overlaps[np.ix_(chosen, true)], IOU_THRESHOLDS)
        yield label, _Outcome(scores[chosen], found >= 0, len(true))


def _average_precision(outcomes: Sequence[_Outcome]) -> AveragePrecision:
    """Returns the figures of one class, from what came of it in each image where it is predicted or true."""
    num_truths = sum(outcome.num_truths for outcome in outcomes)
    if num_truths == 0:
        return AveragePrecision(np.nan, np.nan, np.nan, 0)
    order = np.argsort(-np.concatenate([outcome.scores for outcome in outcomes]), kind="stable")
    is_found = np.concatenate([outcome.is_found for outcome in outcomes], axis=1)[:, order]
    found = is_found.cumsum(axis=1)
    precisions = found / np.arange(1, len(order) + 1)
    reachable = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    per_threshold = [
        np.append(highest, 0.0)[np.searchsorted(recall, RECALLS)].mean()
        for highest, recall in zip(reachable, found / num_truths, strict=True)
    ]
    return AveragePrecision(
        float(np.mean(per_threshold)), float(per_threshold[_AT_50]), float(per_threshold[_AT_75]), num_truths
    )
