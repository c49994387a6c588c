"""The detectors of transformers that see by queries: DETR, and what came after it.

Such a model returns logits and a box for each of a fixed number of queries, and suppresses nothing. What a user sees of
an image is made of that outside of the model, by ``post_process_object_detection`` of the family's image processor::

    DETR, YOLOS                      softmax; of each query its best class, but for the last, which means: nothing there
    Conditional and Deformable DETR  sigmoid; of all queries with all classes the 100 surest
    RT-DETR, RT-DETRv2, D-FINE       sigmoid; of all queries with all classes as many of the surest as there are queries

Of these it shows what has a score above 0.5, by default. So a model has no setting to be changed: another one changes
what is visible, and the model returns what it always does. ``score_thresh`` and ``max_detections_per_image`` are the
processor's ``threshold`` and ``top_k``; with an ``iou_thresh``, what is sure enough is suppressed class by class first.

Boxes are as parts of an image. With a ``pixel_mask``, that is the image without its padding, where the family looks at
the mask. The processor, too, stretches boxes to the size of the image; but of annotations that it pads it makes parts
of the padded one: who trained with these pads all images alike, or leaves the mask out.
"""

import sys

import torch
from torch import Tensor, nn

from ml.tracing.adapters.transformers_common import Pairs, TransformersAdapter, config_of
from ml.tracing.output import NmsConfig

SCORE_THRESH = 0.5
TOP_K = 100
"""What the processors take where they are not told."""


class TransformersDetr(TransformersAdapter):
    """Shows of each query its best class."""

    name = "DETR of transformers"
    looks_at_mask = True

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return _is_of(model, "detr", "Detr")

    def nms_config(self, model: nn.Module) -> NmsConfig:
        return NmsConfig(SCORE_THRESH)

    def pairs(self, logits: Tensor, most: int | None) -> Pairs:
        scores, labels = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
        return Pairs(torch.arange(logits.shape[1], device=logits.device).expand_as(labels), labels, scores)


class TransformersYolos(TransformersDetr):
    """Shows what DETR would."""

    name = "YOLOS of transformers"
    looks_at_mask = False

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return _is_of(model, "yolos", "Yolos")


class TransformersConditionalDetr(TransformersAdapter):
    """Shows TOP_K pairs of a query and a class at most."""

    name = "Conditional and Deformable DETR of transformers"
    looks_at_mask = True

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return _is_of(model, "conditional_detr", "ConditionalDetr") or _is_of(
            model, "deformable_detr", "DeformableDetr"
        )

    def nms_config(self, model: nn.Module) -> NmsConfig:
        return NmsConfig(SCORE_THRESH, None, TOP_K)

    def pairs(self, logits: Tensor, most: int | None) -> Pairs:
        scores = logits.sigmoid().flatten(1)
        count = scores.shape[1] if most is None else min(most, scores.shape[1])
        # Of equal scores topk takes which it likes, but the same ones of the same numbers.
        scores, numbers = scores.topk(count, dim=1)
        return Pairs(numbers // logits.shape[2], numbers % logits.shape[2], scores)


class TransformersRtDetr(TransformersConditionalDetr):
    """Shows as many pairs of a query and a class as there are queries, at most."""

    name = "RT-DETR, RT-DETRv2 and D-FINE of transformers"
    looks_at_mask = False

    @staticmethod
    def detect(model: nn.Module) -> bool:
        names = (("rt_detr", "RTDetr"), ("rt_detr_v2", "RTDetrV2"), ("d_fine", "DFine"))
        return any(_is_of(model, family, prefix) for family, prefix in names)

    def nms_config(self, model: nn.Module) -> NmsConfig:
        return NmsConfig(SCORE_THRESH, None, int(config_of(model).num_queries))


def _is_of(model: nn.Module, family: str, prefix: str) -> bool:
    """Returns whether a model is of a family's class, without importing it."""
    loaded = sys.modules.get(f"transformers.models.{family}.modeling_{family}")
    return loaded is not None and isinstance(model, getattr(loaded, f"{prefix}ForObjectDetection"))
