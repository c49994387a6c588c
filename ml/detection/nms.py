"""Non-maximum suppression: of boxes that overlap, only the surest one is kept.

This is the greedy algorithm of ``torchvision.ops.batched_nms``, and decides as it does to the last bit: in the
precision of the boxes, with a strict comparison, and for boxes of each class apart.
"""

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, LogValueError
from ml.detection.boxes import Corners, corners_of, labels_of, scores_of
from ml.detection.iou import overlap

_PAIRS_AT_ONCE, _BOXES_AT_ONCE = 1 << 15, 64
"""What is computed at once stays in a processor's cache, and costs memory of the number of boxes, not of its square."""


def nms(
    boxes: object,
    scores: object,
    labels: object = None,
    *,
    iou_threshold: float,
    max_detections: int | None = None,
) -> npt.NDArray[np.int64]:
    """Returns which boxes are kept, by descending score.

    The surest box is kept; the boxes of its class whose IoU with it is above the threshold are not; so on with the
    surest that is left. Of equal scores the first in the input comes first; NaN comes before every score, as torch
    sorts it. A box that has no area, or holds a NaN, neither suppresses nor is suppressed.

    Args:
        boxes: Shape (N, 4), x1, y1, x2, y2; N may be 0. IoU is computed in float32 if the boxes are float32 or float16,
            else in float64: near the threshold, the one keeps what the other does not.
        scores: Shape (N,).
        labels: The class of each box, N whole numbers or texts; ``None``: all are of one class.
        iou_threshold: In [0, 1]. An IoU that equals it does not suppress.
        max_detections: How many to keep at most, the surest, of all classes together; >= 0. ``None`` keeps all.

    Returns:
        Shape (kept,): indices of boxes.

    Raises:
        ConfigError: ``iou_threshold`` or ``max_detections`` is out of its range.
        LogValueError: Boxes, scores or labels have another shape, or another type.
    """
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"iou_threshold is between 0 and 1, got {iou_threshold!r}.")
    if max_detections is not None and max_detections < 0:
        raise ConfigError(f"max_detections is 0 or more, got {max_detections!r}.")
    corners = corners_of(boxes)
    order = _descending(scores_of(scores, len(corners)))
    classes = np.zeros(len(corners), np.int64) if labels is None else labels_of(labels, len(corners))
    ranked, ranked_classes = corners[order], classes[order]
    is_kept = np.zeros(len(corners), bool)
    for label in np.unique(classes):
        ranks = np.flatnonzero(ranked_classes == label)
        is_kept[ranks[_greedy(ranked[ranks], iou_threshold, max_detections)]] = True
    return order[is_kept][:max_detections]


def shifted_by_label(boxes: object, labels: object) -> Corners:
    """Returns boxes, each moved right and down by its label times one more than the largest coordinate of all.

    Boxes of different classes then lie apart, and ``nms`` needs no labels. That is what torchvision does with up to
    1,000 boxes on a CPU and 25,000 on a GPU. In float32 it costs precision: with 80 classes in an image 1,000 wide,
    coordinates are rounded to 1/128 pixel. So who must decide as a model did that used it has to shift the boxes too.

    Args:
        boxes: Shape (N, 4), x1, y1, x2, y2, none of them negative: else they may still meet.
        labels: N whole numbers, >= 0.

    Returns:
        Shape (N, 4), in the precision of the boxes.

    Raises:
        LogValueError: Boxes or labels have another shape, or another type.
    """
    corners = corners_of(boxes)
    classes = labels_of(labels, len(corners))
    if not len(corners):
        return corners
    if classes.dtype.kind != "i":
        raise LogValueError(
            f"boxes are moved by labels that are numbers, got {classes.tolist()[0]!r:.40}", "Number the classes."
        )
    shifts: Corners = classes.astype(corners.dtype) * (corners.max() + corners.dtype.type(1))
    shifted: Corners = corners + shifts[:, None]
    return shifted


def _descending(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Returns the order of scores, the highest first and NaN before them; equal ones keep theirs."""
    return np.lexsort((-scores, ~np.isnan(scores)))


def _greedy(ranked: Corners, iou_threshold: float, most: int | None) -> list[int]:
    """Returns the ranks of the boxes kept, of one class, shape (N, 4), by descending score; at most so many."""
    kept: list[int] = []
    left = np.arange(len(ranked))
    while len(left) and (most is None or len(kept) < most):
        surest = left[: max(1, min(_BOXES_AT_ONCE, _PAIRS_AT_ONCE // len(left)))]
        # np.float64, or numpy would round the threshold to the precision of the boxes before it compares.
        suppresses = overlap(ranked[surest, None], ranked[None, left]) > np.float64(iou_threshold)
        is_gone = np.zeros(len(left), bool)
        for index, box in enumerate(surest.tolist()):
            if not is_gone[index]:
                kept.append(box)
                is_gone |= suppresses[index]
        left = left[len(surest) :][~is_gone[len(surest) :]]
    return kept[:most]
