"""The values of a table that are more than numbers and text: pictures with boxes and masks, and sound.

Each is taken over when it is made, so that what it was made of may change, and then stays as it is. Pictures and sound
are files from then on; two are equal when their files are, and what was said about them.
"""

import os
from pathlib import Path
from typing import final

from ml.core.errors import FormatError, LogValueError
from ml.evaluation.blobs import MAX_BLOB_BYTES, MediaFile, refuse_large
from ml.evaluation.boxes import Boxes
from ml.evaluation.hosting import on_host
from ml.evaluation.masks import Masks
from ml.evaluation.references import Reference, RowIndex, TableRef
from ml.io.regular import open_regular
from ml.media.adopt import adopt_sound
from ml.media.arrays import Array, as_array
from ml.media.audio import Samples, encode_wav, standardize_audio
from ml.media.decode import decode_wav
from ml.media.image import channels_first, encode_png, to_uint8
from ml.media.image_files import decode_image, inspect

__all__ = ["Audio", "Boxes", "Image", "Masks", "Reference", "RowIndex", "TableRef", "on_host"]


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


def _file_bytes(path: Path) -> bytes:
    with open_regular(path) as file:
        data = file.read(MAX_BLOB_BYTES + 1)
    refuse_large(len(data))
    return data
