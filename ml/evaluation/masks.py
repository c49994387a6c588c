"""A picture of labels, as a value of a table."""

import io
from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from ml.core.errors import FormatError, LogValueError
from ml.evaluation.blobs import MediaFile
from ml.evaluation.hosting import on_host
from ml.media.arrays import Array, as_array
from ml.media.image_files import decode_image

MAX_MASK_LABELS: Final = 65_536


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
