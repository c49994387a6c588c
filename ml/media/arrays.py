"""Turns what users log into numpy arrays, and picks evenly spaced samples."""

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError

if TYPE_CHECKING:
    from PIL.Image import Image

Array: TypeAlias = npt.NDArray[np.generic]  # of a real dtype that only its reader knows

_OPAQUE_MODES = {"CMYK", "HSV", "LAB", "YCbCr"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBa"}


class _Figure(Protocol):
    """The part of a matplotlib figure that is used here."""

    def savefig(self, fname: io.BytesIO, *, format: str) -> None: ...


def as_array(value: object) -> Array:
    """Returns a value as an array of bools, integers or floats.

    PIL images become (H, W) or (H, W, C): palettes, CMYK, HSV and YCbCr as RGB,
    whatever has alpha as RGBA, "1" as bool, 16 and 32 bit modes as they are.
    Matplotlib figures become (H, W, 4), as they are saved. A sequence becomes one
    array with a new first axis, so its items must have one shape.

    Args:
        value: An array or anything that has ``__array__``, a number, a PIL image, a
            matplotlib figure, or a list or tuple of these, nested at will.

    Returns:
        The value; an array is returned as it is, not copied.

    Raises:
        LogValueError: It is complex, ragged, text, or no numbers at all.
    """
    if isinstance(value, np.ndarray):
        return _real(value)
    if _is_pil_image(value):
        return _from_pil(value)
    if _is_figure(value):
        return _from_figure(value)
    if isinstance(value, (list, tuple)) and _holds_items(value):
        return _stacked([as_array(item) for item in value])
    try:
        array = np.asarray(value)
    except Exception as error:  # __array__ is foreign code
        problem = f"a {type(value).__name__} cannot become one array ({error})"
        raise LogValueError(problem, "Give every item the same shape, or log the items one by one.") from error
    return _real(array)


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Returns the indices of at most ``limit`` of ``count`` samples, ascending and evenly spaced.

    The first and the last sample are among them when ``limit`` is 2 or more; all
    are when ``count <= limit``.

    Raises:
        LogValueError: ``limit`` is below 1.
    """
    if limit < 1:
        raise LogValueError(f"at least 1 sample is kept, got a limit of {limit}", "Raise the limit.")
    if count <= limit:
        return list(range(count))
    if limit == 1:
        return [0]
    gaps = limit - 1
    return [(2 * i * (count - 1) + gaps) // (2 * gaps) for i in range(limit)]  # rounded to the nearest


def private_floats(array: Array) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
    """Returns a copy, in C order, as float32 if that holds the dtype, else as float64; what is beyond is infinite."""
    with np.errstate(over="ignore"):
        if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
            return array.astype(np.float32, order="C")
        return array.astype(np.float64, order="C")


def _real(array: Array) -> Array:
    """Returns the array when it holds bools, integers or floats."""
    found = f"dtype {array.dtype} and shape {array.shape}"
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "c":
        raise LogValueError(f"numbers are real, got {found}", "Log np.abs(value), or its real and imaginary parts.")
    if array.dtype.kind == "V" and array.dtype.names is None:  # ml_dtypes: bfloat16, float8
        try:
            return array.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise LogValueError(f"numbers are expected, got {found}", "Log an array of numbers.") from error
    if array.dtype.kind == "O":
        raise LogValueError(
            f"numbers of one shape are expected, got {found}",
            "Give every item the same shape and a numeric type, e.g. with np.stack(items).astype(np.float32).",
        )
    raise LogValueError(f"numbers are expected, got {found}", "Log an array of numbers.")


def _stacked(items: Sequence[Array]) -> Array:
    shapes = sorted({item.shape for item in items})
    if len(shapes) > 1:
        raise LogValueError(
            f"the items of a sequence have one shape, got {', '.join(map(str, shapes[:4]))}",
            "Resize or pad them to one shape, or log them one by one.",
        )
    return np.stack(items)


def _holds_items(values: Sequence[object]) -> bool:
    """Whether these are arrays, images or figures, which numpy alone would not stack; the first one tells."""
    if not values:
        return False
    first = values[0]
    if isinstance(first, (list, tuple)):
        return _holds_items(first)
    return isinstance(first, np.ndarray) or _is_pil_image(first) or _is_figure(first)


def _is_pil_image(value: object) -> "TypeGuard[Image]":
    module = sys.modules.get("PIL.Image")  # who has an image has loaded it
    return module is not None and isinstance(value, module.Image)


def _from_pil(image: "Image") -> Array:
    mode = image.mode
    try:
        if mode in _ALPHA_MODES or (mode == "P" and "transparency" in image.info):
            image = image.convert("RGBA")
        elif mode == "P" or mode in _OPAQUE_MODES:
            image = image.convert("RGB")
        array: Array = np.asarray(image)
    except (OSError, ValueError) as error:
        problem = f"a PIL image of mode {mode} and size {image.size} cannot be read ({error})"
        raise LogValueError(problem, "Check its file, and convert it with .convert('RGB').") from error
    if array.dtype.kind not in "biuf":  # a mode that numpy does not know
        raise LogValueError(f"a PIL image of mode {mode} has no array", "Convert it with .convert('RGB').")
    return array


def _is_figure(value: object) -> TypeGuard[_Figure]:
    return hasattr(value, "canvas") and hasattr(value, "savefig")


def _from_figure(figure: _Figure) -> Array:
    """Returns a figure as it would be saved: that works with every canvas, also of figures made without pyplot."""
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGBA"))
