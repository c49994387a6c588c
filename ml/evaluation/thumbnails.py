"""Small pictures for a page."""

import io

from ml.evaluation.values import Image
from ml.media.image import channels_first, to_pil, to_uint8
from ml.media.scaling import encode_jpeg, on_white, thumbnail

SIDE_PX = 160
"""What the longer side of a small picture has at most, and one that is enlarged nearly."""


def thumbnail_of(image: Image, *, side_px: int = SIDE_PX) -> bytes:
    """Returns a picture, small: a PNG file where it was enlarged, without smoothing; else a JPEG file.

    What is transparent is white. Of 16 bits the range that is used is shown.

    Args:
        image: The picture.
        side_px: What its longer side has at most, >= 1.

    Raises:
        FileNotFoundError, FormatError, WriteError: Its file cannot be read.
    """
    small = thumbnail(to_uint8(channels_first(image.array())), side_px=side_px)
    if max(small.shape[1:]) <= max(image.size):
        return encode_jpeg(small)
    file = io.BytesIO()
    to_pil(on_white(small)).save(file, "PNG", optimize=True)
    return file.getvalue()
