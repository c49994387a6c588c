"""Writes animated GIF files: one palette for the whole clip, and of each frame only what changed.

Pillow packs the pixels. Its own writer of animations is not used: it drops
frames that equal the one before, and finds a palette for every frame.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import evenly_spaced
from ml.media.image import Pixels

_COLORS = 256
_MAX_SIDE_PX = 2**16 - 1
_MAX_DURATION_CS = 2**16 - 1
_SAMPLE_FRAMES = 16
_SAMPLE_PIXELS = 2**16
_REPEAT_FOR_EVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


def gif_file(frames: Pixels, durations_cs: Sequence[int]) -> bytes:
    """Returns a clip as a GIF file.

    Args:
        frames: Shape (T, C, H, W), C being 1, 3 or 4 (alpha is laid on white).
        durations_cs: How long each frame is shown, in hundredths of a second; cut to 65535.

    Raises:
        LogValueError: A side is above 65535 px.
    """
    from PIL import Image
    from PIL.GifImagePlugin import getdata

    height, width = frames.shape[2:]
    if max(height, width) > _MAX_SIDE_PX:
        problem = f"a GIF has sides of at most {_MAX_SIDE_PX} px, got {height} x {width}"
        raise LogValueError(problem, "Log a less elongated video.")
    places, palette = _indexed(frames)
    # 0xf7: a palette of 256 colours follows.
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0xF7, 0, 0), palette.tobytes(), _REPEAT_FOR_EVER]
    previous = None
    for frame, duration_cs in zip(places, durations_cs, strict=True):
        top, bottom, left, right = _changed(frame, previous)
        part = Image.fromarray(np.ascontiguousarray(frame[top:bottom, left:right]))
        duration_ms = 10 * min(duration_cs, _MAX_DURATION_CS)
        parts += getdata(part, (left, top), duration=duration_ms, disposal=1)  # 1: the next is drawn over it
        previous = frame
    return b"".join([*parts, b";"])


def _indexed(frames: Pixels) -> tuple[Pixels, Pixels]:
    """Returns every pixel's place in a palette, shape (T, H, W), and the palette, shape (256, 3)."""
    if frames.shape[1] == 1:
        return frames[:, 0], np.repeat(np.arange(_COLORS, dtype=np.uint8), 3).reshape(_COLORS, 3)
    if frames.shape[1] == 4:
        frames = np.stack([_on_white(frame) for frame in frames])
    colors = _few_colors(frames)
    palette = np.zeros((_COLORS, 3), np.uint8)
    if colors is not None:
        palette[: len(colors)] = np.stack([colors >> 16, colors >> 8, colors], axis=1)  # the low byte stays
        return np.stack([np.searchsorted(colors, _packed(frame)).astype(np.uint8) for frame in frames]), palette
    chosen, table = _best_colors(frames)
    palette[: len(chosen)] = chosen
    return np.stack([table[_packed(frame >> 2, bits=6)] for frame in frames]), palette


def _on_white(frame: Pixels) -> Pixels:
    alpha = frame[3:].astype(np.uint16)
    blended: Pixels = ((frame[:3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return blended


def _packed(frame: Pixels, *, bits: int = 8) -> npt.NDArray[np.int32]:
    """Returns the colours of a frame, shape (3, H, W), as one number each."""
    red, green, blue = frame.astype(np.int32)
    packed: npt.NDArray[np.int32] = (red << 2 * bits) | (green << bits) | blue
    return packed


def _few_colors(frames: Pixels) -> npt.NDArray[np.int32] | None:
    """Returns the colours of a clip, ascending and packed; ``None`` if a palette does not hold them all."""
    seen = np.zeros(2**24, np.bool_)
    for frame in frames:
        seen[_packed(frame)] = True
        if np.count_nonzero(seen) > _COLORS:
            return None
    return np.flatnonzero(seen).astype(np.int32)


def _best_colors(frames: Pixels) -> tuple[Pixels, Pixels]:
    """Returns up to 256 colours for a clip, and a table from colours of 6 bits a channel to them."""
    from PIL import Image

    sample = np.moveaxis(frames[evenly_spaced(len(frames), _SAMPLE_FRAMES)], 1, -1).reshape(1, -1, 3)
    step = sample.shape[1] // _SAMPLE_PIXELS | 1  # odd, so that it does not stay in the same columns
    reduced = Image.fromarray(np.ascontiguousarray(sample[:, ::step])).quantize(_COLORS)
    palette = np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)
    every = np.arange(2**18)
    centres = (np.stack([every >> 12, every >> 6 & 63, every & 63], axis=-1) << 2 | 2).astype(np.uint8)
    table = Image.fromarray(centres.reshape(512, 512, 3)).quantize(palette=reduced, dither=Image.Dither.NONE)
    return palette, np.asarray(table).reshape(-1)


def _changed(frame: Pixels, previous: Pixels | None) -> tuple[int, int, int, int]:
    """Returns the top, bottom, left and right of what differs; one pixel if nothing does."""
    if previous is None:
        return 0, frame.shape[0], 0, frame.shape[1]
    differs = frame != previous
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not rows.size:
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
