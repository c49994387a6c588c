"""Boxes that belong to the pictures of a table: their own, and those of the columns behind them.

::

    image           found                     what the picture shows
    Image(boxes=T)  Boxes([...], scores=...)  T, and what was found over it
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import as_array


class CellBoxes(NamedTuple):
    """Boxes on a picture, whatever size it is drawn in.

    Attributes:
        corners: Shape (N, 4): left, top, right, bottom, as parts of the width and the height of the picture.
        labels: N texts or class numbers; ``None``: there are none.
        scores: Shape (N,); ``None``: there are none.
    """

    corners: npt.NDArray[np.float64]
    labels: Sequence[object] | None
    scores: npt.NDArray[np.float64] | None


def has_boxes(cell: object) -> bool:
    """Whether a cell is boxes that nobody can change: it has ``xyxy``, an array that is read-only."""
    corners = getattr(cell, "xyxy", None)
    return isinstance(corners, np.ndarray) and not corners.flags.writeable


def boxes_of_pictures(
    columns: Mapping[str, Sequence[object] | np.ndarray],
    sizes_px: Mapping[str, Mapping[int, tuple[int, int]]],
    rest: Callable[[], None],
) -> dict[str, dict[int, list[CellBoxes]]]:
    """Returns the boxes on pictures, by column and row; those that are drawn last come last.

    A picture has its own boxes, which are those of the attribute ``boxes``, and those that the same row has in columns
    of boxes between its column and the next one of pictures; before the first such column, they are on that one.

    Args:
        columns: By name, in order: those of pictures, and those that may be of boxes.
        sizes_px: For each column of pictures by row: the height and width that boxes are meant for.
        rest: Called for every picture that has boxes.
    """
    found: dict[str, dict[int, list[CellBoxes]]] = {name: {} for name in sizes_px}
    current = next((name for name in columns if name in sizes_px), None)
    if current is None:
        return found
    for name, cells in columns.items():
        current = name if name in sizes_px else current
        for row, size_px in sizes_px[current].items():
            boxes = _boxes(getattr(cells[row], "boxes", None) if name == current else cells[row], size_px)
            if boxes is not None:
                found[current].setdefault(row, []).append(boxes)
                rest()
    return found


def _boxes(value: object, size_px: tuple[int, int]) -> CellBoxes | None:
    """Returns boxes on a picture of a size; ``None`` where a value is none, or says of them what makes no sense."""
    if not has_boxes(value):
        return None
    labels, scores = getattr(value, "labels", None), getattr(value, "scores", None)
    try:
        corners = as_array(value.xyxy).astype(np.float64)  # type: ignore[attr-defined]
        scores = None if scores is None else as_array(scores).astype(np.float64)
    except LogValueError:
        return None
    if corners.ndim != 2 or corners.shape[1] != 4 or not len(corners):
        return None
    count = len(corners)
    if scores is not None and scores.shape != (count,):
        return None
    if labels is not None and (not isinstance(labels, Sequence) or len(labels) != count):
        return None
    height, width = size_px
    return CellBoxes(corners / (width, height, width, height), labels, scores)
