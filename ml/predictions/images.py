"""Takes over the images that users log: checked, in RGB, and copied, so that the caller may go on changing theirs."""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array
from ml.media.image import CHANNELS, to_uint8

Codec: TypeAlias = Literal["jpeg", "png", "webp"]
Picture: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

MAX_SIDE_PX: Final[dict[Codec, int]] = {"jpeg": 65_500, "png": 2**24, "webp": 16_383}
"""What the libraries that write these files can hold."""


Allocate: TypeAlias = Callable[[tuple[int, ...], npt.DTypeLike], np.ndarray]
"""Returns an array of a shape and a dtype, with anything in it: ``numpy.empty``, for example."""


def snapshot(image: object, *, bgr: bool = False, allocate: Allocate = np.empty) -> Picture:
    """Returns a private copy of an image.

    uint8 and uint16 stay as they are. Bools, floats and other integers become uint8
    as ``ml.media.image.to_uint8`` says: floats in [0, 1] from black to white, integers in
    [0, 255] unchanged, with values beyond the range that there is.

    Args:
        image: Shape (H, W), (H, W, C) or (C, H, W), C being 1 (gray), 3 (RGB) or 4 (RGBA); (H, W, C) where both
            are possible. Also what ``ml.media.arrays.as_array`` takes: tensors on the CPU, PIL images.
        bgr: The colours are blue, green, red(, alpha), as OpenCV has them.
        allocate: Gives the memory of the copy.

    Returns:
        Shape (H, W) or (H, W, C), in C order, RGB or RGBA.

    Raises:
        LogValueError: It has no such shape, a side is 0, or it holds no real numbers.
    """
    pixels = _as_pixels(_channels_last(as_array(image)))
    copy = allocate(pixels.shape, pixels.dtype)
    if bgr and pixels.ndim == 3 and pixels.shape[2] >= 3:
        for target, channel in enumerate((2, 1, 0, 3)[: pixels.shape[2]]):
            copy[..., target] = pixels[..., channel]  # five times as fast as a reversed view
    else:
        copy[...] = pixels
    return copy


def check_encodable(image: Picture, codec: Codec) -> None:
    """Finds out whether a codec can hold an image.

    Args:
        image: Shape (H, W) or (H, W, C).
        codec: JPEG takes 8 of 16 bits and drops alpha, which is no reason to refuse; WebP would lose bits.

    Raises:
        LogValueError: It cannot.
    """
    height, width = image.shape[:2]
    if max(height, width) > MAX_SIDE_PX[codec]:
        problem = f"a {codec} file has sides of at most {MAX_SIDE_PX[codec]} px, got {height} x {width}"
        raise LogValueError(problem, "Log a smaller part of the image, or choose codec='png'.")
    if codec == "webp" and image.dtype != np.uint8:
        raise LogValueError("a webp file has 8 bits a channel, got uint16", "Choose codec='png', or log uint8.")


def _channels_last(image: Array) -> Array:
    """Returns a view of an image as (H, W) or (H, W, C)."""
    shape = image.shape
    if 0 in shape:
        raise LogValueError(f"an image has at least one pixel, got shape {shape}", "Skip empty images.")
    if image.ndim == 2 or (image.ndim == 3 and shape[2] in CHANNELS):
        return image
    if image.ndim == 3 and shape[0] in CHANNELS:
        return np.moveaxis(image, 0, 2)
    problem = f"an image has shape (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, got shape {shape}"
    raise LogValueError(problem, "Log the images of a batch one by one." if image.ndim == 4 else "Reshape it.")


def _as_pixels(image: Array) -> Picture:
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        return image.astype(np.uint16, copy=False)  # in the byte order of this machine
    return to_uint8(image)
