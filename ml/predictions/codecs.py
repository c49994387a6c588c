"""Turns pictures into JPEG, PNG and WebP files, and such files back into pictures."""

import io
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

import numpy as np

from ml.core.errors import FormatError, LogValueError, missing
from ml.media.arrays import Array
from ml.media.image import CHANNELS
from ml.predictions.headers import Header, read_header
from ml.predictions.images import Codec, Picture, check_encodable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

DEFAULT_QUALITY: Final = 95
MAX_PIXELS: Final = 2**23
"""Height times width of a picture that is read unless the caller says otherwise: 3840 x 2160 fits.

With it, and the largest record, a process stays under 256 MiB. Half of it is the limit of WebP, and of colours with 16
bits, which take twice the memory.
"""

_SPARE_FILE_BYTES: Final = 1 << 16
_BLOCK_PX: Final = 16  # of a JPEG file, which has whole ones
_BAND_PIXELS: Final = 1 << 18


class Layout(NamedTuple):
    """How a picture lies in a file.

    Attributes:
        codec: What kind of file it is.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        channels: 1, 3 or 4; ``None``: the picture has shape (H, W).
        bits: Of a channel, 8 or 16.
        is_stacked: The file is gray, and the channels of the picture lie below each other in it.
    """

    codec: Codec
    height: int
    width: int
    channels: int | None
    bits: int = 8
    is_stacked: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The picture's: (H, W) or (H, W, C)."""
        return (self.height, self.width) if self.channels is None else (self.height, self.width, self.channels)

    def check(self) -> None:
        """Finds out whether there is such a picture.

        Raises:
            FormatError: There is none.
        """
        is_deep = self.bits == 16 and self.codec == "png"
        if (
            self.codec not in get_args(Codec)
            or min(self.height, self.width) < 1
            or self.channels not in (None, *CHANNELS)
            or not (self.bits == 8 or is_deep)
            or self.is_stacked != (is_deep and self.channels in (3, 4))
        ):
            raise FormatError(f"there is no picture like {self}")


class EncodedImage(NamedTuple):
    """A picture as a file, and how it lies in it."""

    file: bytes
    layout: Layout


def encode_image(image: Picture, codec: Codec, quality: int = DEFAULT_QUALITY) -> EncodedImage:
    """Returns a picture as a file.

    PNG and WebP give the same pixels back. JPEG has no alpha and 8 bits: the first is dropped, the upper 8 of 16
    bits are kept.

    Args:
        image: Shape (H, W) or (H, W, C), C being 1, 3 or 4.
        codec: WebP takes uint8 alone.
        quality: Of JPEG, 1 to 100. Colours have half the resolution, which is the usual default.

    Raises:
        LogValueError: The codec cannot hold the image.
    """
    check_encodable(image, codec)
    if codec == "jpeg":
        return _encoded_jpeg(image, quality)
    height, width, channels = (*image.shape, None)[:3]
    bits = 8 * image.dtype.itemsize
    layout = Layout(codec, height, width, channels, bits, is_stacked=bits == 16 and channels in (3, 4))
    file = io.BytesIO()
    try:
        picture = _to_pil(image, layout)
        if codec == "png":
            # Photographs become smaller than at level 6, and take the time of level 1.
            picture.save(file, "PNG", compress_type=zlib.Z_RLE)
        else:
            # The fastest; exact: transparent pixels keep their colours.
            picture.save(file, "WEBP", lossless=True, quality=0, method=0, exact=True)
    except (OSError, ValueError, MemoryError) as error:
        problem = f"an image of shape {image.shape} cannot become a {codec} file ({error})"
        raise LogValueError(problem, "Log a smaller image, or choose another codec.") from error
    return EncodedImage(file.getvalue(), layout)


def _encoded_jpeg(image: Picture, quality: int) -> EncodedImage:
    """Returns a picture as a JPEG file. Pillow would keep the interpreter's lock, and take half as long again."""
    try:
        from simplejpeg import encode_jpeg
    except ImportError as error:
        raise missing("JPEG", "simplejpeg", "predictions", error) from error
    image = image[..., :3] if image.ndim == 3 else image
    image = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    height, width, channels = (*image.shape, None)[:3]
    colours, subsampling = ("RGB", "420") if channels == 3 else ("GRAY", "Gray")
    pixels = np.ascontiguousarray(image).reshape(height, width, -1)
    try:
        file = encode_jpeg(pixels, quality, colours, subsampling, fastdct=False)
    except (ValueError, MemoryError, RuntimeError) as error:
        problem = f"an image of shape {image.shape} cannot become a jpeg file ({error})"
        raise LogValueError(problem, "Log a smaller image, or choose another codec.") from error
    return EncodedImage(file, Layout("jpeg", height, width, channels))


