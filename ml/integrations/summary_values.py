"""What ``SummaryWriter`` is given, as the values of a run: the pixels, samples and numbers that torch's writer shows.

Pure functions. torch's writer takes layouts as letters, scales floats by 255, cuts off what is outside of
[0, 255] and rounds down; pictures here have the very same pixels. What lies on an accelerator is
converted there, and nothing waits for it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.loggers.tensors import as_dense, is_tensor
from ml.media.arrays import as_array, private_floats
from ml.media.image import Pixels, from_pil, to_pil

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.generic]
NodeT = TypeVar("NodeT")

_CHUNK = 2**16  # values that stay in a processor's cache while they are scaled
_GRID_COLUMNS = 8


def number(value: object) -> tuple[object, bool]:
    """Returns the number that ``value`` holds now, and whether it is one that cannot change any more.

    What is no number, and what lies on an accelerator, comes back as it is.
    """
    if isinstance(value, int | float):  # of numpy's too, and truth values
        return float(value) if isinstance(value, float) else int(value), True
    if is_tensor(value):
        held: Any = value
        if held.device.type != "cpu" or held.numel() != 1 or held.is_complex() or hasattr(held, "to_local"):
            return value, False
        value = as_dense(held).tolist()
        while isinstance(value, list):
            value = value[0]
    elif isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.item()
    return (int(value), True) if isinstance(value, bool) else (value, isinstance(value, int | float))


def redacted(node: NodeT, redact: Callable[[str], str]) -> NodeT:
    """Returns texts, and mappings and sequences of them, without their secrets; everything else as it is."""
    made: object = node
    if isinstance(node, str):
        made = redact(node)
    elif isinstance(node, Mapping):
        made = {redacted(key, redact): redacted(value, redact) for key, value in node.items()}
    elif isinstance(node, list | tuple):
        made = [redacted(value, redact) for value in node]
    return cast(NodeT, made)


def array_of(value: object) -> "Array | Tensor":
    """Returns an array, or a tensor where that is not on the CPU.

    Raises:
        LogValueError: It is neither, nor can become one, or holds no real numbers.
    """
    if not is_tensor(value):
        return as_array(value)
    dense = as_dense(value)  # type: ignore[arg-type]
    return dense.numpy() if dense.device.type == "cpu" else dense


def picture(image: object, layout: str) -> "Pixels | Tensor":
    """Returns a picture, or a batch as the grid that torch's writer makes of it: rows of eight, no gaps.

    Args:
        image: An array or a tensor; uint8, or what is multiplied by 255.
        layout: What its axes are: letters of ``NCHW`` or ``CHW`` in any order, ``HW`` or ``WH``.

    Returns:
        uint8, shape (C, H, W).

    Raises:
        LogValueError: ``layout`` does not describe ``image``.
    """
    array, letters = array_of(image), layout.upper()
    wanted = {"NCHW": "NCHW", "CHW": "CHW", "HW": "HW"}.get("".join(sorted(letters, key="NCHW".find)))
    if wanted is None or len(letters) != array.ndim:
        problem = f"a picture of shape {tuple(array.shape)} has no dataformats={layout!r}"
        raise LogValueError(problem, "Name each axis once: NCHW, CHW or HW in their order.")
    if 0 in array.shape:
        raise LogValueError(f"a picture has at least one pixel, got shape {tuple(array.shape)}", "Skip empty ones.")
    pixels: Any = _permuted(_pixels(array), [letters.index(axis) for axis in wanted])
    if wanted == "HW":
        return pixels[None]  # type: ignore[no-any-return]
    if wanted == "CHW":
        return pixels  # type: ignore[no-any-return]
    columns = min(len(pixels), _GRID_COLUMNS)
    grid: Pixels | Tensor = _tiled(pixels[:, None], rows=-(-len(pixels) // columns), columns=columns)[0]
    return grid


def rescaled(pixels: "Pixels | Tensor", factor: float) -> "Pixels | Tensor":
    """Returns a picture, shape (C, H, W), with sides ``factor`` times as long.

    Raises:
        LogValueError: A side would be no pixel long, or the picture is on an accelerator, where nothing resizes it.
    """
    if factor == 1:
        return pixels
    if not isinstance(pixels, np.ndarray):
        raise LogValueError("a picture on an accelerator is not rescaled", "Give it as .cpu(), or leave out rescale.")
    from PIL import Image

    height, width = (int(side * factor) for side in pixels.shape[1:])
    if height < 1 or width < 1:
        raise LogValueError(f"rescale={factor} leaves no pixel of shape {pixels.shape}", "Give a larger factor.")
    return from_pil(to_pil(pixels).resize((width, height), Image.Resampling.LANCZOS))


def scaled(values: object, factor: float) -> "Array | Tensor":
    """Returns numbers times ``factor``, where they lie."""
    found: Any = array_of(values)
    return cast("Array | Tensor", found if factor == 1 else found * factor)


def clip(video: object) -> "Pixels | Tensor":
    """Returns a batch of videos as one, side by side; their number is filled up to a power of two, as torch does.

    Args:
        video: Shape (N, T, C, H, W); uint8, or what is multiplied by 255.

    Returns:
        uint8, shape (T, C, R * H, K * W).

    Raises:
        LogValueError: It has another shape.
    """
    array = array_of(video)
    if array.ndim != 5 or 0 in array.shape:
        raise LogValueError(f"videos have shape (N, T, C, H, W), got {tuple(array.shape)}", "Add an axis: vid[None].")
    count = array.shape[0]
    rows = 2 ** ((count.bit_length() - 1) // 2)
    padded = 1 << (count - 1).bit_length()
    tiled: Pixels | Tensor = _tiled(_pixels(array), rows=rows, columns=padded // rows)
    return tiled


def sound(samples: object) -> "Array | Tensor":
    """Returns floats as PCM of 16 bits, cut off at -1 and 1, as torch's writer has them; all else as it is.

    Returns:
        Without axes of length 1; a single sample has shape (1,).
    """
    found = array_of(samples)
    sides = [side for side in found.shape if side != 1] or [-1]
    if isinstance(found, np.ndarray):
        array = found.reshape(sides)
        if array.dtype.kind != "f":
            return array
        floats = np.nan_to_num(private_floats(array), nan=0.0)
        pcm: Array = (np.clip(floats, -1, 1) * 32767).astype(np.int16)
        return pcm
    tensor: Tensor = found.reshape(sides)
    if tensor.is_floating_point():
        tensor = tensor.float().nan_to_num(0.0).clamp(-1, 1).mul(32767).short()
    return tensor


def figures(figure: object) -> Array:
    """Returns a matplotlib figure drawn, shape (C, H, W), or a list of them, shape (N, C, H, W); without alpha."""
    drawn = as_array(figure)
    return np.moveaxis(drawn[..., :3], -1, -3)


def mesh_parts(vertices: object, faces: object, colors: object, config: object) -> list[object]:
    """Returns what a mesh is made of, its configuration as JSON.

    Raises:
        LogValueError: ``config`` has no JSON.
    """
    try:
        return [vertices, faces, colors, "{}" if config is None else json.dumps(config, sort_keys=True)]
    except (TypeError, ValueError) as error:
        raise LogValueError(f"config_dict has no JSON: {error}", "Use texts, numbers, lists and dicts.") from error


def _pixels(array: "Array | Tensor") -> "Pixels | Tensor":
    """Returns uint8 of the same shape: floats, and all other dtypes, times 255, cut off and rounded down."""
    if not isinstance(array, np.ndarray):
        import torch  # there is a tensor

        scaled = array if array.dtype == torch.uint8 else array.float().mul(255).nan_to_num(0.0).clamp(0, 255)
        return scaled.to(torch.uint8)
    if array.dtype == np.uint8:
        return cast(Pixels, array)
    # In the order of the memory, whatever the order of the axes is.
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    flat = np.ascontiguousarray(array.transpose(order)).reshape(-1)
    pixels, buffer = np.empty(flat.size, np.uint8), np.empty(min(flat.size, _CHUNK), np.float32)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        scaled_part = buffer[: part.size]
        scaled_part[...] = part
        scaled_part *= 255
        np.fmax(scaled_part, 0, out=scaled_part)  # NaN too
        np.fmin(scaled_part, 255, out=scaled_part)
        pixels[start : start + _CHUNK] = scaled_part
    in_order = pixels.reshape([array.shape[axis] for axis in order])
    return in_order.transpose(np.argsort(order))


def _tiled(clips: Any, *, rows: int, columns: int) -> Any:
    """Returns clips, shape (N, T, C, H, W), as one of shape (T, C, rows * H, columns * W), missing ones black."""
    count, length, channels, height, width = clips.shape
    if missing := rows * columns - count:
        if isinstance(clips, np.ndarray):
            clips = np.concatenate([clips, np.zeros((missing, *clips.shape[1:]), clips.dtype)])
        else:
            import torch

            clips = torch.cat([clips, clips.new_zeros((missing, *clips.shape[1:]))])
    cells = clips.reshape(rows, columns, length, channels, height, width)
    return _permuted(cells, [2, 3, 0, 4, 1, 5]).reshape(length, channels, rows * height, columns * width)


def _permuted(array: Any, axes: Sequence[int]) -> Any:
    return array.transpose(axes) if isinstance(array, np.ndarray) else array.permute(*axes)
