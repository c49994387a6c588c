"""What the detectors of transformers have in common that return logits and a box for each of a number of queries.

A family says which pairs of a query and a class its image processor chooses from; which of them are visible is decided
here with the processor's own operations, in the model's own numbers, and the surest of the others are kept beside them.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ml.core.errors import LogValueError
from ml.tracing.adapters.base import Captured, DetectionAdapter
from ml.tracing.adapters.tensors import KEPT, array_of, described
from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.visibility import score_floor, visible


class Pairs(NamedTuple):
    """Queries with a class each, as tensors on the model's device, of a batch or of one image.

    Attributes:
        queries: Shape (B, K) or (K,), int64.
        labels: The same.
        scores: The same, in the precision of the logits.
    """

    queries: Tensor
    labels: Tensor
    scores: Tensor

    def chosen(self, which: Tensor) -> "Pairs":
        """Returns those of one image at indices, or where a mask says so."""
        return Pairs(*(tensor[which] for tensor in self))


class TransformersAdapter(DetectionAdapter):
    """Reads a model whose output has ``logits`` and ``pred_boxes``, as an object, a dictionary or a tuple.

    Attributes:
        looks_at_mask: Whether ``pixel_mask`` tells the model where an image ends.
    """

    looks_at_mask: bool

    @abstractmethod
    def pairs(self, logits: Tensor, most: int | None) -> Pairs:
        """Returns what the processor chooses from, with the very operations that it does.

        Args:
            logits: Shape (B, Q, C).
            most: How many of an image, the surest; ``None``: all. Of a family that looks at one class of a query only,
                all of these whatever it is.
        """

    def n_class(self, model: nn.Module) -> int:
        return int(config_of(model).num_labels)  # the class that means "nothing there" is none

    def applied(self, model: nn.Module, config: NmsConfig) -> AbstractContextManager[None]:
        return nullcontext()

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        return {}

    def image_sizes(self, model_input: object) -> list[tuple[int, int]]:
        named = model_input if isinstance(model_input, Mapping) else {"pixel_values": model_input}
        pixels, mask = named.get("pixel_values"), named.get("pixel_mask")
        if not isinstance(pixels, Tensor) or pixels.ndim != 4:
            raise LogValueError(
                f"{self.name} takes images as one tensor of shape (B, 3, H, W), got {described(pixels)}",
                "Pass pixel_values, or a mapping that has them, as the image processor returns it.",
            )
        if not self.looks_at_mask or not isinstance(mask, Tensor):
            return [(int(pixels.shape[2]), int(pixels.shape[3]))] * len(pixels)
        sides = [mask.bool().any(dim=other).sum(dim=1) for other in (2, 1)]
        return [(int(height), int(width)) for height, width in torch.stack(sides, dim=1).tolist()]

    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Captured,
        image_sizes: Sequence[tuple[int, int]],
        config: NmsConfig,
    ) -> list[DetectionOutput]:
        logits, boxes = _answer(model_output, image_sizes)
        best = _by_image(self.pairs(logits, KEPT))
        outputs = []
        for seen, other, of_image, corners, size in zip(
            self._seen(logits, boxes, config), best, logits, boxes, image_sizes, strict=True
        ):
            numbers = [pairs.queries * logits.shape[2] + pairs.labels for pairs in (seen, other)]
            beyond = other.chosen(~torch.isin(numbers[1], numbers[0]))
            # The seen ones first, in the processor's order, which they keep where scores are equal.
            pairs = Pairs(*(torch.cat(parts) for parts in zip(seen, beyond, strict=True)))
            order = pairs.scores.argsort(descending=True, stable=True)
            is_visible = array_of(order < len(seen.scores))
            outputs.append(_output(pairs.chosen(order), corners, size, of_image, is_visible))
        return outputs

    def reported(
        self, model_output: object, image_sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> list[DetectionOutput]:
        logits, boxes = _answer(model_output, image_sizes)
        return [
            _output(seen, corners, size)
            for seen, corners, size in zip(self._seen(logits, boxes, config), boxes, image_sizes, strict=True)
        ]

    def _seen(self, logits: Tensor, boxes: Tensor, config: NmsConfig) -> Iterator[Pairs]:
        """Yields what is visible of each image, by descending score, equal ones in the processor's order."""
        most = config.max_detections_per_image if config.iou_thresh is None else None
        for pairs, corners in zip(_by_image(self.pairs(logits, most)), boxes, strict=True):
            # Compared by torch, which rounds the threshold to the precision of the scores.
            sure = pairs.chosen(pairs.scores > score_floor(config))
            is_visible = visible(
                array_of(corners[sure.queries], torch.float32),
                array_of(sure.scores, torch.float32),
                array_of(sure.labels),
                config._replace(score_thresh=None),
            )
            seen = sure.chosen(torch.from_numpy(is_visible).to(logits.device))
            yield seen.chosen(seen.scores.argsort(descending=True, stable=True))


