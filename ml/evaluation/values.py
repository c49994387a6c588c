"""The values of a table that are more than numbers and text: pictures with boxes and masks, and sound.

Each is taken over when it is made, so that what it was made of may change, and then stays as it is. Pictures and sound
are files from then on; two are equal when their files are, and what was said about them.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, final

import numpy as np
import numpy.typing as npt

from ml.core.errors import FormatError, LogValueError
from ml.evaluation.blobs import MAX_BLOB_BYTES, MediaFile, refuse_large
from ml.evaluation.references import Reference, RowIndex, TableRef
from ml.io.regular import open_regular
from ml.loggers.tensors import as_dense, is_tensor
from ml.media.adopt import adopt_sound
from ml.media.arrays import Array, as_array
from ml.media.audio import Samples, encode_wav, standardize_audio
from ml.media.decode import decode_wav
from ml.media.image import channels_first, encode_png, to_uint8
from ml.media.image_files import decode_image, inspect

__all__ = ["Audio", "Boxes", "Image", "Masks", "Reference", "RowIndex", "TableRef", "on_host"]

MAX_BOXES: Final = 100_000
MAX_MASK_LABELS: Final = 65_536


@final
class Boxes:
    """Boxes on a picture, in its pixels.

    Args:
        xyxy: Shape (N, 4): left, top, right, bottom of each. N may be 0. They are kept as they are, also with NaN or
            swapped corners, as an untrained detector makes them.
        labels: N texts, or N whole numbers.
        scores: Shape (N,).
        ids: N texts, or N whole numbers, such as those of tracks.

    Attributes:
        xyxy: Shape (N, 4), float64, read-only.
        labels: N of them, or ``None``.
        scores: Shape (N,), float64, read-only, or ``None``.
        ids: N of them, or ``None``.

    Raises:
        LogValueError: A shape is another one, or N is more than ``MAX_BOXES``.
    """

    __slots__ = ("ids", "labels", "scores", "xyxy")

    def __init__(
        self,
        xyxy: object,
        labels: Sequence[str] | Sequence[int] | npt.NDArray[np.generic] | None = None,
        scores: object = None,
        ids: Sequence[str] | Sequence[int] | npt.NDArray[np.generic] | None = None,
    ) -> None:
        corners = as_array(on_host(xyxy))
        if corners.size == 0 and (corners.ndim == 1 or corners.shape[-1] == 4):  # [] and (0, 4), but not (3, 0)
            corners = np.empty((0, 4))
        if corners.ndim != 2 or corners.shape[1] != 4 or len(corners) > MAX_BOXES:
            problem = f"boxes have shape (N, 4) with N <= {MAX_BOXES}, got shape {corners.shape}"
            raise LogValueError(problem, "Pass x1, y1, x2, y2 of each, in pixels.")
        count = len(corners)
        self.xyxy = _frozen(corners)
        self.scores = None if scores is None else _frozen(as_array(on_host(scores)))
        if self.scores is not None and self.scores.shape != (count,):
            found = self.scores.shape
            raise LogValueError(f"scores have shape ({count},) as there are boxes, got shape {found}", "One a box.")
        self.labels = _names(labels, "labels", count)
        self.ids = _names(ids, "ids", count)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __eq__(self, other: object) -> bool:
        """Whether they are the same; NaN equals NaN."""
        return isinstance(other, Boxes) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"Boxes({self.xyxy.tolist()!r:.200}, labels={self.labels!r:.100})"

    def _identity(self) -> tuple[object, ...]:
        return self.xyxy.tobytes(), self.labels, None if self.scores is None else self.scores.tobytes(), self.ids


@final
class Masks:
    """A picture of labels: each pixel belongs to one of them. It becomes a gray PNG file.

    Args:
        array: Shape (H, W) of bools or whole numbers from 0 to 65,535. Several masks that overlap are several columns.
        labels: What the numbers stand for: by number, or in their order from 0 on.

    Attributes:
        file: The PNG file: 8 bits, or 16 where a number is above 255.
        height: In pixels.
        width: In pixels.
        labels: By number; may be empty.

    Raises:
        LogValueError: The array is another one, or a label stands for no such number.
    """

    __slots__ = ("file", "height", "labels", "width")

    def __init__(self, array: object, labels: Mapping[int, str] | Sequence[str] | None = None) -> None:
        pixels = as_array(on_host(array))
        if pixels.ndim != 2 or pixels.size == 0:
            fix = "Give overlapping masks a column each, or pick the label of each pixel with .argmax(0)."
            raise LogValueError(f"masks have shape (H, W) and at least one pixel, got shape {pixels.shape}", fix)
        if pixels.dtype.kind == "f":
            raise LogValueError(f"masks hold whole numbers, got dtype {pixels.dtype}", "Convert it: .astype(int).")
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 0xFFFF:
            raise LogValueError(f"masks hold numbers from 0 to 65535, got {low} to {high}", "Number the labels anew.")
        self.height, self.width = pixels.shape
        self.file = MediaFile.held(_encode_labels(pixels.astype(np.uint8 if high <= 0xFF else np.uint16)), "png")
        self.labels = _label_names(labels)

    @classmethod
    def stored(cls, file: MediaFile, height: int, width: int, labels: Mapping[int, str]) -> "Masks":
        """Returns some whose file lies elsewhere."""
        masks = cls.__new__(cls)
        masks.file, masks.height, masks.width, masks.labels = file, height, width, dict(labels)
        return masks

    def array(self) -> Array:
        """Returns the labels: shape (H, W), uint8 or uint16.

        Raises:
            FileNotFoundError, FormatError, WriteError: The file cannot be read where it lies.
        """
        pixels = decode_image(self.file.read())
        if pixels.shape != (self.height, self.width):
            raise FormatError(f"masks of shape {(self.height, self.width)} were noted, the file has {pixels.shape}")
        return pixels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masks) and (self.file.ref, self.labels) == (other.file.ref, other.labels)

    def __hash__(self) -> int:
        return hash(self.file.ref)

    def __repr__(self) -> str:
        return f"Masks({self.height} x {self.width}, {self.file.ref.sha256[:8]})"


@final
class Image:
    """A picture.

    Args:
        data: Shape (H, W), (H, W, C) or (C, H, W), C being 1, 3 or 4; (C, H, W) where both are possible. Values become
            pixels of 8 bits as ``ml.media.image.to_uint8`` says, in a PNG file. Also a tensor, a PIL image or a
            matplotlib figure. Or the bytes of a PNG, JPEG or WebP file, or its path: such a file is kept as it is.
        boxes: On it.
        masks: On it, of the same height and width.
        caption: A line about it.

    Attributes:
        file: It, encoded.
        height: In pixels.
        width: In pixels.
        boxes: On it, or ``None``.
        masks: On it, or ``None``.
        caption: A line about it; may be empty.

    Raises:
        LogValueError: It is no picture, has more than 2 ** 25 pixels or 256 MiB, or the masks have another size.
        OSError: There is no such file, or it cannot be read.
    """

    __slots__ = ("boxes", "caption", "file", "height", "masks", "width")

    def __init__(
        self, data: object, *, boxes: Boxes | None = None, masks: Masks | None = None, caption: str = ""
    ) -> None:
        if isinstance(data, (str, os.PathLike)):
            data = _file_bytes(Path(data))
        if isinstance(data, (bytes, bytearray, memoryview)):
            encoded = bytes(data)
            refuse_large(len(encoded))
            try:
                found = inspect(encoded)
            except FormatError as error:
                fix = "Pass the bytes of a PNG, JPEG or WebP file, or the picture as an array."
                raise LogValueError(f"an image cannot be taken over: {error.message}", fix) from error
            self.file = MediaFile.held(encoded, found.format)
            self.height, self.width = found.height, found.width
        else:
            pixels = to_uint8(channels_first(as_array(on_host(data))))
            self.file = MediaFile.held(encode_png(pixels), "png")
            self.height, self.width = pixels.shape[1:]
        if masks is not None and (masks.height, masks.width) != (self.height, self.width):
            problem = f"an image of {self.height} x {self.width} has masks of {masks.height} x {masks.width}"
            raise LogValueError(problem, "Resize the masks without smoothing.")
        self.boxes, self.masks, self.caption = boxes, masks, caption

    @classmethod
    def stored(
        cls, file: MediaFile, height: int, width: int, boxes: Boxes | None, masks: Masks | None, caption: str
    ) -> "Image":
        """Returns one whose file lies elsewhere."""
        image = cls.__new__(cls)
        image.file, image.height, image.width = file, height, width
        image.boxes, image.masks, image.caption = boxes, masks, caption
        return image

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width

    def array(self) -> Array:
        """Returns the pixels: shape (H, W), (H, W, 3) or (H, W, 4), uint8; uint16 where a file has 16 bits of gray.

        Raises:
            FileNotFoundError, FormatError, WriteError: The file cannot be read where it lies.
        """
        pixels = decode_image(self.file.read())
        if pixels.shape[:2] != self.size:
            raise FormatError(f"an image of {self.height} x {self.width} was noted, the file has {pixels.shape}")
        return pixels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self.file.ref)

    def __repr__(self) -> str:
        caption = f", {self.caption!r:.60}" if self.caption else ""
        return f"Image({self.height} x {self.width}, {self.file.ref.ext} {self.file.ref.sha256[:8]}{caption})"

    def _identity(self) -> tuple[object, ...]:
        return self.file.ref, self.boxes, self.masks, self.caption


@final
class Audio:
    """A clip of sound. It becomes a WAV file with 16 bits a sample.

    Args:
        data: Shape (T,), (C, T) or (T, C), as ``ml.media.audio.standardize_audio`` takes it. Or the bytes of a WAV
            file, or its path: one of 16 bits is kept as it is.
        sample_rate: In Hz; ``None`` with a file, which has its own.

    Attributes:
        file: It, encoded.
        sample_rate: In Hz.
        shape: (T,) or (C, T).

    Raises:
        LogValueError: It is no sound, or there is no rate.
        OSError: There is no such file, or it cannot be read.
    """

    __slots__ = ("file", "sample_rate", "shape")

    def __init__(self, data: object, sample_rate: int | None = None) -> None:
        if isinstance(data, (str, os.PathLike)):
            data = _file_bytes(Path(data))
        if isinstance(data, (bytes, bytearray, memoryview)):
            try:
                adopted = adopt_sound(bytes(data))
            except FormatError as error:
                fix = "Pass the bytes of a WAV file of PCM, or the samples as an array."
                raise LogValueError(f"sound cannot be taken over: {error.message}", fix) from error
            own_rate = round(adopted.rate)
            if sample_rate not in (None, own_rate):
                problem = f"the file has {own_rate} samples a second, sample_rate says {sample_rate}"
                raise LogValueError(problem, "Leave it out.")
            self.file, self.shape, self.sample_rate = MediaFile.held(adopted.data, "wav"), adopted.shape, own_rate
            return
        if sample_rate is None:
            raise LogValueError("an array of samples has no rate", "Pass sample_rate=, in Hz.")
        samples = standardize_audio(on_host(data))
        self.file = MediaFile.held(encode_wav(samples, int(sample_rate)), "wav")
        self.shape, self.sample_rate = tuple(samples.shape), int(sample_rate)

    @classmethod
    def stored(cls, file: MediaFile, sample_rate: int, shape: tuple[int, ...]) -> "Audio":
        """Returns one whose file lies elsewhere."""
        audio = cls.__new__(cls)
        audio.file, audio.sample_rate, audio.shape = file, sample_rate, shape
        return audio

    def array(self) -> Samples:
        """Returns the samples: shape (T,) or (C, T), in [-1, 1].

        Raises:
            FileNotFoundError, FormatError, WriteError: The file cannot be read where it lies.
        """
        return decode_wav(self.file.read(), self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audio) and self.file.ref == other.file.ref

    def __hash__(self) -> int:
        return hash(self.file.ref)

    def __repr__(self) -> str:
        return f"Audio({self.shape}, {self.sample_rate} Hz, {self.file.ref.sha256[:8]})"


def on_host(value: object) -> object:
    """Returns a tensor as an array that lies in this machine's memory, everything else as it is.

    Raises:
        LogValueError: It holds no real numbers.
    """
    return as_dense(value).cpu().numpy() if is_tensor(value) else value  # type: ignore[arg-type]


def _frozen(array: Array) -> npt.NDArray[np.float64]:
    copy = array.astype(np.float64, order="C")  # a copy in any case
    copy.flags.writeable = False
    return copy


def _names(
    names: Sequence[str] | Sequence[int] | npt.NDArray[np.generic] | None, what: str, count: int
) -> tuple[str, ...] | tuple[int, ...] | None:
    if names is None:
        return None
    host = on_host(names)
    items: list[object] = host.tolist() if isinstance(host, np.ndarray) else list(names)
    if len(items) != count:
        raise LogValueError(f"there are {len(items)} {what} for {count} boxes", "Pass one a box.")
    if all(isinstance(item, str) for item in items):
        return tuple(str(item) for item in items)
    try:
        return tuple(_whole(item) for item in items)
    except (TypeError, ValueError) as error:
        problem = f"{what} are texts or whole numbers, all of them alike, got {items!r:.100}"
        raise LogValueError(problem, "Convert them with str().") from error


def _whole(item: object) -> int:
    number = on_host(item)
    if isinstance(number, (bool, str, float)) or not hasattr(number, "__int__"):
        raise TypeError(f"{item!r} is no whole number")
    whole = int(number)
    if whole != number or not -(2**63) <= whole < 2**63:
        raise ValueError(f"{item!r} is no whole number of 64 bits")
    return whole


def _label_names(labels: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    if labels is None:
        return {}
    named = labels.items() if isinstance(labels, Mapping) else enumerate(labels)
    made = {int(number): str(name) for number, name in named}
    if len(made) > MAX_MASK_LABELS or any(not 0 <= number <= 0xFFFF for number in made):
        raise LogValueError("labels of masks stand for numbers from 0 to 65535", "Leave out the others.")
    return dict(sorted(made.items()))


def _encode_labels(pixels: Array) -> bytes:
    from PIL import Image as PilImage

    file = io.BytesIO()
    PilImage.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _file_bytes(path: Path) -> bytes:
    with open_regular(path) as file:
        data = file.read(MAX_BLOB_BYTES + 1)
    refuse_large(len(data))
    return data
