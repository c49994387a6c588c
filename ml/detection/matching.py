"""Which prediction found which truth: the greedy matching of COCO's evaluation.

The predictions choose in the order of their scores, the surest first. Each takes the truth of the highest IoU that none
has taken yet, if that is at least the threshold. It is not the assignment with the most pairs, and not meant to be: a
sure prediction is never judged by what a less sure one needs.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError
from ml.detection.boxes import BoxesLike, common_labels, scores_of
from ml.detection.iou import iou


class Matches(NamedTuple):
    """Which boxes of one image belong together.

    Attributes:
        pairs: Shape (K, 2): the index of a prediction and that of the truth which it found, by descending score.
        ious: Shape (K,), in (0, 1]: of each pair.
        unmatched_predicted: Shape (P,): predictions that found nothing (false positives), ascending.
        unmatched_truth: Shape (T,): truths that none found (false negatives), ascending.
    """

    pairs: npt.NDArray[np.int64]
    ious: npt.NDArray[np.float64]
    unmatched_predicted: npt.NDArray[np.int64]
    unmatched_truth: npt.NDArray[np.int64]


def match(predicted: BoxesLike, truth: BoxesLike, *, iou_threshold: float = 0.5, by_class: bool = True) -> Matches:
    """Matches the predictions of one image with its truth.

    Args:
        predicted: Its scores say who chooses first; without scores, and of equal ones, the first in the input does.
            NaN chooses last.
        truth: What is there. Of truths with the same IoU the last one is taken, as COCO does.
        iou_threshold: In (0, 1]; an IoU that equals it suffices.
        by_class: Whether a prediction takes only truths of its own label; ``False`` finds what was located right and
            called wrong.

    Raises:
        ConfigError: ``iou_threshold`` is out of its range.
        LogValueError: Boxes, scores or labels have another shape, or labels cannot be compared.
    """
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"iou_threshold is above 0 and at most 1, got {iou_threshold!r}.")
    overlaps = iou(predicted.xyxy, truth.xyxy)
    if by_class:
        labels, true_labels = common_labels(predicted, truth)
        overlaps[labels[:, None] != true_labels[None, :]] = 0.0
    order = by_descending_score(predicted, len(overlaps))
    (found,) = greedy(overlaps[order], np.array([iou_threshold]))
    chosen, taken = order[found >= 0], found[found >= 0]
    return Matches(
        pairs=np.stack([chosen, taken], axis=1),
        ious=overlaps[chosen, taken],
        unmatched_predicted=np.setdiff1d(np.arange(overlaps.shape[0]), chosen),
        unmatched_truth=np.setdiff1d(np.arange(overlaps.shape[1]), taken),
    )


def by_descending_score(predicted: BoxesLike, count: int) -> npt.NDArray[np.int64]:
    """Returns the order in which ``count`` predictions choose, shape (count,): NaN last, equal scores as they come."""
    if predicted.scores is None:
        return np.arange(count)
    return np.argsort(-scores_of(predicted.scores, count), kind="stable")


def greedy(overlaps: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Returns the truth that each prediction takes, for each threshold apart.

    Args:
        overlaps: Shape (P, T), the IoU of predictions, in the order of their choice, with truths.
        thresholds: Shape (K,), above 0.

    Returns:
        Shape (K, P): the index of a truth, or -1.
    """
    found = np.full((len(thresholds), overlaps.shape[0]), -1, np.int64)
    if not overlaps.size:
        return found
    # COCO lets rounding cost no match of equal boxes.
    suffices = overlaps >= np.minimum(thresholds, 1 - 1e-10)[:, None, None]
    free, last = np.ones((len(thresholds), overlaps.shape[1]), bool), overlaps.shape[1] - 1
    for index in np.flatnonzero(suffices.any(axis=(0, 2))):
        candidates = np.where(free & suffices[:, index], overlaps[index], -1.0)
        best = last - candidates[:, ::-1].argmax(axis=1)  # the last of equal ones
        is_found = candidates.max(axis=1) >= 0
        found[is_found, index] = best[is_found]
        free[is_found, best[is_found]] = False
    return found
