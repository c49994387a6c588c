"""Small pictures for a page."""

import io

import numpy as np

from ml.evaluation.values import Image
from ml.media.image import channels_first, to_pil, to_uint8

SIDE_PX = 160
"""What the longer side of a small picture has at most, and one that is enlarged nearly."""

_JPEG_QUALITY = 80


def thumbnail_of(image: Image, *, side_px: int = SIDE_PX) -> bytes:
    """Returns a picture, small: a PNG file where it was enlarged, without smoothing; else a JPEG file.

    What is transparent is white. Of 16 bits the range that is used is shown.

    Args:
        image: The picture.
        side_px: What its longer side has at most, >= 1.

    Raises:
        FileNotFoundError, FormatError, WriteError: Its file cannot be read.
    """
    from PIL import Image as PilImage

    pixels = to_uint8(channels_first(image.array()))
    longer = max(image.size)
    if longer <= side_px:
        factor = side_px // longer
        pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    picture = to_pil(np.ascontiguousarray(pixels))
    if longer > side_px:
        size = (max(1, image.width * side_px // longer), max(1, image.height * side_px // longer))
        picture = picture.resize(size, PilImage.Resampling.BOX)
    if picture.mode == "RGBA":
        picture = PilImage.alpha_composite(PilImage.new("RGBA", picture.size, "white"), picture).convert("RGB")
    file = io.BytesIO()
    if longer <= side_px // 2:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
