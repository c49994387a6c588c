"""A small FCOS of torchvision that finds digits: its own backbone, and one level of features, 8 pixels a cell."""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

# As the tests do, of which this shares modules: a second copy of one cannot define the same operators again.
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tests.digit_scenes import SCENE_PX, Scene
from tests.torchvision_cpu import load_torchvision

load_torchvision()

from torchvision.models.detection import FCOS  # noqa: E402  # there is none to import before
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.fcos import FCOSHead  # noqa: E402

CLASSES, CELL_PX, CHANNELS = 10, 8, 64
SURE = 0.4
"""Above this score a detection is shown."""

BATCH = 16
LEARNING_RATE = 4e-3

Truth = dict[str, Tensor]


class Backbone(nn.Sequential):
    """Takes images, shape (B, 3, H, W), and returns (B, CHANNELS, H / CELL_PX, W / CELL_PX)."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        widths = (3, 16, 32, CHANNELS)
        super().__init__(*(_block(a, b, stride=2) for a, b in pairwise(widths)), _block(CHANNELS, CHANNELS, stride=1))


def _block(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def digit_fcos() -> FCOS:
    """Returns a detector that has learnt nothing."""
    anchors = AnchorGenerator(((CELL_PX,),), ((1.0,),))
    return FCOS(
        Backbone(),
        CLASSES,
        anchor_generator=anchors,
        head=FCOSHead(CHANNELS, 1, CLASSES, num_convs=1),
        min_size=SCENE_PX,
        max_size=SCENE_PX,
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
        score_thresh=SURE,
        detections_per_img=20,
    )


def as_images(scenes: Sequence[Scene]) -> list[Tensor]:
    """Returns pictures as the detector takes them: (3, H, W) each, in [0, 1]."""
    return [torch.from_numpy(scene.image).expand(3, -1, -1) / 255 for scene in scenes]


def truths_of(scenes: Sequence[Scene]) -> list[Truth]:
    """Returns what is on pictures, as the detector takes it when it learns, and a tracer takes it, too."""
    return [
        {"boxes": torch.from_numpy(scene.xyxy).float(), "labels": torch.from_numpy(scene.labels)} for scene in scenes
    ]


def train(detector: FCOS, scenes: Sequence[Scene], *, epochs: int) -> Iterator[float]:
    """Shows the detector every scene as often as there are epochs; yields the mean loss of each."""
    steps = epochs * -(-len(scenes) // BATCH)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for epoch in range(epochs):
        detector.train()
        losses = []
        for chosen in torch.randperm(len(scenes), generator=torch.Generator().manual_seed(epoch)).split(BATCH):
            shown = [scenes[index] for index in chosen.tolist()]
            loss = sum(detector(as_images(shown), truths_of(shown)).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        yield sum(losses) / len(losses)
