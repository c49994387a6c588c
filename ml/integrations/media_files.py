"""Files of media that other programs wrote, as media that a backend takes."""

import io
import wave
from pathlib import Path

from ml.core.errors import FormatError
from ml.io.regular import open_regular
from ml.loggers.kinds import AUDIO, DEFAULT_FPS, IMAGE, VIDEO
from ml.loggers.stored import StoredMedia
from ml.media.decode import MAX_ELEMENTS
from ml.media.image import encode_png, from_pil

MAX_FILE_BYTES = 2**27

_IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".wav"})
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def stored_file(folder: Path, relative: str, *, path: str) -> StoredMedia:
    """Returns the medium that a file holds: a PNG, GIF or WAV file as it is, another picture encoded anew.

    Args:
        folder: Where the file must be, at any depth.
        relative: The file, as somebody else named it.
        path: ``<namespace>/<key>``, for messages.

    Raises:
        OSError: It is not there, or cannot be read.
        FormatError: It lies elsewhere, is too large, damaged, or of a form that is not taken.
    """
    file = folder / relative
    if file.suffix.lower() not in _SUFFIXES:
        raise FormatError(f"files of the form {file.suffix or '(none)'!r} are not taken", path=file)
    data = content_of(folder, relative)
    try:
        if file.suffix.lower() == ".wav":
            return _clip(data, path, str(file))
        if file.suffix.lower() == ".gif":
            return _video(data, path, str(file))
        return _picture(data, path, str(file))
    except Exception as error:  # decoders raise many things
        raise FormatError(f"the file cannot be read: {error}", path=file) from error


def content_of(folder: Path, relative: str) -> bytes:
    """Returns what a file holds.

    Args:
        folder: Where the file must be, at any depth.
        relative: The file, as somebody else named it.

    Raises:
        OSError: It is not there, or cannot be read.
        FormatError: It lies elsewhere, or is too large.
    """
    file = folder / relative
    if not file.resolve().is_relative_to(folder.resolve()):
        raise FormatError("the file is not in the folder of its run", path=file)
    with open_regular(file) as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"the file has more than {MAX_FILE_BYTES} bytes", path=file)
    return data


def _picture(data: bytes, path: str, origin: str) -> StoredMedia:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
        _check_size(image.width * image.height * 4)
        if image.format != "PNG" or image.mode not in _CHANNELS:
            shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
            data, image_mode = encode_png(from_pil(shown)), shown.mode
        else:
            image_mode = image.mode
        shape = [_CHANNELS[image_mode], image.height, image.width]
    return StoredMedia(IMAGE, "png", data, {"shape": shape}, path=path, origin=origin)


def _video(data: bytes, path: str, origin: str) -> StoredMedia:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["GIF"]) as image:
        count = getattr(image, "n_frames", 1)
        _check_size(count * image.width * image.height * 3)
        shape = [count, 3, image.height, image.width]
        duration_ms = image.info.get("duration", 0)
    fps = 1000 / duration_ms if duration_ms else DEFAULT_FPS
    return StoredMedia(VIDEO, "gif", data, {"shape": shape, "fps": fps}, path=path, origin=origin)


def _clip(data: bytes, path: str, origin: str) -> StoredMedia:
    with wave.open(io.BytesIO(data)) as clip:
        if clip.getsampwidth() != 2:
            raise ValueError(f"samples have {8 * clip.getsampwidth()} bits; 16 are taken")
        channels, count, rate = clip.getnchannels(), clip.getnframes(), clip.getframerate()
    _check_size(channels * count)
    shape = [count] if channels == 1 else [channels, count]
    return StoredMedia(AUDIO, "wav", data, {"shape": shape, "sample_rate": rate}, path=path, origin=origin)


def _check_size(elements: int) -> None:
    if not 0 < elements <= MAX_ELEMENTS:
        raise ValueError(f"it has {elements} elements; 1 to {MAX_ELEMENTS} are taken")
