"""What a model said of one image: the candidates of a detector before its suppression, or the classes of a classifier.

A candidate is what the model would show if nothing better overlapped it and its score sufficed. ``visible`` says which
of them the user sees, under the setting with which the model ran.
"""

from dataclasses import dataclass
from operator import index
from typing import ClassVar, Literal, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, LogValueError


class NmsConfig(NamedTuple):
    """By what a detector decides which candidates it shows. ``None``: it has no such limit.

    Attributes:
        score_thresh: In [0, 1]; a score has to be above it.
        iou_thresh: In [0, 1]; of two candidates of one class whose IoU is above it the surer one is shown.
        max_detections_per_image: How many are shown at most, the surest; >= 1.
    """

    score_thresh: float | None = None
    iou_thresh: float | None = None
    max_detections_per_image: int | None = None

    def checked(self) -> "NmsConfig":
        """Returns this.

        Raises:
            ConfigError: A number is out of its range.
        """
        for name in ("score_thresh", "iou_thresh"):
            value: object = getattr(self, name)
            if value is not None and not (isinstance(value, SupportsFloat) and 0 <= float(value) <= 1):
                raise ConfigError(f"{name} is between 0 and 1, got {value!r:.80}.")
        most: object = self.max_detections_per_image
        if most is not None and not (isinstance(most, SupportsIndex) and index(most) >= 1):
            raise ConfigError(f"max_detections_per_image is a whole number, 1 or more, got {most!r:.80}.")
        return self

    def overridden_by(self, other: "NmsConfig") -> "NmsConfig":
        """Returns this with what the other one sets."""
        chosen = (mine if new is None else new for mine, new in zip(self, other, strict=True))
        return NmsConfig(*chosen)  # type: ignore[arg-type]  # a tuple of the same fields


@dataclass(frozen=True, eq=False)
class DetectionOutput:
    """What a detector said of one image.

    Attributes:
        boxes: Shape (N, 4), float32: x1, y1, x2, y2 in pixels of the image as it was given to the model, continuous,
            so x2 - x1 is the width; x to the right, y down.
        scores: Shape (N,), float32, in [0, 1].
        labels: Shape (N,), int64: the class, as the model numbers its own output.
        logits: Shape (N, C), float32: the class logits from which the score came, before softmax or sigmoid; C as the
            model has it, with the background where it has one. ``None`` where they cannot be had.
        candidates: Shape (N,), int64: which of the model's candidates each is: the number of its proposal, anchor or
            query. One that may have several classes is there once for each of them.
        image_size: Height and width of the image, in pixels.
        visible: Shape (N,), bool: what the user sees. ``None``: not decided; whoever receives it decides by
            ``ml.tracing.visibility``.
    """

    task: ClassVar[Literal["detection"]] = "detection"

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32] | None
    candidates: npt.NDArray[np.int64]
    image_size: tuple[int, int]
    visible: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        shapes: dict[str, tuple[np.ndarray | None, tuple[int, ...]]] = {
            "boxes": (self.boxes, (count, 4)),
            "scores": (self.scores, (count,)),
            "labels": (self.labels, (count,)),
            "candidates": (self.candidates, (count,)),
            "visible": (self.visible, (count,)),
        }
        for name, (array, shape) in shapes.items():
            if array is not None and array.shape != shape:
                raise LogValueError(f"{name} of {count} candidates have shape {shape}, got {array.shape}")
        if self.logits is not None and (self.logits.ndim != 2 or len(self.logits) != count):
            raise LogValueError(f"logits of {count} candidates have shape ({count}, C), got {self.logits.shape}")

    def __len__(self) -> int:
        return len(self.boxes)

    def chosen(self, indices: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "DetectionOutput":
        """Returns only these candidates, in this order."""
        return DetectionOutput(
            self.boxes[indices],
            self.scores[indices],
            self.labels[indices],
            None if self.logits is None else self.logits[indices],
            self.candidates[indices],
            self.image_size,
            None if self.visible is None else self.visible[indices],
        )

    def shown(self) -> "DetectionOutput":
        """Returns what the user sees, by descending score."""
        assert self.visible is not None, "whoever asks has decided"
        seen = np.flatnonzero(self.visible)
        return self.chosen(seen[np.argsort(-self.scores[seen], kind="stable")])


@dataclass(frozen=True, eq=False)
class ClassificationOutput:
    """What a classifier said of one input.

    Attributes:
        logits: Shape (C,), float32, before the softmax.
        image_size: Height and width of the input, in pixels; ``None`` where it is no image.
    """

    task: ClassVar[Literal["classification"]] = "classification"

    logits: npt.NDArray[np.float32]
    image_size: tuple[int, int] | None = None

    def probabilities(self) -> npt.NDArray[np.float32]:
        """Returns the softmax of the logits, shape (C,)."""
        raised = np.exp(self.logits - self.logits.max())
        share: npt.NDArray[np.float32] = raised / raised.sum()
        return share
