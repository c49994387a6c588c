"""Faster, Mask and Keypoint R-CNN of torchvision: a candidate is a proposal, which may have any class.

Each class of a proposal has a box of its own; the first class is the background, and never shown. Masks and keypoints
are made of what was detected, and change nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ml.core.errors import ConfigError
from ml.tracing.adapters.base import Captured
from ml.tracing.adapters.torchvision_common import (
    Limits,
    Pairs,
    Scored,
    TorchvisionAdapter,
    best_numbers,
    clipped,
    is_of_torchvision,
)
from ml.tracing.output import NmsConfig
from ml.tracing.visibility import score_floor

MIN_SIDE_PX = 1e-2
"""A box that is narrower or flatter is never shown."""


class TorchvisionRcnn(TorchvisionAdapter):
    """Reads what the second stage says of the proposals of the first one."""

    name = "torchvision Faster, Mask and Keypoint R-CNN"

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return is_of_torchvision(model, "generalized_rcnn", "GeneralizedRCNN") and is_of_torchvision(
            getattr(model, "roi_heads", None), "roi_heads", "RoIHeads"
        )

    def n_class(self, model: nn.Module) -> int:
        predictor = _heads(model).box_predictor
        scoring = getattr(predictor, "cls_score", None)
        if not isinstance(scoring, nn.Linear):
            raise ConfigError(f"{type(predictor).__name__} does not say how many classes it knows. Give n_class.")
        return scoring.out_features

    def limits(self, model: nn.Module) -> Limits:
        return _heads(model)

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        transform, rpn = (cast(nn.Module, part) for part in (model.transform, model.rpn))
        return {"transform": transform, "rpn": rpn, "box_predictor": _heads(model).box_predictor}

    def scored(
        self, model: nn.Module, captured: Captured, sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> Iterator[Scored]:
        proposals, _ = cast(tuple[list[Tensor], object], captured["rpn"])
        logits, codes = cast(tuple[Tensor, Tensor], captured["box_predictor"])
        counts = [len(of_image) for of_image in proposals]
        boxes = _heads(model).box_coder.decode(codes, proposals).reshape(-1, logits.shape[1], 4)
        # Of all images in one go, as the model does: a function of other shapes may round otherwise.
        by_image = (torch.split(tensor, counts) for tensor in (boxes, logits.softmax(dim=-1), logits))
        for its_boxes, its_scores, its_logits, size in zip(*by_image, sizes, strict=True):
            pairs = Pairs(
                torch.arange(its_scores.numel(), device=its_scores.device),
                clipped(its_boxes, size).reshape(-1, 4),
                its_scores.flatten(),
            )
            is_sure = its_scores > score_floor(config)
            is_sure[:, 0] = False  # the background
            reaching = pairs.chosen(is_sure.flatten())
            best = pairs.chosen(best_numbers(its_scores, first_label=1))
            yield Scored(_large(reaching), _large(best), its_logits)


class _Coder(Protocol):
    def decode(self, codes: Tensor, boxes: list[Tensor]) -> Tensor: ...


class _Heads(Limits, Protocol):
    box_coder: _Coder
    box_predictor: nn.Module


def _heads(model: nn.Module) -> _Heads:
    return cast(_Heads, model.roi_heads)


def _large(pairs: Pairs) -> Pairs:
    sides = pairs.boxes[:, 2:] - pairs.boxes[:, :2]
    return pairs.chosen((sides >= MIN_SIDE_PX).all(dim=1))
