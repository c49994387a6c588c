"""RetinaNet, FCOS and SSD of torchvision: a candidate is an anchor, which may have any class.

Anchors are numbered as the model has them: level after level of its features, each in reading order. RetinaNet and FCOS
let the surest pairs of each level reach the suppression, SSD, and with it SSDlite, the surest of each class.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ml.tracing.adapters.base import Captured
from ml.tracing.adapters.tensors import KEPT
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


class _Dense(TorchvisionAdapter):
    """Reads a model that keeps its setting itself, and has one head for all anchors."""

    def limits(self, model: nn.Module) -> Limits:
        return cast(_Model, model)

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        return {alias: model.get_submodule(alias) for alias in ("transform", "backbone", "head", "anchor_generator")}


class _Levelled(_Dense):
    """Reads a model that takes the surest pairs of each level of its features."""

    def n_class(self, model: nn.Module) -> int:
        return int(cast(_Model, model).head.classification_head.num_classes)

    @staticmethod
    @abstractmethod
    def scores(head: Mapping[str, Tensor]) -> Tensor:
        """Returns the score of each class, shape (A, C), of what the head said of A anchors."""

    @staticmethod
    @abstractmethod
    def decoded(model: nn.Module, codes: Tensor, anchors: Tensor) -> Tensor:
        """Returns the boxes, shape (K, 4), of K anchors."""

    def scored(
        self, model: nn.Module, captured: Captured, sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> Iterator[Scored]:
        head = cast(Mapping[str, Tensor], captured["head"])
        anchors = cast(list[Tensor], captured["anchor_generator"])
        counts = _anchors_of_levels(captured["backbone"], len(anchors[0]))
        for index, size in enumerate(sizes):
            levels = zip(*(torch.split(tensor[index], counts) for tensor in head.values()), strict=True)
            parts = [dict(zip(head, level, strict=True)) for level in levels]
            yield self._scored(model, parts, torch.split(anchors[index], counts), size, config)

    def _scored(
        self,
        model: nn.Module,
        parts: Sequence[Mapping[str, Tensor]],
        anchors: Sequence[Tensor],
        size: tuple[int, int],
        config: NmsConfig,
    ) -> Scored:
        reaching: list[Pairs] = []
        best: list[Pairs] = []
        first_number = 0
        for part, of_level in zip(parts, anchors, strict=True):
            scores = self.scores(part)
            # Level by level, as the model does: a function of other shapes may round otherwise.
            found = _surest(scores.flatten(), score_floor(config), cast(_Model, model).topk_candidates)
            for numbers, chosen in ((found, reaching), (best_numbers(scores), best)):
                rows = numbers // scores.shape[1]
                boxes = clipped(self.decoded(model, part["bbox_regression"][rows], of_level[rows]), size)
                chosen.append(Pairs(numbers + first_number, boxes, scores.flatten()[numbers]))
            first_number += scores.numel()
        surest = _together(best)
        surest = surest.chosen(surest.scores.topk(min(KEPT, len(surest.scores))).indices)
        return Scored(_together(reaching), surest, torch.cat([part["cls_logits"] for part in parts]))


class TorchvisionRetinaNet(_Levelled):
    """Reads a RetinaNet: the score is that of the class."""

    name = "torchvision RetinaNet"

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return is_of_torchvision(model, "retinanet", "RetinaNet")

    @staticmethod
    def scores(head: Mapping[str, Tensor]) -> Tensor:
        return head["cls_logits"].sigmoid()

    @staticmethod
    def decoded(model: nn.Module, codes: Tensor, anchors: Tensor) -> Tensor:
        return cast(_Model, model).box_coder.decode_single(codes, anchors)


class TorchvisionFcos(_Levelled):
    """Reads an FCOS: the score is the geometric mean of that of the class and of how central the anchor lies."""

    name = "torchvision FCOS"

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return is_of_torchvision(model, "fcos", "FCOS")

    @staticmethod
    def scores(head: Mapping[str, Tensor]) -> Tensor:
        return (head["cls_logits"].sigmoid() * head["bbox_ctrness"].sigmoid()).sqrt()

    @staticmethod
    def decoded(model: nn.Module, codes: Tensor, anchors: Tensor) -> Tensor:
        return cast(_Model, model).box_coder.decode(codes, anchors)


class TorchvisionSsd(_Dense):
    """Reads an SSD: classes compete, and the first one is the background."""

    name = "torchvision SSD and SSDlite"

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return is_of_torchvision(model, "ssd", "SSD")

    def n_class(self, model: nn.Module) -> int:
        return int(cast(_Model, model).head.classification_head.num_columns)

    def scored(
        self, model: nn.Module, captured: Captured, sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> Iterator[Scored]:
        head = cast(Mapping[str, Tensor], captured["head"])
        anchors = cast(list[Tensor], captured["anchor_generator"])
        own, floor = cast(_Model, model), score_floor(config)
        all_scores = head["cls_logits"].softmax(dim=-1)
        for scores, logits, codes, its_anchors, size in zip(
            all_scores, head["cls_logits"], head["bbox_regression"], anchors, sizes, strict=True
        ):
            boxes = clipped(own.box_coder.decode_single(codes, its_anchors), size)
            labels = torch.where((scores[:, 1:] > floor).any(dim=0))[0] + 1
            found = [
                _surest(scores[:, label], floor, own.topk_candidates) * scores.shape[1] + label
                for label in labels.tolist()
            ]
            reaching, best = (
                Pairs(numbers, boxes[numbers // scores.shape[1]], scores.flatten()[numbers])
                for numbers in (torch.cat([labels[:0], *found]), best_numbers(scores, first_label=1))
            )
            yield Scored(reaching, best, logits)


class _Coder(Protocol):
    def decode(self, codes: Tensor, boxes: Tensor) -> Tensor: ...

    def decode_single(self, codes: Tensor, boxes: Tensor) -> Tensor: ...


class _Classification(Protocol):
    num_classes: int
    num_columns: int


class _Head(Protocol):
    classification_head: _Classification


class _Model(Limits, Protocol):
    topk_candidates: int
    box_coder: _Coder
    head: _Head


def _anchors_of_levels(features: object, count: int) -> list[int]:
    """Returns how many of the anchors of an image belong to each level of the backbone's features."""
    levels = [features] if isinstance(features, Tensor) else list(cast(Mapping[str, Tensor], features).values())
    cells = [level.shape[2] * level.shape[3] for level in levels]
    return [of_level * (count // sum(cells)) for of_level in cells]


def _surest(scores: Tensor, floor: float, most: int) -> Tensor:
    """Returns the indices of the surest scores above a threshold, the surest first."""
    sure = torch.where(scores > floor)[0]
    return sure[scores[sure].topk(min(most, len(sure))).indices]


def _together(pairs: Sequence[Pairs]) -> Pairs:
    return Pairs(*(torch.cat(part) for part in zip(*pairs, strict=True)))