def decode_image(file: bytes, layout: Layout, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Returns the picture that a file holds.

    What the file says of its size is compared with the layout before anything of that size is allocated.

    Args:
        file: As ``encode_image`` made it, or the ancestor of this package.
        layout: As it was noted then.
        max_pixels: The largest height times width; half of it with WebP, and with colours of 16 bits.

    Returns:
        Shape (H, W) or (H, W, C), RGB or RGBA, in C order.

    Raises:
        FormatError: The file is damaged, or of another kind or size, or there are more than ``max_pixels``.
    """
    layout.check()
    _check_size(len(file), layout, max_pixels)
    header = read_header(file, layout.codec)
    _check_header(header, layout)
    try:
        return _decoded(header, layout)
    except Exception as error:  # Pillow raises many types
        problem = f"this is no {layout.codec} file of shape {layout.shape} ({type(error).__name__}: {error})"
        raise FormatError(problem) from error


def _check_size(file_bytes: int, layout: Layout, max_pixels: int) -> None:
    height, width = layout.height, layout.width
    limit = max_pixels // 2 if layout.codec == "webp" or layout.is_stacked else max_pixels
    if height * width > limit:
        raise FormatError(
            f"a {layout.codec} picture of {height} x {width} has more than {limit} pixels; "
            "if you trust it, read it with a larger max_pixels"
        )
    raw_bytes = (height + _BLOCK_PX) * (width + _BLOCK_PX) * (layout.channels or 1) * layout.bits // 8
    if file_bytes > 2 * raw_bytes + _SPARE_FILE_BYTES:
        raise FormatError(f"a file of {file_bytes} bytes is too large for a picture of shape {layout.shape}")


def _check_header(header: Header, layout: Layout) -> None:
    channels = 1 if layout.is_stacked else layout.channels or 1
    rows = layout.height * (layout.channels or 1) if layout.is_stacked else layout.height
    held: tuple[int, ...] = (channels,)
    if layout.codec == "webp":  # gray is held as RGB, and alpha that is 255 everywhere may be left out
        held = (3, 4) if channels == 4 else (3,)
    if (header.height, header.width, header.bits) != (rows, layout.width, layout.bits) or header.channels not in held:
        raise FormatError(f"a picture of shape {layout.shape} was noted, but the file has {header[:4]}")


def _decoded(header: Header, layout: Layout) -> Picture:
    with _opened(header.file, layout.codec) as image:
        if image.size != (header.width, header.height):
            raise ValueError(f"it holds {image.size[0]} x {image.size[1]} pixels")
        image.load()
        return _unpacked(image, layout)


def _opened(file: bytes, codec: Codec) -> "ImageFile":
    """Opens a file with the one plugin that reads it: ``Image.open`` would try others, and has a limit of its own."""
    if codec == "jpeg":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(io.BytesIO(file))
    if codec == "png":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(io.BytesIO(file))
    from PIL.WebPImagePlugin import WebPImageFile

    return WebPImageFile(io.BytesIO(file))


def _unpacked(image: "Image", layout: Layout) -> Picture:
    """Returns the pixels of an image, taken over in bands: Pillow would hold all of them three times at once."""
    pixels: Picture = np.empty(layout.shape, f"uint{layout.bits}")
    rows = max(1, _BAND_PIXELS // layout.width)
    planes = np.moveaxis(pixels, 2, 0) if layout.is_stacked else pixels[np.newaxis]
    for number, plane in enumerate(planes):
        for top in range(0, layout.height, rows):
            target = plane[top : top + rows]
            above = number * layout.height + top
            band = image.crop((0, above, layout.width, above + len(target)))
            if layout.channels == 4 and band.mode == "RGB":
                band = band.convert("RGBA")
            values: Array = np.asarray(band)
            if values.size > target.size:  # gray, which WebP holds as RGB
                values = values[..., 0]
            target[...] = values.reshape(target.shape)
    return pixels


def _to_pil(image: Picture, layout: Layout) -> "Image":
    from PIL import Image

    if layout.is_stacked:
        return Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 2, 0)).reshape(-1, layout.width))
    return Image.fromarray(image[..., 0] if layout.channels == 1 else image)
