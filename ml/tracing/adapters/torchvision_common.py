"""What the detectors of torchvision have in common: limits, inputs, results, and which of their candidates are kept.

All of them score every class of every candidate (a proposal, or an anchor), take the pairs above a threshold, suppress
among these, and bring the boxes to the size of the user's image. A family says which pairs reach that suppression, and
in which order; ``parse`` decides who survives, in the very numbers with which the model does, and keeps beside them the
surest that did not reach it.
"""

import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ml.core.errors import LogValueError
from ml.tracing.adapters.base import Captured, DetectionAdapter
from ml.tracing.adapters.tensors import KEPT, array_of, described
from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.visibility import visible

_SHIFTS_UP_TO = {"cpu": 1_000}
_SHIFTS_UP_TO_ELSEWHERE = 25_000
"""Up to so many boxes ``batched_nms`` keeps apart by moving them, by the type of their device.

Older releases did so up to 5,000 on a GPU: of more than that, an IoU within rounding of the threshold may be decided
otherwise here than there.
"""


class Pairs(NamedTuple):
    """Candidates of one image with a class each, as tensors on the model's device.

    Attributes:
        numbers: Shape (K,), int64: ``candidate * C + label``, where C is how many classes the logits have.
        boxes: Shape (K, 4), in pixels of the image as the model resized it, within it.
        scores: Shape (K,).
    """

    numbers: Tensor
    boxes: Tensor
    scores: Tensor

    def chosen(self, which: Tensor) -> "Pairs":
        """Returns those at indices, or where a mask says so."""
        return Pairs(*(tensor[which] for tensor in self))


class Scored(NamedTuple):
    """What a model said of one image before its suppression.

    Attributes:
        reaching: What reaches the suppression, in the model's order.
        best: The surest pairs whether they reach it or not, at most KEPT.
        logits: Shape (A, C), of every candidate.
    """

    reaching: Pairs
    best: Pairs
    logits: Tensor


class Limits(Protocol):
    """Where a model of torchvision keeps its setting."""

    score_thresh: float
    nms_thresh: float
    detections_per_img: int


class _Transform(Protocol):
    def postprocess(
        self, result: list[dict[str, Tensor]], image_shapes: list[tuple[int, int]], original: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]: ...


