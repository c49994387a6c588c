"""What an estimator of errors looks at: a row of numbers for each visible detection, or for a classifier's answer.

Of a detection::

    score        log(s / (1 - s)) of its score
    margin       between its two highest logits
    entropy      of the softmax of its logits, as a part of the highest that there can be
    size         log of the square root of its share of the image
    aspect       log of width / height
    border       how far the nearest border of the image is, in sides of a square of its area, 2 at most
    supporters   log(1 + other candidates whose IoU with it is at least 0.5)
    agreement    of these the part with its own class, weighed by score; 0.5 without any
    closeness    the mean IoU of those with its own class; 0 without any
    rival        the highest score among those with another class; 0 without any
    overlap      the highest IoU with another visible detection, of any class
    rank         log(1 + surer visible detections)
    crowd        log(1 + visible detections)

Of a classification ``score``, ``margin`` and ``entropy``. Behind them come the features (``ml.tracing.used_features``).
Everything is finite: what is not counts as 0, or as the largest number.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ml.detection.iou import iou
from ml.tracing.output import ClassificationOutput, DetectionOutput

Rows = npt.NDArray[np.float64]

OF_DETECTION: Final = (
    "score",
    "margin",
    "entropy",
    "size",
    "aspect",
    "border",
    "supporters",
    "agreement",
    "closeness",
    "rival",
    "overlap",
    "rank",
    "crowd",
)
OF_CLASSIFICATION: Final = ("score", "margin", "entropy")

_NEAR_IOU = 0.5
_LARGEST = 1e4
_TINY = 1e-6
_FAR = 2.0


def evidence_of(output: DetectionOutput | ClassificationOutput) -> Rows:
    """Returns the numbers of what a model said of an input, without features.

    Args:
        output: Of a detector: what is visible is decided.

    Returns:
        Shape (V, len(OF_DETECTION)), by descending score, or (1, len(OF_CLASSIFICATION)).
    """
    if isinstance(output, DetectionOutput):
        return _of_detections(output)
    probabilities = output.probabilities().astype(np.float64)[None]
    logits = output.logits.astype(np.float64)[None]
    return finite(np.stack([_logit(probabilities.max(axis=1)), _margin(logits), _entropy(logits)], axis=1))


def finite(numbers: Rows) -> Rows:
    """Returns numbers without what is not finite or very large, any shape."""
    return np.clip(np.nan_to_num(numbers, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST), -_LARGEST, _LARGEST)


def _of_detections(output: DetectionOutput) -> Rows:
    assert output.visible is not None, "whoever asks has decided"
    seen = np.flatnonzero(output.visible)
    chosen = seen[np.argsort(-output.scores[seen], kind="stable")]
    shown, count = output.chosen(chosen), len(chosen)
    overlaps = iou(shown.boxes, output.boxes)
    among_shown = overlaps[:, chosen]
    np.fill_diagonal(among_shown, 0.0)
    overlaps[np.arange(count), chosen] = 0.0
    is_near, is_own = overlaps >= _NEAR_IOU, shown.labels[:, None] == output.labels[None, :]
    weights = np.nan_to_num(output.scores.astype(np.float64))[None, :] * is_near
    height, width = output.image_size
    x1, y1, x2, y2 = shown.boxes.astype(np.float64).T
    logits = None if shown.logits is None or not shown.logits.shape[1] else shown.logits.astype(np.float64)
    with np.errstate(all="ignore"):  # boxes may be anything; what is not finite is made so below
        side = np.sqrt(np.maximum((x2 - x1) * (y2 - y1), 0.0))
        gap = np.minimum.reduce([x1, y1, width - x2, height - y2])
        columns = {
            "score": _logit(shown.scores.astype(np.float64)),
            "margin": np.zeros(count) if logits is None else _margin(logits),
            "entropy": np.zeros(count) if logits is None else _entropy(logits),
            "size": np.log(np.maximum(side / np.sqrt(max(height * width, 1)), _TINY)),
            "aspect": np.log(np.maximum(x2 - x1, _TINY) / np.maximum(y2 - y1, _TINY)),
            "border": np.clip(gap / np.maximum(side, _TINY), 0.0, _FAR),
            "supporters": np.log1p(is_near.sum(axis=1)),
            "agreement": _share(np.where(is_own, weights, 0.0).sum(axis=1), weights.sum(axis=1), 0.5),
            "closeness": _share((overlaps * (is_near & is_own)).sum(axis=1), (is_near & is_own).sum(axis=1), 0.0),
            "rival": np.where(is_own, 0.0, weights).max(axis=1, initial=0.0),
            "overlap": among_shown.max(axis=1, initial=0.0),
            "rank": np.log1p(np.arange(count)),
            "crowd": np.full(count, np.log1p(count)),
        }
    return finite(np.stack([columns[name] for name in OF_DETECTION], axis=1))


def _logit(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = np.clip(scores, _TINY, 1 - _TINY)
    odds: npt.NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds


def _margin(logits: Rows) -> npt.NDArray[np.float64]:
    if logits.shape[1] < 2:
        return logits[:, 0].copy()
    with np.errstate(invalid="ignore"):
        second, first = np.partition(logits, -2, axis=1)[:, -2:].T
        margin: npt.NDArray[np.float64] = first - second
    return margin


def _entropy(logits: Rows) -> npt.NDArray[np.float64]:
    if logits.shape[1] < 2:
        return np.zeros(len(logits))
    with np.errstate(all="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        terms = np.where(shares > 0, shares * np.log(shares), 0.0)
        entropy: npt.NDArray[np.float64] = -terms.sum(axis=1) / np.log(logits.shape[1])
    return entropy


def _share(
    part: npt.NDArray[np.floating], whole: npt.NDArray[np.floating] | npt.NDArray[np.integer], without: float
) -> npt.NDArray[np.float64]:
    share: npt.NDArray[np.float64] = np.where(whole > 0, part / np.where(whole > 0, whole, 1), without)
    return share
