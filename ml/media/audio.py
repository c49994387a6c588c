"""Turns sound of every usual layout and format into float32 in [-1, 1], and that into WAV files."""

import io
import wave
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array, private_floats

Samples: TypeAlias = npt.NDArray[np.float32]

MAX_CHANNELS = 32

_PCM_ZERO_AND_SCALE = {np.dtype(np.uint8): (128, 128), np.dtype(np.int16): (0, 2**15), np.dtype(np.int32): (0, 2**31)}


def standardize_audio(samples: object) -> Samples:
    """Returns sound in the common format.

    PCM is divided by its full range: uint8 by 128 around 128, int16 by 2 ** 15,
    int32 by 2 ** 31. Floats stay as they are, but if any is beyond [-1, 1] all are
    divided by the largest absolute value. NaN and infinities become 0.

    Args:
        samples: Shape (T,), (C, T) or (T, C). The longer axis is time; (C, T) if they are equal.

    Returns:
        Shape (T,) or (C, T), in [-1, 1].

    Raises:
        LogValueError: It has no such shape, no sample, more than ``MAX_CHANNELS``
            channels, or another dtype than the ones above.
    """
    array = as_array(samples)
    if array.ndim not in (1, 2) or array.size == 0:
        problem = f"sound has shape (T,), (C, T) or (T, C) and at least one sample, got shape {array.shape}"
        raise LogValueError(problem, "Log one clip at a time, and skip empty ones.")
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        array = array.T
    if array.ndim == 2 and len(array) > MAX_CHANNELS:
        problem = f"sound has at most {MAX_CHANNELS} channels, got {len(array)} of {array.shape[1]} samples"
        raise LogValueError(problem, "Log one clip of the batch; log a spectrogram as an image.")
    if array.dtype.kind == "f":
        return _within_full_scale(array)
    native = array.dtype.newbyteorder("=")
    if native not in _PCM_ZERO_AND_SCALE:
        problem = f"sound holds floats, or PCM of dtype uint8, int16 or int32, got dtype {array.dtype}"
        raise LogValueError(problem, "Convert it, e.g. with .astype(np.int16), or divide it by its full range.")
    zero, scale = _PCM_ZERO_AND_SCALE[native]
    pcm = array.astype(np.float32, order="C")
    pcm -= zero
    pcm /= scale
    return pcm


def exceeds_full_scale(samples: object) -> bool:
    """Returns whether sound holds finite floats beyond [-1, 1], so that ``standardize_audio`` scales it down.

    Raises:
        LogValueError: It is complex, ragged, or no numbers at all.
    """
    array = as_array(samples)
    return array.dtype.kind == "f" and _peak(private_floats(array)) > 1


def encode_wav(samples: Samples, sample_rate: int) -> bytes:
    """Returns sound as a WAV file with 16 bits a sample: int16 PCM comes back exactly.

    Args:
        samples: Shape (T,) or (C, T), in [-1, 1].
        sample_rate: In Hz, from 1 to 2 ** 32 / (2 * C).

    Raises:
        LogValueError: The rate is out of range.
    """
    channels = np.atleast_2d(samples)
    if not 1 <= sample_rate < 2**32 // (2 * len(channels)):
        problem = f"a sample rate is a positive number of Hz that a WAV file can hold, got {sample_rate}"
        raise LogValueError(problem, "Pass the rate of the clip, e.g. 44100.")
    pcm = channels.T * np.float32(2**15)
    np.rint(pcm, out=pcm)
    np.clip(pcm, -(2**15), 2**15 - 1, out=pcm)
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setnchannels(len(channels))
        clip.setsampwidth(2)
        clip.setframerate(sample_rate)
        clip.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def _within_full_scale(array: Array) -> Samples:
    floats = private_floats(array)
    np.nan_to_num(floats, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    peak = _peak(floats)
    if peak > 1:
        floats /= peak
    return floats.astype(np.float32, copy=False)


def _peak(floats: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> float:
    magnitude = np.abs(floats)
    return float(np.max(magnitude, where=np.isfinite(magnitude), initial=0.0))
