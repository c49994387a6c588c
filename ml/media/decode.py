"""Turns files that this package encoded back into arrays.

What a file says of its size is compared with the shape that was noted when it
was written, before anything of that size is allocated; that shape is bounded too.
"""

import io
import math
import struct
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ml.core.errors import FormatError
from ml.media.audio import Samples
from ml.media.image import Pixels, from_pil
from ml.media.points import Colors, Points

MAX_ELEMENTS = 2**27

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_COLOR_TYPES = {0: 1, 2: 3, 6: 4}  # to channels
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PCM_SCALE = np.float32(2**15)
_PLY_END = b"\nend_header\n"
_PLY_MAX_HEADER_BYTES = 1000
_PLY_COLORS = ("red", "green", "blue")


def png_shape(data: bytes) -> tuple[int, int, int]:
    """Returns the shape (C, H, W) that the header of a PNG file says, which ``encode_png`` made.

    Raises:
        FormatError: It has no such header.
    """
    channels = _COLOR_TYPES.get(data[25]) if len(data) > 25 else None
    if channels is None or data[:16] != _PNG_START:
        raise FormatError("this is no PNG file of gray, RGB or RGBA pixels")
    width, height = struct.unpack_from(">II", data, 16)
    return channels, height, width


def decode_png(data: bytes, shape: Sequence[int]) -> Pixels:
    """Returns the picture that ``encode_png`` made a file of.

    Args:
        data: The file.
        shape: (C, H, W), as it was then.

    Raises:
        FormatError: It is no PNG file of this shape.
    """
    from PIL import Image

    with _explained("PNG file", shape):
        channels, height, width = shape
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height) or image.mode != _MODES[channels]:
                raise ValueError(f"it holds {image.size[0]} x {image.size[1]} pixels of mode {image.mode}")
            return np.array(from_pil(image))  # a copy, which may be written to


def decode_gif(data: bytes, shape: Sequence[int]) -> Pixels:
    """Returns the frames of a GIF file that ``encode_gif`` made, in the colours that it has left of them.

    Args:
        data: The file.
        shape: (T, C, H, W), as it was then.

    Raises:
        FormatError: It is no GIF file of this shape.
    """
    from PIL import Image

    with _explained("GIF file", shape):
        count, channels, height, width = shape
        with Image.open(io.BytesIO(data), formats=["GIF"]) as image:
            if image.size != (width, height) or getattr(image, "n_frames", 1) != count:
                raise ValueError(f"it holds {getattr(image, 'n_frames', 1)} frames of size {image.size}")
            frames: Pixels = np.empty((count, channels, height, width), np.uint8)
            for number, frame in enumerate(frames):
                image.seek(number)
                frame[...] = from_pil(image.convert(_MODES[channels]))
            return frames


def decode_wav(data: bytes, shape: Sequence[int]) -> Samples:
    """Returns the sound that ``encode_wav`` made a file of: its 16 bits, divided by 2 ** 15.

    Args:
        data: The file.
        shape: (T,) or (C, T), as it was then.

    Raises:
        FormatError: It is no WAV file of this shape.
    """
    with _explained("WAV file", shape):
        channels, count = (1, *shape)[-2:]
        with wave.open(io.BytesIO(data)) as clip:
            if (clip.getnchannels(), clip.getnframes(), clip.getsampwidth()) != (channels, count, 2):
                raise ValueError(f"it holds {clip.getnframes()} samples of {clip.getnchannels()} channels")
            pcm = np.frombuffer(clip.readframes(count), "<i2").astype(np.float32)
        return np.ascontiguousarray(pcm.reshape(count, channels).T).reshape(shape) / _PCM_SCALE


def decode_ply(data: bytes, shape: Sequence[int]) -> tuple[Points, Colors | None]:
    """Returns the points, and the colours if there are some, that ``encode_ply`` made a file of.

    Args:
        data: The file.
        shape: (B, N, 3), as it was then; both have it again.

    Raises:
        FormatError: It is no PLY file of this shape, as this package writes them.
    """
    with _explained("PLY file", shape):
        header_bytes = data.index(_PLY_END, 0, _PLY_MAX_HEADER_BYTES) + len(_PLY_END)
        lines = data[:header_bytes].decode("ascii").splitlines()
        clouds, count, axes = shape
        fields = [(axis, "<f4") for axis in "xyz"]
        if len(lines) == 4 + len(fields) + len(_PLY_COLORS):
            fields += [(color, "u1") for color in _PLY_COLORS]
        properties = [f"property {'float' if form == '<f4' else 'uchar'} {name}" for name, form in fields]
        head = ["ply", "format binary_little_endian 1.0", f"element vertex {clouds * count}", *properties, "end_header"]
        if lines != head or axes != 3:
            raise ValueError(f"its header says {lines[2:3]}")
        vertices = np.frombuffer(data, np.dtype(fields), clouds * count, header_bytes)
        points = np.stack([vertices[axis] for axis in "xyz"], axis=-1).reshape(shape)
        if len(fields) == 3:
            return points, None
        return points, np.stack([vertices[color] for color in _PLY_COLORS], axis=-1).reshape(shape)


@contextmanager
def _explained(what: str, shape: Sequence[int]) -> Iterator[None]:
    """Turns whatever goes wrong inside into a ``FormatError``: decoders raise many things."""
    try:
        if min(shape) < 1 or math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"a shape has positive sides and at most {MAX_ELEMENTS} elements")
        yield
    except Exception as error:
        raise FormatError(f"this is no {what} of shape {tuple(shape)}: {error}") from error
