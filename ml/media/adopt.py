"""Takes over files that another program encoded: as they are where this package reads them, else encoded anew."""

import io
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ml.core.errors import FormatError
from ml.media.audio import encode_wav, standardize_audio
from ml.media.decode import MAX_ELEMENTS
from ml.media.image import encode_png, from_pil
from ml.media.video import DEFAULT_FPS

_FORMATS = ("PNG", "GIF", "JPEG", "WEBP", "BMP")
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


class Adopted(NamedTuple):
    """A file of a medium.

    Attributes:
        form: ``"png"``, ``"gif"`` or ``"wav"``.
        data: The file.
        shape: (C, H, W), (T, C, H, W), or (T,) and (C, T), as ``ml.media.decode`` wants it.
        rate: Frames per second, or samples per second in Hz; 0 of a picture.
    """

    form: str
    data: bytes
    shape: tuple[int, ...]
    rate: float = 0.0


def adopt_picture(data: bytes, *, min_frames: int = 2) -> Adopted:
    """Returns a picture, or a GIF file.

    Args:
        data: A PNG, GIF, JPEG, WebP or BMP file. PNG files with 8 bits of gray, RGB or RGBA, and videos stay as they
            are; everything else becomes a PNG file.
        min_frames: How many frames make a GIF file a video.

    Raises:
        FormatError: It is none, or has more than 2^27 pixels and channels.
    """
    from PIL import Image

    with _explained("picture"), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        frames = getattr(image, "n_frames", 1)
        width, height = image.size
        if width * height * 4 * frames > MAX_ELEMENTS:
            raise ValueError(f"it has {frames} x {width} x {height} pixels, which is too much")
        if image.format == "GIF" and frames >= min_frames:
            duration_ms = 0.0
            for number in range(frames):
                image.seek(number)
                duration_ms += float(image.info.get("duration", 0))
            fps = 1000 * frames / duration_ms if duration_ms > 0 else DEFAULT_FPS
            return Adopted("gif", data, (frames, 3, height, width), fps)
        if image.format == "PNG" and image.mode in _CHANNELS:
            return Adopted("png", data, (_CHANNELS[image.mode], height, width))
        shown = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
        pixels = from_pil(image.convert(shown))
        return Adopted("png", encode_png(pixels), pixels.shape)


def adopt_sound(data: bytes) -> Adopted:
    """Returns a clip as a WAV file of 16 bits.

    Args:
        data: A WAV file of PCM. One of 16 bits stays as it is.

    Raises:
        FormatError: It is none, or has more than 2^27 samples.
    """
    with _explained("WAV file"), wave.open(io.BytesIO(data)) as clip:
        channels, count, width, rate = clip.getnchannels(), clip.getnframes(), clip.getsampwidth(), clip.getframerate()
        shape = (count,) if channels == 1 else (channels, count)
        if not 0 < count * channels <= MAX_ELEMENTS or rate < 1:
            raise ValueError(f"it has {count} samples of {channels} channels at {rate} Hz")
        if width == 2:
            return Adopted("wav", data, shape, rate)
        raw = np.frombuffer(clip.readframes(count), np.uint8)
        if width == 3:  # the low byte of 32 bits is 0
            raw = np.pad(raw.reshape(-1, 3), ((0, 0), (1, 0))).reshape(-1)
        pcm = raw.view(np.uint8 if width == 1 else np.dtype("<i4"))
        samples = standardize_audio(np.ascontiguousarray(pcm.reshape(count, channels).T.reshape(shape)))
        return Adopted("wav", encode_wav(samples, rate), shape, rate)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into a ``FormatError``: decoders raise many things."""
    try:
        yield
    except Exception as error:
        raise FormatError(f"this is no {what} that can be read: {error}") from error
