"""A picture in the bytes of a record: what was noted of it, and where its file lies."""

import hashlib
from typing import Final, cast

from ml.core.errors import FormatError
from ml.predictions.census import Span
from ml.predictions.codecs import Layout, decode_image
from ml.predictions.headers import read_header
from ml.predictions.images import Codec, Picture
from ml.predictions.messages import ImageMessage

_BITS: Final = {"": 8, "uint8": 8, "uint16": 16}


class StoredImage:
    """A picture of a record. Nothing is copied or decoded until it is asked for, and then every time.

    Args:
        message: What was noted.
        data: The bytes of the record.
        span: Where the file lies in them; ``None``: there is none.
    """

    def __init__(self, message: ImageMessage, data: bytes, span: Span | None) -> None:
        self.message = message
        self._data, self._span = data, span

    @property
    def file(self) -> bytes:
        """The encoded picture; empty where there is none."""
        return self._data[self._span.start : self._span.end] if self._span is not None else b""

    @property
    def codec(self) -> str:
        """What the file is. The ancestor wrote JPEG alone, and did not say so."""
        return self.message.codec or "jpeg"

    def layout(self) -> Layout:
        """Returns how the picture lies in its file, also of one that was omitted.

        The ancestor noted 4 channels of pictures that became 3.

        Raises:
            FormatError: There is no such picture.
        """
        message = self.message
        bits = _BITS.get(message.dtype)
        if bits is None:
            raise self.located(FormatError(f"pixels of type {message.dtype[:20]!r} are not known"))
        channels = message.channels if message.HasField("channels") else None
        try:
            if not message.codec:
                if channels is None and self._span is not None:
                    channels = read_header(self.file, "jpeg").channels
                channels = 3 if channels == 4 else channels
            codec = cast(Codec, self.codec)
            layout = Layout(codec, message.height, message.width, channels, bits, message.is_stacked)
            layout.check()
        except FormatError as error:
            raise self.located(error) from error
        return layout

    def decoded(self, *, max_pixels: int) -> Picture | None:
        """Returns the picture, shape (H, W) or (H, W, C), RGB or RGBA; ``None`` where there is none.

        Args:
            max_pixels: The largest height times width.

        Raises:
            FormatError: It is damaged, or larger.
        """
        file = self.file
        if not file:
            return None
        layout = self.layout()
        try:
            return decode_image(file, layout, max_pixels=max_pixels)
        except FormatError as error:
            raise self.located(error) from error

    def verify(self, *, may_lack_hash: bool) -> None:
        """Compares the file with the hash that was taken of it.

        Args:
            may_lack_hash: Whether the record is one of the ancestor, which took none.

        Raises:
            FormatError: It is not the same.
        """
        file, noted = self.file, self.message.sha256
        if file and (noted or not may_lack_hash) and hashlib.sha256(file).digest() != noted:
            raise self.located(FormatError("an image is not the one that was hashed"))

    def located(self, error: FormatError) -> FormatError:
        """Returns an error with its place in the record, of one with its place in the file."""
        return FormatError(error.message, offset=error.offset + (self._span.start if self._span else 0))

    def as_dict(self) -> dict[str, object] | None:
        """Returns what was noted; ``None`` where there never was a picture."""
        message, span = self.message, self._span
        if span is None and not message.omitted:
            return None
        return {
            "height": message.height,
            "width": message.width,
            "channels": message.channels if message.HasField("channels") else None,
            "codec": self.codec,
            "dtype": message.dtype or "uint8",
            "size_bytes": span.end - span.start if span is not None else 0,
            "sha256": message.sha256.hex(),
            "omitted": message.omitted,
        }
