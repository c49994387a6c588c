"""Draws a record as a picture: what the model saw, with boxes, labels and scores on it, and what it said below.

A record whose picture was left out, or is damaged, is drawn on a blank one of its size, and says so.
"""

import math
from typing import NamedTuple

import numpy as np

from ml.core.errors import FormatError
from ml.loggers.lines import visible
from ml.media.boxes import MAX_BOXES, draw_boxes
from ml.media.image import Pixels, encode_png, to_uint8
from ml.media.scaling import encode_jpeg, scaled, thumbnail
from ml.media.text import add_label
from ml.predictions.logged import LoggedPrediction
from ml.predictions.results import ranked, results_of, size_of

MAX_AREA_PX = 4096 * 4096
"""The area that an annotated picture is shrunk to, where it is larger."""

MAX_CLASSES = 5
"""Classes that are written below a picture."""

_MIN_SIDE_PX = 256  # of the longer side: a smaller picture is enlarged by a whole factor
_BLANK_SIZE_PX = (240, 320)  # of a record that says no size
_BLANK = 128
_MAX_MESSAGE, _MAX_NAME = 400, 64  # characters


class _Seen(NamedTuple):
    """What a model saw.

    Attributes:
        pixels: Shape (C, H, W), C being 1, 3 or 4; of a blank picture perhaps smaller than its size says.
        size_px: Height and width that boxes are meant for.
        remark: What is missing, in words.
    """

    pixels: Pixels
    size_px: tuple[int, int]
    remark: str = ""


def annotated_png(prediction: LoggedPrediction, *, max_area_px: int = MAX_AREA_PX) -> bytes:
    """Returns a record as a PNG file: the picture with its boxes; below it error, surest classes and what is missing.

    A picture keeps its resolution, but for one that is larger than ``max_area_px``, which is shrunk, and one that is
    under 256 px wide and high, which is enlarged by a whole factor, without smoothing. Of a picture of 16 bits the
    range that it uses is shown.

    Args:
        prediction: The record.
        max_area_px: The largest area in pixels, at least 1; what stands below comes on top.
    """
    seen = _seen(prediction)
    height, width = seen.pixels.shape[1:]
    pixels = scaled(seen.pixels, math.sqrt(max_area_px / (height * width)), min_side_px=_MIN_SIDE_PX)
    return encode_png(add_label(_boxed(pixels, seen.size_px, prediction), _caption(prediction, seen), centered=False))


class Thumbnail(NamedTuple):
    """A small picture.

    Attributes:
        file: A JPEG file.
        remark: What is missing, in words; ``""``: nothing.
    """

    file: bytes
    remark: str


def thumbnail_of(prediction: LoggedPrediction, *, side_px: int) -> Thumbnail:
    """Returns the picture with its boxes, small, and with nothing below it; what is transparent is white.

    Args:
        prediction: The record.
        side_px: What its longer side has at most, and a small picture nearly.
    """
    seen = _seen(prediction)
    picture = _boxed(thumbnail(seen.pixels, side_px=side_px), seen.size_px, prediction)
    return Thumbnail(encode_jpeg(picture), seen.remark)


def _seen(prediction: LoggedPrediction) -> _Seen:
    try:
        image = prediction.image
    except FormatError as error:
        image, remark = None, f"the picture cannot be read: {error.message}"
    else:
        remark = f"the picture was left out: {prediction.omitted}" if prediction.omitted else "no picture was logged"
    if image is not None:
        pixels = to_uint8(image[np.newaxis] if image.ndim == 2 else np.moveaxis(image, 2, 0))
        return _Seen(pixels, (pixels.shape[1], pixels.shape[2]))
    height, width = size_of(prediction) or _BLANK_SIZE_PX
    shrink = min(1.0, _BLANK_SIZE_PX[1] / max(height, width))  # whatever size the record claims
    shape = (1, max(1, int(height * shrink)), max(1, int(width * shrink)))
    return _Seen(np.full(shape, _BLANK, np.uint8), (height, width), remark)


def _boxed(pixels: Pixels, size_px: tuple[int, int], prediction: LoggedPrediction) -> Pixels:
    if not len(prediction.boxes):
        return pixels
    labels = [visible(label) for label in prediction.labels]
    return draw_boxes(pixels, prediction.boxes, source_size_px=size_px, labels=labels, scores=prediction.scores)


def _caption(prediction: LoggedPrediction, seen: _Seen) -> str:
    lines = [_cut(f"error: {visible(prediction.error_message)}", _MAX_MESSAGE)] if prediction.is_error else []
    if prediction.classification:
        surest = ranked(results_of(prediction))[:MAX_CLASSES]
        lines += [f"{_cut(visible(one.class_name), _MAX_NAME)}  {one.confidence:.3f}" for one in surest]
    if len(prediction.boxes) > MAX_BOXES:
        lines.append(f"the surest {MAX_BOXES} of {len(prediction.boxes)} boxes")
    if seen.remark:
        lines.append(visible(seen.remark))
    return "\n".join(lines)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
