"""Media that other programs wrote, as media that a backend takes."""

from pathlib import Path

from ml.core.errors import FormatError
from ml.io.regular import open_regular
from ml.loggers.kinds import AUDIO, IMAGE, VIDEO, Kind
from ml.loggers.stored import StoredMedia
from ml.media.adopt import Adopted, adopt_picture, adopt_sound

MAX_FILE_BYTES = 2**27

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"})
_SOUNDS = frozenset({".wav"})


def stored_file(folder: Path, relative: str, *, kind: Kind, path: str) -> StoredMedia:
    """Returns the medium that a file holds: a PNG, animated GIF or WAV file as it is, another one encoded anew.

    Args:
        folder: Where the file must be, at any depth.
        relative: The file, as somebody else named it.
        kind: What it was logged as: a GIF file with one frame is a picture, or a video. What it is counts.
        path: ``<namespace>/<key>``, for messages.

    Raises:
        OSError: It is not there, or cannot be read.
        FormatError: It lies elsewhere, is too large, damaged, or of a form that is not taken.
    """
    file = folder / relative
    suffix = file.suffix.lower()
    if suffix not in _PICTURES | _SOUNDS:
        raise FormatError(f"files of the form {file.suffix or '(none)'!r} are not taken", path=file)
    data = content_of(folder, relative)
    try:
        adopted = adopt_sound(data) if suffix in _SOUNDS else adopt_picture(data, min_frames=1 if kind is VIDEO else 2)
    except FormatError as error:
        raise FormatError(error.message, path=file) from error
    return stored(adopted, path=path, origin=str(file))


def stored(adopted: Adopted, *, path: str, origin: str) -> StoredMedia:
    """Returns a picture, video or clip as a backend takes it.

    Args:
        adopted: What was encoded.
        path: ``<namespace>/<key>``, for messages.
        origin: Where it was read, for messages.
    """
    kind, rate = {"png": (IMAGE, ""), "gif": (VIDEO, "fps"), "wav": (AUDIO, "sample_rate")}[adopted.form]
    about: dict[str, object] = {"shape": list(adopted.shape)} | ({rate: adopted.rate} if rate else {})
    return StoredMedia(kind, adopted.form, adopted.data, about, path=path, origin=origin)


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
