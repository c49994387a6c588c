"""Detectors of torchvision that are small enough for tests: every family, with few channels and random weights.

They say much: of an image of 64 pixels hundreds of candidates are above the threshold, of several classes, and overlap.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from tests.digit_scenes import Scene
from tests.torchvision_cpu import load_torchvision

load_torchvision()

from torchvision.models.detection import (  # noqa: E402  # there is none to import before
    FCOS,
    FasterRCNN,
    KeypointRCNN,
    MaskRCNN,
    RetinaNet,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator  # noqa: E402
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead  # noqa: E402
from torchvision.models.detection.fcos import FCOSHead  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402, F401
from torchvision.models.detection.ssd import SSD, SSDHead  # noqa: E402
from torchvision.models.detection.ssdlite import SSDLiteHead  # noqa: E402
from torchvision.ops import MultiScaleRoIAlign  # noqa: E402

CLASSES = 5
CHANNELS = 32
SIZES = ((8,), (24,))
LEVELS = ("0", "1")


class Backbone(nn.Module):
    """Features of two levels, 8 and 16 pixels a cell."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, CHANNELS, 8, stride=8), nn.Conv2d(CHANNELS, CHANNELS, 2, stride=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        fine = self.first(images).relu()
        return OrderedDict(zip(LEVELS, (fine, self.second(fine).relu()), strict=True))


class OneLevel(Backbone):
    """Features of one level, as a plain tensor."""

    def forward(self, images: Tensor) -> Tensor:
        return self.first(images).relu()


def faster_rcnn() -> nn.Module:
    return _rcnn(FasterRCNN)


def mask_rcnn() -> nn.Module:
    pool = MultiScaleRoIAlign(LEVELS, output_size=2, sampling_ratio=1)
    return _rcnn(MaskRCNN, mask_roi_pool=pool, mask_head=nn.Identity(), mask_predictor=nn.Conv2d(CHANNELS, CLASSES, 1))


def keypoint_rcnn() -> nn.Module:
    pool = MultiScaleRoIAlign(LEVELS, output_size=2, sampling_ratio=1)
    predictor = nn.Conv2d(CHANNELS, 3, 1)
    return _rcnn(KeypointRCNN, keypoint_roi_pool=pool, keypoint_head=nn.Identity(), keypoint_predictor=predictor)


def retinanet() -> nn.Module:
    return _loud(RetinaNet(Backbone(), CLASSES, anchor_generator=_anchors((0.5, 1.0)), **_small()))


def retinanet_of_one_level() -> nn.Module:
    anchors = AnchorGenerator(((8, 16, 24),), ((0.5, 1.0),))
    return _loud(RetinaNet(OneLevel(), CLASSES, anchor_generator=anchors, **_small()))


def fcos(classes: int = CLASSES) -> nn.Module:
    head = FCOSHead(CHANNELS, 1, classes, num_convs=1)
    return _loud(FCOS(Backbone(), classes, anchor_generator=_anchors((1.0,)), head=head, **_small()))


def ssd() -> nn.Module:
    return _ssd(SSDHead)


def ssdlite() -> nn.Module:
    return _ssd(partial(SSDLiteHead, norm_layer=nn.BatchNorm2d))


FAMILIES: Mapping[str, Callable[[], nn.Module]] = {
    make.__name__: make
    for make in (faster_rcnn, mask_rcnn, keypoint_rcnn, retinanet, retinanet_of_one_level, fcos, ssd, ssdlite)
}


def made(make: Callable[[], nn.Module], *, seed: int = 0) -> nn.Module:
    """Returns a model ready for use, whose weights depend on the seed alone; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval()


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Returns images of noise, each of its height and width."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, height, width, generator=generator) for height, width in sizes]


def as_images(scenes: Sequence[Scene]) -> list[Tensor]:
    return [torch.from_numpy(scene.image).expand(3, -1, -1) / 255 for scene in scenes]


def trained_fcos(scenes: Sequence[Scene], *, steps: int, batch: int = 8) -> nn.Module:
    """Returns an FCOS of 10 classes that has seen scenes of digits."""
    model = made(partial(fcos, 10)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.random.fork_rng(devices=[]):  # in training mode the size of images is drawn
        for step in range(steps):
            chosen = [scenes[(step * batch + index) % len(scenes)] for index in range(batch)]
            targets = [
                {"boxes": torch.from_numpy(scene.xyxy).float(), "labels": torch.from_numpy(scene.labels)}
                for scene in chosen
            ]
            loss = sum(model(as_images(chosen), targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@contextmanager
def capturing(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, object]]:
    """Yields what each module returned last, by its alias, detached."""
    captured: dict[str, object] = {}

    def keep(alias: str, output: object) -> None:
        captured[alias] = detached(output)

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, alias=alias: keep(alias, output))
        for alias, module in modules.items()
    ]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def detached(output: object) -> object:
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, Mapping):
        return {name: detached(part) for name, part in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(detached(part) for part in output)
    return output


def _small() -> dict[str, object]:
    return {"min_size": 64, "max_size": 128}


def _anchors(ratios: tuple[float, ...]) -> AnchorGenerator:
    return AnchorGenerator(SIZES, (ratios,) * len(SIZES))


def _rcnn(kind: type[FasterRCNN], **parts: nn.Module) -> nn.Module:
    return _loud(
        kind(
            Backbone(),
            rpn_anchor_generator=_anchors((0.5, 1.0)),
            rpn_nms_thresh=0.9,
            rpn_post_nms_top_n_test=300,
            box_roi_pool=MultiScaleRoIAlign(LEVELS, output_size=2, sampling_ratio=1),
            box_head=TwoMLPHead(4 * CHANNELS, 16),
            box_predictor=FastRCNNPredictor(16, CLASSES),
            **_small(),
            **parts,
        )
    )


def _ssd(head: Callable[[list[int], list[int], int], nn.Module]) -> nn.Module:
    anchors = DefaultBoxGenerator([[2], [2]], scales=[0.15, 0.3, 0.4])
    heads = head([CHANNELS] * len(LEVELS), anchors.num_anchors_per_location(), CLASSES)
    return _loud(SSD(Backbone(), anchors, (64, 64), CLASSES, head=heads))


def _loud(model: nn.Module) -> nn.Module:
    """Returns the model with weights that make it say something of every candidate, and little about where it is."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias) if module.bias is not None else None
            if "reg" in name or "bbox_pred" in name:
                module.weight.data /= 4
    return model
