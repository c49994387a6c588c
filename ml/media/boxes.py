"""Draws detections on pictures that already have their final size, so that lines and text stay sharp."""

import colorsys
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import as_array
from ml.media.image import Pixels, from_pil, to_pil
from ml.media.text import font_for, wrap_text

MAX_BOXES = 1000

_MAX_LABEL_CHARACTERS = 64
_BOX_FIX = "Pass boxes of shape (N, 4) as x1, y1, x2, y2 in pixels of the image as it was logged."

_Color = tuple[int, int, int]


class _Box(NamedTuple):
    """A box to draw: inclusive pixel corners, its text and its colour."""

    left: int
    top: int
    right: int
    bottom: int
    text: str
    color: _Color


def draw_boxes(
    image: Pixels,
    boxes: object,
    *,
    source_size_px: tuple[int, int],
    labels: Sequence[object] | None = None,
    scores: object = None,
) -> Pixels:
    """Draws boxes, each in the colour of its label, with label and score on a band of that colour.

    A box is clipped to the picture; one that lies outside of it or holds a NaN is
    left out. Swapped corners are put in order. A box without area is drawn one
    line wide. Higher scores are drawn over lower ones, and beyond ``MAX_BOXES``
    boxes the lowest are left out (without scores: the last).

    Args:
        image: Shape (C, H, W), already resized.
        boxes: Shape (N, 4): x1, y1, x2, y2 in pixels of the source. N may be 0.
        source_size_px: Height and width of the image that the boxes were made for.
        labels: N texts or class numbers.
        scores: Shape (N,).

    Returns:
        Shape (3, H, W), or (4, H, W) if the image has alpha. A gray image becomes RGB, also when N is 0.

    Raises:
        LogValueError: ``boxes`` has another shape, or there are more or fewer labels or scores than boxes.
    """
    corners = _corners(boxes)
    texts = _texts(len(corners), labels, scores)
    colors = [_color(str(label)) for label in labels] if labels is not None else [_color("")] * len(corners)
    channels, height, width = image.shape
    scale = np.array([width, height, width, height]) / np.array(source_size_px[::-1] * 2)

    shown = []
    for index in _order(len(corners), scores):
        placed = _placed(corners[index] * scale, height, width)
        if placed is not None:
            shown.append(_Box(*placed, texts[index], colors[index]))
    return _drawn(np.repeat(image, 3, axis=0) if channels == 1 else image, shown)


def _corners(boxes: object) -> npt.NDArray[np.float64]:
    array = as_array(boxes)
    if array.size == 0 and (array.ndim == 1 or array.shape[-1] == 4):  # [] and (0, 4), but not (3, 0)
        return np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise LogValueError(f"boxes have shape (N, 4), got shape {array.shape}", _BOX_FIX)
    corners = array.astype(np.float64)
    return np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1
    )


def _texts(count: int, labels: Sequence[object] | None, scores: object) -> list[str]:
    texts = [""] * count
    if labels is not None:
        if len(labels) != count:
            raise LogValueError(
                f"every box has one label, got {len(labels)} labels for {count} boxes", "Pass one a box."
            )
        texts = [" ".join(wrap_text(str(label)[:_MAX_LABEL_CHARACTERS], None)) for label in labels]
    if scores is not None:
        values = as_array(scores)
        if values.shape != (count,):
            raise LogValueError(
                f"scores have shape ({count},) as there are boxes, got shape {values.shape}", "Pass one a box."
            )
        texts = [f"{text} {score:.2f}".strip() for text, score in zip(texts, values.tolist(), strict=True)]
    return texts


def _order(count: int, scores: object) -> list[int]:
    """Returns which boxes to draw, the ones on top last."""
    if scores is None:
        return list(range(min(count, MAX_BOXES)))
    order: list[int] = np.argsort(
        np.nan_to_num(as_array(scores).astype(np.float64), nan=-np.inf), kind="stable"
    ).tolist()
    return order[-MAX_BOXES:]


def _placed(box: npt.NDArray[np.float64], height: int, width: int) -> tuple[int, int, int, int] | None:
    """Returns the inclusive pixel corners of what is visible of a box; ``None`` if nothing is."""
    x1, y1, x2, y2 = box.tolist()
    if not (x1 < width and y1 < height and x2 >= 0 and y2 >= 0):  # false for NaN
        return None
    left, top = (round(max(low, 0.0)) for low in (x1, y1))
    right, bottom = round(min(x2, width)) - 1, round(min(y2, height)) - 1
    left, top = min(left, width - 1), min(top, height - 1)
    return left, top, max(left, right), max(top, bottom)


def _color(label: str) -> _Color:
    """Returns a vivid colour that belongs to a label: the same in every picture and every run."""
    digest = zlib.crc32(label.encode("utf-8", "surrogatepass"))
    lightness = (0.45, 0.6)[digest >> 31]
    red, green, blue = colorsys.hls_to_rgb((digest & 0xFFFF) / 0x10000, lightness, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _drawn(image: Pixels, boxes: Sequence[_Box]) -> Pixels:
    from PIL import ImageDraw

    height, width = image.shape[1:]
    line_px = max(1, round(min(height, width) / 200))
    size_px = max(10, round(min(height, width) / 36))
    margin_px = 1 + size_px // 12
    picture = to_pil(image)
    pen = ImageDraw.Draw(picture)
    for box in boxes:
        # What its lines would fill is filled: Pillow draws no outline of a single pixel.
        thin = min(box.right - box.left, box.bottom - box.top) < 2 * line_px
        pen.rectangle(box[:4], fill=box.color if thin else None, outline=box.color, width=line_px)
    for box in boxes:  # after all lines, so that none crosses a text
        if not box.text:
            continue
        text, font = font_for(box.text, size_px=size_px)
        text_width, text_height = round(font.getlength(text)) + 2 * margin_px, sum(font.getmetrics())
        left = max(0, min(box.left, width - text_width))
        top = box.top - text_height if box.top >= text_height else box.top
        pen.rectangle((left, top, left + text_width - 1, top + text_height - 1), fill=box.color)
        red, green, blue = box.color
        dark = 299 * red + 587 * green + 114 * blue < 128_000
        pen.text((left + margin_px, top), text, fill=(255, 255, 255) if dark else (0, 0, 0), font=font)
    return from_pil(picture)
