"""Turns clips into uint8 (T, C, H, W), and those into animated GIF files."""

import math

import numpy as np

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array, evenly_spaced
from ml.media.gif import gif_file
from ml.media.image import CHANNELS, Pixels, resize, to_uint8

DEFAULT_FPS = 10.0
MAX_FPS = 50  # browsers show GIF frames of 10 ms for 100 ms, so 20 ms is the shortest


def standardize_video(frames: object) -> Pixels:
    """Returns a clip in the common format.

    Values become pixels as ``ml.media.image.to_uint8`` says, over the whole clip.
    Frames are shrunk or enlarged as a single image is, all of them alike.

    Args:
        frames: Shape (T, H, W), (T, C, H, W) or (T, H, W, C), C being 1, 3 or 4;
            (T, C, H, W) where two are possible. Or a sequence of images of one shape.

    Returns:
        Shape (T, C, H', W').

    Raises:
        LogValueError: It has no such shape, a side is 0, or it holds no real numbers.
    """
    clip = _channels_second(as_array(frames))
    return np.ascontiguousarray(resize(to_uint8(clip)))


def frame_indices(
    count: int, *, fps: float | None = None, length: int | None = None, max_frames: int = 256
) -> list[int]:
    """Returns which frames of a clip to show, evenly spaced in time, the first and last among them.

    Shown at ``fps * len(indices) / count``, they take as long as the whole clip. To
    keep that within ``MAX_FPS`` and ``max_frames``, fewer are chosen than wanted.

    Args:
        count: Frames of the clip, at least 1.
        fps: Frames per second of the clip; ``None``: not above ``MAX_FPS``.
        length: How many frames are wanted, at least 1; beyond ``count``, frames are repeated. ``None``: ``count``.
        max_frames: At least 1.

    Raises:
        LogValueError: One of them is out of range.
    """
    if count < 1 or (length is not None and length < 1):
        problem = f"a video has at least one frame, got {count} and length={length}"
        raise LogValueError(problem, "Skip empty clips, and ask for at least 1 frame.")
    shown = min(count if length is None else length, max_frames)
    if fps is not None:
        shown = min(shown, max(1, round(count / _valid_fps(fps) * MAX_FPS)))
    if shown <= count:
        return evenly_spaced(count, shown)
    return [index * count // shown for index in range(shown)]


def encode_gif(frames: Pixels, fps: float) -> bytes:
    """Returns a clip as an animated GIF file that repeats for ever.

    Every frame is one of the file's, also if it equals the one before. Colours are
    exact for gray clips and for up to 256 of them, else reduced to 256 for the whole
    clip. Alpha is laid on white.

    Args:
        frames: Shape (T, C, H, W), T >= 1.
        fps: Frames per second, more than 0. Above ``MAX_FPS`` it is shown at ``MAX_FPS``.
            Durations are rounded to 10 ms so that their sum stays right.

    Raises:
        LogValueError: ``fps`` is not positive, or a side is above 65535 px.
    """
    # Rounded sums, so that 30 frames per second is 3, 4, 3, 3, 4 ... and not always 3.
    ends = np.floor(np.arange(len(frames) + 1) * (100 / min(_valid_fps(fps), MAX_FPS)) + 0.5)
    return gif_file(frames, np.diff(ends).astype(int).tolist())


def _channels_second(frames: Array) -> Array:
    shape = frames.shape
    if frames.size and frames.ndim == 3:
        return frames[:, np.newaxis]
    if frames.size and frames.ndim == 4 and shape[1] in CHANNELS:
        return frames
    if frames.size and frames.ndim == 4 and shape[3] in CHANNELS:
        return np.moveaxis(frames, 3, 1)
    raise LogValueError(
        f"a video has shape (T, H, W), (T, C, H, W) or (T, H, W, C) with 1, 3 or 4 channels, got shape {shape}",
        "Log one clip at a time, and skip empty ones.",
    )


def _valid_fps(fps: float) -> float:
    if not (math.isfinite(fps) and fps > 0):
        raise LogValueError(f"frames per second are positive and finite, got {fps}", "Pass e.g. fps=10.")
    return fps
