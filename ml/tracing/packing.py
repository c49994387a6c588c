"""Arrays as bytes: what lies in the columns ``data`` and ``logits``, so that any language reads it.

All numbers are little-endian, all arrays in the order of C. ``candidates.data`` is::

    4 bytes    "MLC1"
    uint8      what follows: 1: logits, 2: visible, 4: labels and candidates have 64 bits instead of 32
    uint32     N, the number of candidates
    uint32     C, the logits of each; 0 without
    float32    boxes, (N, 4): x1, y1, x2, y2
    float32    scores, (N,)
    int32      labels, (N,)
    int32      candidates, (N,)
    float16    logits, (N, C)
    uint8      visible, ceil(N / 8) bytes, the first candidate in the lowest bit of the first

A logit beyond what 16 bits can hold is the largest that they can; NaN and infinities are kept.
"""

import struct
from math import prod
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ml.core.errors import FormatError
from ml.tracing.output import DetectionOutput

_HEAD = struct.Struct("<4sBII")
_MAGIC = b"MLC1"
_LOGITS, _VISIBLE, _WIDE = 1, 2, 4
_INT32 = np.iinfo(np.int32)
_LARGEST = float(np.finfo(np.float16).max)

FEATURE_DTYPES = ("float16", "float32")

NumberT = TypeVar("NumberT", bound=np.generic)


def pack_candidates(output: DetectionOutput) -> bytes:
    """Returns the candidates of an image as the top of the module says."""
    logits, visible = output.logits, output.visible
    is_wide = any(not _fits_32_bits(numbers) for numbers in (output.labels, output.candidates))
    flags = (_LOGITS if logits is not None else 0) | (_VISIBLE if visible is not None else 0) | (_WIDE * is_wide)
    whole = "<i8" if is_wide else "<i4"
    parts = [
        _HEAD.pack(_MAGIC, flags, len(output), 0 if logits is None else logits.shape[1]),
        np.ascontiguousarray(output.boxes, "<f4").tobytes(),
        np.ascontiguousarray(output.scores, "<f4").tobytes(),
        output.labels.astype(whole).tobytes(),
        output.candidates.astype(whole).tobytes(),
    ]
    if logits is not None:
        parts.append(halved(logits).astype("<f2", copy=False).tobytes())
    if visible is not None:
        parts.append(np.packbits(visible, bitorder="little").tobytes())
    return b"".join(parts)


def unpack_candidates(data: bytes, image_size: tuple[int, int]) -> DetectionOutput:
    """Returns the candidates that ``pack_candidates`` packed, on an image of this height and width.

    Raises:
        FormatError: They are damaged, or of a newer version.
    """
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise FormatError(f"no packed candidates: they begin with {data[:4]!r}", path="")
    _, flags, count, classes = _HEAD.unpack_from(data)
    reader = _Reader(data, _HEAD.size)
    whole = "<i8" if flags & _WIDE else "<i4"
    boxes, scores = reader.take("<f4", (count, 4)), reader.take("<f4", (count,))
    labels, candidates = reader.take(whole, (count,)), reader.take(whole, (count,))
    logits = reader.take("<f2", (count, classes)) if flags & _LOGITS else None
    bits = reader.take("u1", ((count + 7) // 8,)) if flags & _VISIBLE else None
    return DetectionOutput(
        boxes.astype(np.float32),
        scores.astype(np.float32),
        labels.astype(np.int64),
        None if logits is None else logits.astype(np.float32),
        candidates.astype(np.int64),
        image_size,
        None if bits is None else np.unpackbits(bits, count=count, bitorder="little").astype(bool),
    )


def pack_array(array: npt.NDArray[NumberT]) -> tuple[str, str, bytes]:
    """Returns the dtype, the shape as ``3x4x5`` (a single number has ``""``), and the bytes of an array."""
    kind = array.dtype.newbyteorder("<")
    return array.dtype.name, "x".join(map(str, array.shape)), np.ascontiguousarray(array, kind).tobytes()


def unpack_array(dtype: str, shape: str, data: bytes) -> npt.NDArray[np.float16] | npt.NDArray[np.float32]:
    """Returns the array that ``pack_array`` packed.

    Raises:
        FormatError: It is damaged, or has another dtype than those of features.
    """
    if dtype not in FEATURE_DTYPES:
        raise FormatError(f"a feature has one of {FEATURE_DTYPES}, this one {dtype!r:.40}", path="")
    try:
        sizes = tuple(int(size) for size in shape.split("x")) if shape else ()
    except ValueError:
        raise FormatError(f"no shape of an array: {shape!r:.80}", path="") from None
    kind = np.dtype(dtype).newbyteorder("<")
    if min(sizes, default=0) < 0 or prod(sizes) * kind.itemsize != len(data):
        raise FormatError(f"an array of shape {shape!r:.80} and {dtype} does not have {len(data)} bytes", path="")
    array: npt.NDArray[np.float32] = np.frombuffer(data, kind).reshape(sizes).astype(dtype)
    return array


def unpack_logits(data: bytes) -> npt.NDArray[np.float32]:
    """Returns the logits of a classifier, shape (C,).

    Raises:
        FormatError: They are damaged.
    """
    if not data or len(data) % 4:
        raise FormatError(f"logits have 4 bytes each, and there is one at least; not {len(data)} bytes", path="")
    return np.frombuffer(data, "<f4").astype(np.float32)


def halved(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Returns numbers in 16 bits: what is beyond their range becomes their largest, infinities stay."""
    with np.errstate(over="ignore"):
        half = numbers.astype(np.float16)
    beyond = np.isinf(half)
    if beyond.any():
        beyond &= np.isfinite(numbers)
        half[beyond] = np.copysign(_LARGEST, numbers[beyond]).astype(np.float16)
    return half


class _Reader:
    """Takes arrays from bytes, one behind the other; nothing is made that they do not hold."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._offset = data, offset

    def take(self, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        count, dtype = prod(shape), np.dtype(kind)
        if self._offset + count * dtype.itemsize > len(self._data):
            raise FormatError(f"packed candidates end after {len(self._data)} bytes", path="", offset=self._offset)
        array = np.frombuffer(self._data, dtype, count, self._offset).reshape(shape)
        self._offset += count * dtype.itemsize
        return array


def _fits_32_bits(numbers: npt.NDArray[np.int64]) -> bool:
    return not len(numbers) or (_INT32.min <= int(numbers.min()) and int(numbers.max()) <= _INT32.max)
