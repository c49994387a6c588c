"""Intersection over union: the area that two boxes share, as a part of the area that either covers.

``IoU(a, b) = |a n b| / (|a| + |b| - |a n b|)``, where ``|a|`` is the area of a, and n what both cover.
"""

import numpy as np
import numpy.typing as npt

from ml.detection.boxes import Corners, corners_of


def iou(first: object, second: object) -> npt.NDArray[np.float64]:
    """Returns the IoU of each box of the one with each of the other.

    Args:
        first: Shape (N, 4), x1, y1, x2, y2. N may be 0.
        second: Shape (M, 4); M may be 0.

    Returns:
        Shape (N, M), in [0, 1]. A box that is empty, or holds a NaN or an infinity, overlaps nothing, itself included.

    Raises:
        LogValueError: A shape is another one, or these are no numbers.
    """
    a, b = (corners_of(boxes).astype(np.float64) for boxes in (first, second))
    overlaps = overlap(a[:, None], b[None, :])
    return np.where(np.isfinite(overlaps), overlaps, 0.0).clip(0.0, 1.0)


def overlap(first: Corners, second: Corners) -> Corners:
    """Returns the IoU of boxes pair by pair, in the precision of the boxes, as it comes: NaN where both have no area.

    Args:
        first: Shape (..., 4), which broadcasts against ``second``.
        second: Shape (..., 4), of the same dtype.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shared = _shared(first, second, 0) * _shared(first, second, 1)
        # In this order, which is torchvision's: a sum of floats depends on it.
        ratio: Corners = shared / (area(first) + area(second) - shared)
    return ratio


def _shared(first: Corners, second: Corners, axis: int) -> Corners:
    """Returns how long both are together, along x or y; coordinate by coordinate, since short last axes are slow."""
    near = np.maximum(first[..., axis], second[..., axis])
    length: Corners = np.minimum(first[..., axis + 2], second[..., axis + 2]) - near
    return np.maximum(length, 0)


def area(boxes: Corners) -> Corners:
    """Returns width times height, shape (...), of boxes of shape (..., 4)."""
    size: Corners = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return size
