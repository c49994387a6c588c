"""Turns images of every usual layout, dtype and range into uint8 (C, H, W), and those into PNG files."""

import io
import math
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array, private_floats

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels: TypeAlias = npt.NDArray[np.uint8]
ScalarT = TypeVar("ScalarT", bound=np.generic)

MAX_AREA_PX = 512 * 512
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA

_MIN_SIDE_PX = 64
_CHUNK = 2**18


def standardize_image(image: object, *, keep_resolution: bool = False, max_area_px: int = MAX_AREA_PX) -> Pixels:
    """Returns an image in the common format.

    Values become pixels as ``to_uint8`` says. A picture larger than ``max_area_px``
    is shrunk by an area filter, keeping its aspect as far as sides of at least one
    pixel allow. One whose sides both are under 64 px is enlarged by the smallest
    whole factor that takes the longer side to 64 px or more, without smoothing.

    Args:
        image: Shape (H, W), (C, H, W) or (H, W, C), C being 1 (gray), 3 (RGB) or 4
            (RGBA); (C, H, W) where both are possible. Also what ``as_array`` takes.
        keep_resolution: Neither shrink nor enlarge.
        max_area_px: The largest area in pixels, at least 1.

    Returns:
        Shape (C, H', W').

    Raises:
        LogValueError: It has no such shape, a side is 0, or it holds no real numbers.
    """
    pixels = to_uint8(channels_first(as_array(image)))
    return np.ascontiguousarray(pixels if keep_resolution else resize(pixels, max_area_px=max_area_px))


def to_uint8(pixels: Array) -> Pixels:
    """Returns values of any shape as pixels; the range is found over the whole array.

    Floats in [0, 1] keep their meaning: 0 is black, 1 is 255. With values outside,
    the range from min(smallest, 0) to max(largest, 1) becomes 0 to 255, so a
    constant is not stretched. NaN becomes 0, +inf 255, -inf 0; they do not count
    for the range. Bools become 0 and 255. Integers in [0, 255] stay as they are;
    with others, the range from min(smallest, 0) to max(largest, 255) is scaled.

    Args:
        pixels: Any shape, and a bool, integer or float dtype. At least one value.

    Returns:
        The same shape; the very same array when it already is uint8.
    """
    if pixels.dtype == np.uint8:
        return cast(Pixels, pixels)
    if pixels.dtype == np.bool_:
        return np.multiply(pixels, np.uint8(255), dtype=np.uint8)
    low, high = _finite_range(pixels)
    white = 1.0 if pixels.dtype.kind == "f" else 255.0
    if pixels.dtype.kind != "f" and low >= 0 and high <= white:
        return pixels.astype(np.uint8)
    return _scaled(pixels, min(low, 0.0), max(high, white))


def channels_first(image: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
    """Returns a view of an image, shape (H, W), (C, H, W) or (H, W, C), as (C, H, W).

    Raises:
        LogValueError: It has no such shape, or a side is 0.
    """
    shape = image.shape
    if 0 in shape:
        raise LogValueError(f"an image has at least one pixel, got shape {shape}", "Skip empty images.")
    if image.ndim == 2:
        return image[np.newaxis]
    if image.ndim == 3 and shape[0] in CHANNELS:
        return image
    if image.ndim == 3 and shape[2] in CHANNELS:
        return np.moveaxis(image, 2, 0)
    problem = f"an image has shape (H, W), (C, H, W) or (H, W, C) with 1, 3 or 4 channels, got shape {shape}"
    if image.ndim == 4:
        raise LogValueError(problem, "Log a batch with log_images, or pick one image of it.")
    if image.ndim == 3:
        raise LogValueError(problem, "Pick 1 or 3 channels, or log each channel as an image of its own.")
    raise LogValueError(problem, "Reshape it.")


def size_px(image: Array) -> tuple[int, int]:
    """Returns the height and width of an image, shape (H, W), (C, H, W) or (H, W, C).

    Raises:
        LogValueError: It has no such shape, or a side is 0.
    """
    height, width = channels_first(image).shape[1:]
    return height, width


def resize(pixels: Pixels, *, max_area_px: int = MAX_AREA_PX) -> Pixels:
    """Shrinks or enlarges pictures as ``standardize_image`` says, all of them alike.

    Args:
        pixels: Shape (..., C, H, W).
        max_area_px: The largest area of one picture in pixels, at least 1.

    Returns:
        Shape (..., C, H', W'); the input itself when its size is right.
    """
    height, width = pixels.shape[-2:]
    if height * width > max_area_px:
        return _shrunk(pixels, *_fitting_size(height, width, max_area_px))
    longer = max(height, width)
    if longer < _MIN_SIDE_PX:
        factor = min(-(-_MIN_SIDE_PX // longer), max(1, math.isqrt(max_area_px // (height * width))))
        return pixels.repeat(factor, axis=-2).repeat(factor, axis=-1)
    return pixels


def encode_png(image: Pixels) -> bytes:
    """Returns an image as a PNG file, compressed at level 1: fast, and close to the best for pictures.

    Args:
        image: Shape (C, H, W).
    """
    file = io.BytesIO()
    to_pil(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def to_pil(image: Pixels) -> "Image":
    """Returns an image, shape (C, H, W), as a PIL image of mode L, RGB or RGBA."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)))


def from_pil(image: "Image") -> Pixels:
    """Returns a PIL image of mode L, RGB or RGBA, shape (C, H, W)."""
    pixels: Pixels = np.asarray(image)
    return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _finite_range(pixels: Array) -> tuple[float, float]:
    """Returns the smallest and largest finite value; 0 and 0 if there is none."""
    low, high = float(np.min(pixels)), float(np.max(pixels))
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    floats = private_floats(pixels)
    finite = np.isfinite(floats)
    return float(np.min(floats, where=finite, initial=0.0)), float(np.max(floats, where=finite, initial=0.0))


def _scaled(pixels: Array, low: float, high: float) -> Pixels:
    """Maps [low, high] to [0, 255], rounded; in parts that fit into the cache of a processor."""
    flat, scaled = pixels.reshape(-1), np.empty(pixels.size, np.uint8)
    for start in range(0, flat.size, _CHUNK):
        values = private_floats(flat[start : start + _CHUNK])
        if (low, high) != (0.0, 1.0):
            # In halves, since high - low may be beyond the dtype.
            values *= 0.5
            values -= low / 2
            values /= high / 2 - low / 2
        np.nan_to_num(values, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        values *= 255
        values += 0.5
        scaled[start : start + _CHUNK] = values  # truncated
    return scaled.reshape(pixels.shape)


def _fitting_size(height: int, width: int, max_area_px: int) -> tuple[int, int]:
    scale = math.sqrt(max_area_px / (height * width))
    new_height, new_width = (max(1, int(side * scale + 1e-9)) for side in (height, width))
    # A side of a very thin image that was rounded up to 1 is paid for by the other.
    return min(new_height, max(1, max_area_px // new_width)), min(new_width, max(1, max_area_px // new_height))


def _shrunk(pixels: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    pictures = pixels.reshape(-1, *pixels.shape[-3:])
    shrunk = np.empty((*pictures.shape[:2], height, width), np.uint8)
    for target, picture in zip(shrunk, pictures, strict=True):
        target[...] = from_pil(to_pil(picture).resize((width, height), Image.Resampling.BOX))
    return shrunk.reshape(*pixels.shape[:-2], height, width)
