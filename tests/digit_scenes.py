"""Pictures with several real digits, each picture with others at other places: what a small detector learns from.

The digits are the 1,797 handwritten ones that come with scikit-learn. A scene depends on its seed alone.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits

SCENE_PX = 64
SIDES_PX = (16, 20, 24)
MAX_DIGITS = 4
NOISE = 12
"""How bright the background is at most, of 255."""

VALIDATION = 5
"""Of so many digits the last is for validation, and never in a scene for training."""


class Scene(NamedTuple):
    """A picture and what is on it.

    Attributes:
        image: Shape (SCENE_PX, SCENE_PX), uint8.
        xyxy: Shape (N, 4), float64: the box around the ink of each digit; no two share a pixel.
        labels: Shape (N,), int64, 0 ... 9.
        scores: None: this is the truth.
    """

    image: npt.NDArray[np.uint8]
    xyxy: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    scores: None = None


def scenes(count: int, *, seed: int, is_validation: bool = False) -> list[Scene]:
    """Returns scenes, the same ones for the same arguments, each with 1 to MAX_DIGITS digits.

    Args:
        count: >= 0. More scenes with the same seed begin with the same ones.
        seed: >= 0.
        is_validation: Whether they show digits that no scene for training shows.
    """
    return [_scene(np.random.default_rng((seed, number)), is_validation) for number in range(count)]


@cache
def _digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    digits = load_digits()
    return (digits.images * 255 / 16).astype(np.uint8), digits.target.astype(np.int64)


def _scene(random: np.random.Generator, is_validation: bool) -> Scene:
    images, labels = _digits()
    chosen = np.arange(len(images)) % VALIDATION == VALIDATION - 1
    candidates = np.flatnonzero(chosen == is_validation)
    picture = random.integers(0, NOISE, (SCENE_PX, SCENE_PX), dtype=np.uint8)
    boxes, classes = [], []
    for left, top, side_px in _places(random):
        index = int(random.choice(candidates))
        digit = np.asarray(Image.fromarray(images[index]).resize((side_px, side_px), Image.Resampling.BILINEAR))
        cell = picture[top : top + side_px, left : left + side_px]
        np.maximum(cell, digit, out=cell)
        rows, columns = (np.flatnonzero((digit > 2 * NOISE).any(axis=axis)) for axis in (1, 0))
        boxes.append([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1])
        classes.append(labels[index])
    return Scene(picture, np.array(boxes, np.float64), np.array(classes, np.int64))


def _places(random: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Yields left, top and side of squares that do not meet, in pixels; fewer than wanted where no place was hit on."""
    taken = np.zeros((SCENE_PX, SCENE_PX), bool)
    wanted = int(random.integers(1, MAX_DIGITS + 1))
    for _ in range(20 * wanted):
        side_px = int(random.choice(SIDES_PX))
        left, top = (int(at) for at in random.integers(0, SCENE_PX - side_px + 1, 2))
        square = taken[top : top + side_px, left : left + side_px]
        if square.any():
            continue
        square[:] = True
        yield left, top, side_px
        wanted -= 1
        if wanted == 0:
            return
