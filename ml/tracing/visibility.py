"""Which candidates of a detector the user sees: those sure enough, of these the ones that nothing surer overlaps.

A model decides so in its last step, and shows nothing else. Here the same is decided about its candidates, to the last
bit, so that each of them is known to be seen or not::

    is_seen = visible(boxes, scores, labels, NmsConfig(0.05, 0.5, 100), shifts_up_to=1_000)
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ml.detection.nms import nms, shifted_by_label
from ml.tracing.output import DetectionOutput, NmsConfig


def visible(
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    config: NmsConfig,
    *,
    shifts_up_to: int = 0,
) -> npt.NDArray[np.bool_]:
    """Returns which candidates of one image are seen, shape (N,).

    Args:
        boxes: Shape (N, 4), x1, y1, x2, y2, in the pixels and the precision in which the model decides.
        scores: Shape (N,), compared in their own precision; NaN is never sure enough.
        labels: Shape (N,), >= 0. Only boxes of one class suppress each other.
        config: The setting. What is ``None`` decides nothing.
        shifts_up_to: Up to so many boxes above the score's threshold are kept apart by class with
            ``shifted_by_label``, which rounds them, and takes no negative coordinates; more, with class by class.

    Raises:
        ConfigError: A threshold is out of its range.
        LogValueError: Boxes, scores or labels have another shape.
    """
    sure = np.flatnonzero(scores > score_floor(config))
    is_visible = np.zeros(len(scores), bool)
    boxes, scores, labels = boxes[sure], scores[sure], labels[sure]
    iou_thresh, limit = config.iou_thresh, config.max_detections_per_image
    if iou_thresh is None:
        kept = np.argsort(-scores, kind="stable")[:limit]
    elif len(sure) <= shifts_up_to:
        kept = nms(shifted_by_label(boxes, labels), scores, iou_threshold=iou_thresh, max_detections=limit)
    else:
        kept = nms(boxes, scores, labels, iou_threshold=iou_thresh, max_detections=limit)
    is_visible[sure[kept]] = True
    return is_visible


def decided(output: DetectionOutput, config: NmsConfig) -> DetectionOutput:
    """Returns what a model said with ``visible`` as a setting has it, class by class, in float32."""
    return replace(output, visible=visible(output.boxes, output.scores, output.labels, config))


def score_floor(config: NmsConfig) -> float:
    """Returns what a score has to be above."""
    return -np.inf if config.score_thresh is None else float(config.score_thresh)