class TorchvisionAdapter(DetectionAdapter):
    """Reads a model that takes a list of images and returns a dictionary of tensors for each."""

    @abstractmethod
    def limits(self, model: nn.Module) -> Limits:
        """Returns the part of a model that keeps its setting."""

    @abstractmethod
    def scored(
        self, model: nn.Module, captured: Captured, sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> Iterator[Scored]:
        """Yields what the model said of each image; ``sizes`` are those of the resized ones."""

    def nms_config(self, model: nn.Module) -> NmsConfig:
        limits = self.limits(model)
        return NmsConfig(float(limits.score_thresh), float(limits.nms_thresh), int(limits.detections_per_img))

    @contextmanager
    def applied(self, model: nn.Module, config: NmsConfig) -> Iterator[None]:
        limits = self.limits(model)
        names = ("score_thresh", "nms_thresh", "detections_per_img")
        changed = {name: value for name, value in zip(names, config, strict=True) if value is not None}
        own = {name: getattr(limits, name) for name in changed}
        try:
            for name, value in changed.items():
                setattr(limits, name, value)
            yield
        finally:
            for name, value in own.items():
                setattr(limits, name, value)

    def image_sizes(self, model_input: object) -> list[tuple[int, int]]:
        images = model_input.get("images") if isinstance(model_input, Mapping) else model_input
        listed = list(images) if isinstance(images, Sequence | Tensor) else [images]
        tensors = [image for image in listed if isinstance(image, Tensor) and image.ndim == 3]
        if len(tensors) < len(listed):
            raise LogValueError(
                f"{self.name} takes a list of images, tensors of shape (3, H, W), got {described(images)}",
                "Pass [image, ...], or {'images': [image, ...]}.",
            )
        return [(int(image.shape[1]), int(image.shape[2])) for image in tensors]

    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Captured,
        image_sizes: Sequence[tuple[int, int]],
        config: NmsConfig,
    ) -> list[DetectionOutput]:
        _results(model_output, image_sizes)  # a model in training mode has captured outputs as well, of other boxes
        images, _ = cast(tuple[object, object], captured["transform"])
        sizes = [(int(height), int(width)) for height, width in cast(_Images, images).image_sizes]
        transform = cast(_Transform, model.transform)
        outputs = []
        for scored, resized, size in zip(self.scored(model, captured, sizes, config), sizes, image_sizes, strict=True):
            pairs, is_visible = _kept(scored, config)
            (result,) = transform.postprocess([{"boxes": pairs.boxes}], [resized], [size])
            outputs.append(_output(pairs, is_visible, result["boxes"], scored.logits, size))
        return outputs

    def reported(
        self, model_output: object, image_sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> list[DetectionOutput]:
        return [
            DetectionOutput(
                boxes=array_of(result["boxes"], torch.float32).copy(),
                scores=array_of(result["scores"], torch.float32).copy(),
                labels=array_of(result["labels"], torch.int64).copy(),
                logits=None,
                candidates=np.arange(len(result["boxes"])),
                image_size=size,
                visible=np.ones(len(result["boxes"]), bool),
            )
            for result, size in zip(_results(model_output, image_sizes), image_sizes, strict=True)
        ]


class _Images(Protocol):
    image_sizes: Sequence[tuple[int, int]]


def is_of_torchvision(part: object, module: str, name: str) -> bool:
    """Returns whether something is an object of a class of ``torchvision.models.detection``, without importing that."""
    loaded = sys.modules.get(f"torchvision.models.detection.{module}")
    return loaded is not None and isinstance(part, getattr(loaded, name))


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns boxes, shape (..., 4), without what lies outside of an image of a height and width."""
    height, width = size
    return torch.stack(
        [side.clamp(min=0, max=most) for side, most in zip(boxes.unbind(-1), (width, height) * 2, strict=True)], dim=-1
    )


def best_numbers(scores: Tensor, first_label: int = 0) -> Tensor:
    """Returns the numbers of the KEPT surest pairs, shape (K,).

    Args:
        scores: Shape (A, C), of every candidate and label.
        first_label: 1 where the first class is the background, which is nothing to see.
    """
    count = scores.shape[1]
    # The surest pairs belong to the candidates with the surest classes: of most candidates only the best is looked at.
    rows = scores[:, first_label:].amax(dim=1)
    rows = rows.topk(min(KEPT, len(rows))).indices
    columns = scores[rows, first_label:].flatten()
    best = columns.topk(min(KEPT, len(columns))).indices
    per_row = count - first_label
    numbers: Tensor = rows[best // per_row] * count + best % per_row + first_label
    return numbers


def _kept(scored: Scored, config: NmsConfig) -> tuple[Pairs, npt.NDArray[np.bool_]]:
    """Returns the pairs that are kept of an image, and which of them are visible, by descending score."""
    reaching, best = scored.reaching, scored.best
    seen = _seen(reaching, scored.logits.shape[1], config)
    is_other = torch.isin(reaching.numbers, best.numbers)
    is_other[seen] = False
    others, beyond = reaching.chosen(is_other), best.chosen(~torch.isin(best.numbers, reaching.numbers))
    # The seen ones first, in the model's order, which they keep where scores are equal.
    pairs = Pairs(*(torch.cat(parts) for parts in zip(reaching.chosen(seen), others, beyond, strict=True)))
    order = pairs.scores.argsort(descending=True, stable=True)
    return pairs.chosen(order), array_of(order < len(seen))


def _seen(reaching: Pairs, n_class: int, config: NmsConfig) -> Tensor:
    """Returns which of the pairs that reach the suppression are visible, in the order in which the model shows them."""
    most = _SHIFTS_UP_TO.get(reaching.boxes.device.type, _SHIFTS_UP_TO_ELSEWHERE)
    is_shifted = len(reaching.numbers) <= most
    # Of boxes that are gone through class by class the model sorts what is left, in a way that swaps equal scores. Only
    # the same sort of the same numbers says which of them the limit cuts off.
    is_visible = visible(
        array_of(reaching.boxes),
        array_of(reaching.scores),
        array_of(reaching.numbers % n_class),
        config if is_shifted else config._replace(max_detections_per_image=None),
        shifts_up_to=most,
    )
    left = torch.from_numpy(is_visible.nonzero()[0]).to(reaching.numbers.device)
    shown: Tensor = left[reaching.scores[left].sort(descending=True, stable=is_shifted).indices]
    return shown[: config.max_detections_per_image]


def _output(
    pairs: Pairs, is_visible: npt.NDArray[np.bool_], boxes: Tensor, logits: Tensor, size: tuple[int, int]
) -> DetectionOutput:
    candidates = pairs.numbers // logits.shape[1]
    return DetectionOutput(
        boxes=array_of(boxes, torch.float32),
        scores=array_of(pairs.scores, torch.float32),
        labels=array_of(pairs.numbers % logits.shape[1]),
        logits=array_of(logits[candidates], torch.float32),
        candidates=array_of(candidates),
        image_size=size,
        visible=is_visible,
    )


def _results(model_output: object, image_sizes: Sequence[tuple[int, int]]) -> list[Mapping[str, Tensor]]:
    """Returns the results of a model, one an image.

    Raises:
        LogValueError: These are none, as of a model in training mode, or not one an image.
    """
    if not isinstance(model_output, list) or not all(
        isinstance(result, Mapping) and {"boxes", "scores", "labels"} <= result.keys() for result in model_output
    ):
        raise LogValueError(
            f"a model returns detections, a dictionary an image, got {described(model_output)}",
            "In training mode it returns losses: call model.eval() first.",
        )
    if len(model_output) != len(image_sizes):
        raise LogValueError(f"a model was given {len(image_sizes)} images, and returned {len(model_output)} results")
    return model_output
