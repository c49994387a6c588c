"""What a box is here: x1, y1, x2, y2 in pixels, with x to the right and y down; continuous, so x2 - x1 is its width.

No pixel is added: a box from 2 to 5 is 3 wide, as in COCO, torchvision and Pascal VOC since it left its +1 behind. A
box with x2 < x1 or y2 < y1 is empty. Everything here reads arrays, tensors on the CPU and lists alike, and copies none.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import as_array

Label: TypeAlias = int | str
Labels: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.str_]
Corners: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_SHAPE_FIX = "Pass shape (N, 4): x1, y1, x2, y2 in pixels."
_LARGEST_LABEL = 2**63


class BoxesLike(Protocol):
    """The boxes of one image, with what is known of each: anything that has these three attributes.

    Attributes:
        xyxy: Shape (N, 4); N may be 0.
        labels: The class of each box, N whole numbers or N texts; ``None`` where all are of one class.
        scores: Shape (N,), higher is surer; ``None`` where there are none, as of a ground truth.
    """

    @property
    def xyxy(self) -> npt.ArrayLike: ...

    @property
    def labels(self) -> npt.ArrayLike | Sequence[Label] | None: ...

    @property
    def scores(self) -> npt.ArrayLike | None: ...


class Detections(NamedTuple):
    """The plainest boxes of one image: ``BoxesLike`` describes the attributes."""

    xyxy: npt.ArrayLike
    labels: npt.ArrayLike | Sequence[Label] | None = None
    scores: npt.ArrayLike | None = None


def corners_of(boxes: object) -> Corners:
    """Returns boxes as an array of shape (N, 4): float32 as it is, float16 as float32, all else as float64.

    Raises:
        LogValueError: The shape is another one, or these are no numbers.
    """
    array = as_array(boxes)
    if array.size == 0 and (array.ndim == 1 or array.shape[-1] == 4):  # [] and (0, 4), but not (3, 0)
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise LogValueError(f"boxes have shape (N, 4), got shape {array.shape}", _SHAPE_FIX)
    if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
        return array.astype(np.float32, copy=False)
    return array.astype(np.float64, copy=False)


def scores_of(scores: object, count: int) -> npt.NDArray[np.float64]:
    """Returns the scores of ``count`` boxes, shape (count,).

    Raises:
        LogValueError: There are more or fewer, or they are no numbers.
    """
    array = as_array(scores)
    if array.shape != (count,):
        raise LogValueError(f"scores have shape ({count},) as there are boxes, got shape {array.shape}", "One a box.")
    return array.astype(np.float64, copy=False)


def labels_of(labels: object, count: int) -> Labels:
    """Returns the labels of ``count`` boxes, shape (count,): int64 where they are whole numbers (1.0 is), else text.

    Raises:
        LogValueError: There are more or fewer, or they are neither whole numbers nor all texts.
    """
    array = np.asarray(labels) if hasattr(labels, "__array__") else None
    if array is not None and array.shape == (count,) and array.dtype.kind == "i":
        return array.astype(np.int64, copy=False)
    listed = labels if array is None else array.tolist()
    if isinstance(listed, str) or not isinstance(listed, Sequence) or len(listed) != count:
        raise LogValueError(f"every one of {count} boxes has one label, got {listed!r:.80}", "Pass one a box.")
    if all(isinstance(label, str) for label in listed):
        return np.array(listed, np.str_)
    if all(_is_whole(label) for label in listed):
        return np.array([int(label) for label in listed], np.int64)
    raise LogValueError(f"labels are all whole numbers or all texts, got {listed!r:.80}", "Name every class alike.")


def common_labels(predicted: BoxesLike, truth: BoxesLike) -> tuple[Labels, Labels]:
    """Returns the labels of both, which can be compared. Where no box has one, all are of class 0.

    Raises:
        LogValueError: The boxes of one have labels and those of the other have none, one has numbers and the other
            texts, or ``labels_of`` refuses them.
    """
    counts = len(corners_of(predicted.xyxy)), len(corners_of(truth.xyxy))
    if all(counts) and (predicted.labels is None) != (truth.labels is None):
        without = "prediction" if predicted.labels is None else "truth"
        raise LogValueError(f"the {without} has no labels, and the other side does", "Give both labels, or neither.")
    labels, true_labels = (
        np.zeros(count, np.int64) if boxes.labels is None else labels_of(boxes.labels, count)
        for boxes, count in zip((predicted, truth), counts, strict=True)
    )
    if all(counts) and labels.dtype.kind != true_labels.dtype.kind:
        examples = " and ".join(repr(of.tolist()[0])[:40] for of in (labels, true_labels))
        raise LogValueError(
            f"a prediction never has the class of a truth: {examples}",
            "Name classes by numbers on both sides, or by texts.",
        )
    return labels, true_labels


def _is_whole(label: object) -> bool:
    return isinstance(label, int | float) and float(label).is_integer() and abs(label) < _LARGEST_LABEL
