"""Detectors of transformers that are small enough for tests: every family, made from a configuration, random weights.

They say much: the scores of an image's queries lie around 0.5, and many of their boxes overlap.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    DFineConfig,
    DFineForObjectDetection,
    HGNetV2Config,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    YolosConfig,
    YolosForObjectDetection,
)

from tests.digit_scenes import scenes

CLASSES = 4
QUERIES = 40
"""With as many queries the pairs of a query and a class are more than any processor shows."""

WIDTH = 32


def detr() -> nn.Module:
    return DetrForObjectDetection(DetrConfig(**_detr(("stage4",))))


def conditional_detr() -> nn.Module:
    return ConditionalDetrForObjectDetection(ConditionalDetrConfig(**_detr(("stage4",))))


def deformable_detr() -> nn.Module:
    config = DeformableDetrConfig(**_detr(("stage3", "stage4")), num_feature_levels=2)
    return DeformableDetrForObjectDetection(config)


def yolos() -> nn.Module:
    config = YolosConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        image_size=[64, 64],
        num_detection_tokens=QUERIES,
        num_labels=CLASSES,
    )
    return YolosForObjectDetection(config)


def rt_detr() -> nn.Module:
    return RTDetrForObjectDetection(RTDetrConfig(backbone_config=_rt_resnet(), **_rt_detr()))


def rt_detr_v2() -> nn.Module:
    return RTDetrV2ForObjectDetection(RTDetrV2Config(backbone_config=_rt_resnet(), **_rt_detr()))


def d_fine() -> nn.Module:
    backbone = HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        hidden_sizes=[16, 16, 16, 16],
        depths=[1, 1, 1, 1],
        embedding_size=8,
        out_features=["stage2", "stage3", "stage4"],
    )
    return DFineForObjectDetection(DFineConfig(backbone_config=backbone, **_rt_detr()))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    made.__name__: made for made in (detr, conditional_detr, deformable_detr, yolos, rt_detr, rt_detr_v2, d_fine)
}


@cache
def made(family: str) -> nn.Module:
    """Returns a model in evaluation mode, the same one at each call; who changes it makes one by ``fresh``."""
    return fresh(family)


def fresh(family: str) -> nn.Module:
    """Returns a model of one's own, in evaluation mode, and leaves the global random state as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return _loud(FAMILIES[family]()).eval()


_STD = {
    "query_position_embeddings": 1.0,
    "detection_tokens": 1.0,
    "model.decoder.layers": 0.3,
    "bbox_predictor": 0.25,
}
_SPREAD = 2.0


def _loud(model: nn.Module) -> nn.Module:
    """Returns a model whose queries differ, in class and place, as those of a new one hardly do."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for part, std in _STD.items():
                if part in name and parameter.ndim > 1:
                    parameter.normal_(std=std)
            if "enc_bbox_head" in name and parameter.shape == (4,):
                parameter[2:] = 1.5  # boxes of a fifth of the image, not of a twentieth
        images = torch.stack([torch.from_numpy(scene.image) / 255 for scene in scenes(4, seed=4)])
        logits = model.eval()(pixel_values=images[:, None].expand(-1, 3, -1, -1)).logits
        head = [part for name, part in model.named_modules() if "class" in name and isinstance(part, nn.Linear)][-1]
        scale = _SPREAD / logits.std(dim=(0, 1))
        head.weight.mul_(scale[:, None])
        head.bias.copy_((head.bias - logits.mean(dim=(0, 1))) * scale)
    return model


def _detr(levels: tuple[str, ...]) -> dict[str, object]:
    return {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone_config": ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=list(levels)
        ),
        "d_model": WIDTH,
        "num_queries": QUERIES,
        "num_labels": CLASSES,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": WIDTH,
        "decoder_ffn_dim": WIDTH,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }


def _rt_resnet() -> RTDetrResNetConfig:
    return RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def _rt_detr() -> dict[str, object]:
    return {
        "encoder_in_channels": [16, 16, 16],
        "decoder_in_channels": [WIDTH, WIDTH, WIDTH],
        "encoder_hidden_dim": WIDTH,
        "encoder_ffn_dim": WIDTH,
        "encoder_attention_heads": 2,
        "d_model": WIDTH,
        "num_queries": QUERIES,
        "num_labels": CLASSES,
        "decoder_layers": 2,
        "decoder_ffn_dim": WIDTH,
        "decoder_attention_heads": 2,
        "num_denoising": 8,
    }
