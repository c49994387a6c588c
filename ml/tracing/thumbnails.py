"""A small picture of an input, so that whoever looks at a record sees what the model saw."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ml.core.errors import LogValueError
from ml.media.image import channels_first, encode_png, to_uint8

_NAMES = ("pixel_values", "images", "image", "x")


def thumbnail_of(model_input: object, number: int, side_px: int) -> bytes:
    """Returns a PNG file of one input. Each side is cut to every n-th pixel, where it lies, before it is copied.

    Pixels in [0, 1] and of 8 bits are shown as they are; others, as a model's own normalisation makes them, from their
    least to their greatest.

    Args:
        model_input: A batch (B, C, H, W), a sequence of (C, H, W), or a mapping that has one under a usual name.
        number: Of the input.
        side_px: What its longer side has at most.

    Raises:
        LogValueError: It is no picture.
    """
    if isinstance(model_input, Mapping):
        model_input = next((model_input[name] for name in _NAMES if name in model_input), None)
    if not isinstance(model_input, Tensor | np.ndarray | Sequence):
        raise LogValueError(f"there is no picture in a {type(model_input).__name__}")
    image = model_input[number]
    image = image.detach() if isinstance(image, Tensor) else torch.as_tensor(np.asarray(image))
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise LogValueError(f"a picture has shape (1 or 3, H, W), got {tuple(image.shape)}")
    step = -(-max(image.shape[1:]) // side_px)
    pixels = image[:, ::step, ::step].cpu()
    if pixels.is_floating_point():
        pixels = pixels.float()
        low, high = pixels.min(), pixels.max()
        if low < 0 or high > 1:
            pixels = (pixels - low) / (high - low).clamp_min(1e-12)
    return encode_png(to_uint8(channels_first(pixels.numpy())))