class Config(Protocol):
    """What is asked of a model's configuration."""

    num_labels: int
    num_queries: int


def config_of(model: nn.Module) -> Config:
    """Returns the configuration of a model."""
    return cast(Config, model.config)


def _answer(model_output: object, image_sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Returns logits, shape (B, Q, C), and boxes, shape (B, Q, 4), as corners in pixels.

    Queries that were given the truth, to learn to find it again, are left out: a model in training mode has them first.

    Raises:
        LogValueError: These are no such answers, or not one an image.
    """
    parts: Sequence[object] = ()
    if isinstance(model_output, Mapping):
        parts = [model_output.get("logits"), model_output.get("pred_boxes"), *model_output.values()]
    elif isinstance(model_output, tuple):  # a loss and its parts may come first, and are no batches of queries
        parts = model_output
    tensors = [part for part in parts if isinstance(part, Tensor) and part.ndim == 3][:2]
    if len(tensors) != 2 or tensors[1].shape != (*tensors[0].shape[:2], 4):
        raise LogValueError(f"a model returns logits (B, Q, C) and pred_boxes (B, Q, 4), got {described(model_output)}")
    logits, boxes = (tensor.detach() for tensor in tensors)
    if len(logits) != len(image_sizes):
        raise LogValueError(f"a model was given {len(image_sizes)} images, and answered for {len(logits)}")
    splits = [part["dn_num_split"] for part in parts if isinstance(part, Mapping) and "dn_num_split" in part]
    first = int(splits[0][0]) if splits else 0
    return logits[:, first:], _corners(boxes[:, first:], image_sizes)


def _corners(boxes: Tensor, image_sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Returns boxes, which are centre and size as parts of an image, as corners in its pixels, as the processor does.

    In half precision the RT-DETR family's stretches them in that, and rounds to pixels what here is exact.
    """
    x, y, width, height = boxes.unbind(-1)
    corners = torch.stack([x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height], dim=-1)
    scales = [(width_px, height_px) * 2 for height_px, width_px in image_sizes]
    return corners * torch.tensor(scales, dtype=torch.float32, device=boxes.device).reshape(-1, 1, 4)


def _by_image(pairs: Pairs) -> list[Pairs]:
    return [Pairs(*of_image) for of_image in zip(*pairs, strict=True)]


def _output(
    pairs: Pairs,
    corners: Tensor,
    size: tuple[int, int],
    logits: Tensor | None = None,
    is_visible: npt.NDArray[np.bool_] | None = None,
) -> DetectionOutput:
    """Returns pairs of one image: with logits and as they are seen, or as what is shown."""
    count = len(pairs.scores)
    return DetectionOutput(
        boxes=array_of(corners[pairs.queries], torch.float32),
        scores=array_of(pairs.scores, torch.float32),
        labels=array_of(pairs.labels),
        logits=None if logits is None else array_of(logits[pairs.queries], torch.float32),
        candidates=np.arange(count) if logits is None else array_of(pairs.queries),
        image_size=size,
        visible=np.ones(count, bool) if is_visible is None else is_visible,
    )
