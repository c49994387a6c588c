"""A small detector of digits: it looks at a picture in cells of 8 x 8 pixels, and says of each what lies over it.

Fully convolutional, after FCOS: a cell answers whether its centre lies in the middle of a digit, which digit it is, and
how far off its four sides are. Neighbours answer for the same digit, so what they say goes through `ml.detection.nms`.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from digit_scenes import Scene
from torch import Tensor, nn
from torch.nn import functional

from ml.detection.boxes import Detections
from ml.detection.nms import nms

CLASSES = 10
CELL_PX = 8
MIDDLE = 0.5
"""The part of a digit's width and height, around its centre, where a cell answers for it."""

MIN_SCORE, NMS_IOU, MAX_DETECTIONS = 0.05, 0.5, 20
BATCH = 32


class Detector(nn.Module):
    """Takes images, shape (B, 1, H, W), in [0, 1]; H and W are multiples of CELL_PX.

    Returns, of every cell in reading order, whether there is a digit, shape (B, cells), which one, shape
    (B, cells, CLASSES), both as logits, and where, shape (B, cells, 4): x1, y1, x2, y2 in pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 64)
        halving = [_block(a, b, stride=2) for a, b in pairwise(widths)]
        self._features = nn.Sequential(*halving, _block(64, 64, stride=1), _block(64, 64, stride=1))
        self._answers = nn.Conv2d(64, 1 + CLASSES + 4, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        is_digit, digit, distances = (
            self._answers(self._features(images)).flatten(2).transpose(1, 2).split([1, CLASSES, 4], dim=2)
        )
        centres = centres_of_cells(*images.shape[2:])
        near, far = (CELL_PX * functional.softplus(distances)).chunk(2, dim=2)
        return is_digit.squeeze(2), digit, torch.cat([centres - near, centres + far], dim=2)


def _block(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def centres_of_cells(height_px: int, width_px: int) -> Tensor:
    """Returns x and y of each cell's centre, in reading order: shape (cells, 2), in pixels."""
    y, x = (torch.arange(CELL_PX / 2, side_px, CELL_PX) for side_px in (height_px, width_px))
    return torch.cartesian_prod(y, x).flip(1)


def as_images(scenes: Sequence[Scene]) -> Tensor:
    """Returns pictures as the detector takes them."""
    return torch.from_numpy(np.stack([scene.image for scene in scenes])).unsqueeze(1) / 255


def train_epoch(
    detector: Detector, optimizer: torch.optim.Optimizer, scenes: Sequence[Scene], *, seed: int
) -> Iterator[float]:
    """Shows the detector every scene once, in an order that the seed decides; yields the loss of each batch."""
    detector.train()
    for chosen in torch.randperm(len(scenes), generator=torch.Generator().manual_seed(seed)).split(BATCH):
        loss = loss_of(detector, [scenes[index] for index in chosen.tolist()])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def loss_of(detector: Detector, scenes: Sequence[Scene]) -> Tensor:
    """Returns how wrong the answers are: for every cell whether, for those with a digit which and where."""
    images = as_images(scenes)
    is_digit, digit, boxes = detector(images)
    owners = [owner_of_cells(scene, centres_of_cells(*images.shape[2:])) for scene in scenes]
    is_owned = torch.stack(owners) >= 0
    true_boxes = torch.cat([torch.from_numpy(s.xyxy)[own[own >= 0]] for s, own in zip(scenes, owners, strict=True)])
    true_digits = torch.cat([torch.from_numpy(s.labels)[own[own >= 0]] for s, own in zip(scenes, owners, strict=True)])
    whether = functional.binary_cross_entropy_with_logits(is_digit, is_owned.float(), reduction="sum") / is_owned.sum()
    where = functional.l1_loss(boxes[is_owned], true_boxes.float()) / CELL_PX
    return whether + functional.cross_entropy(digit[is_owned], true_digits) + where


def owner_of_cells(scene: Scene, centres: Tensor) -> Tensor:
    """Returns which box of a scene each cell answers for, shape (cells,); -1 for none."""
    boxes = torch.from_numpy(scene.xyxy)
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    away = ((centres[:, None] - middle).abs() / size).amax(dim=2)  # 0 is the centre of a box, 0.5 its nearest side
    nearest = away.min(dim=1)
    is_its_own = away.argmin(dim=0)  # of each box the cell nearest to its centre, or a small one would have none
    owners = torch.where(nearest.values <= MIDDLE / 2, nearest.indices, -1)
    owners[is_its_own] = torch.arange(len(boxes))
    return owners


@torch.no_grad()
def detect(detector: Detector, scenes: Sequence[Scene]) -> list[Detections]:
    """Returns what the detector finds in each scene, by descending score."""
    detector.eval()
    is_digit, digit, boxes = detector(as_images(scenes))
    sureness, labels = digit.softmax(dim=2).max(dim=2)
    scores = is_digit.sigmoid() * sureness
    return [_found(*answers) for answers in zip(boxes.numpy(), labels.numpy(), scores.numpy(), strict=True)]


def _found(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Detections:
    candidates = np.flatnonzero(scores >= MIN_SCORE)
    boxes, labels, scores = boxes[candidates], labels[candidates], scores[candidates]
    kept = nms(boxes, scores, labels, iou_threshold=NMS_IOU, max_detections=MAX_DETECTIONS)
    return Detections(boxes[kept], labels[kept], scores[kept])
