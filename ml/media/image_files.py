"""Looks into image files that other programs wrote: of what kind and size they are, before anything is decoded.

What a file says of its size is read from its header and bounded. Decoding sees the picture alone: what could make it
dear (texts, profiles, previews, animations, hundreds of scans, thousands of codes) is left out or refused before.
"""

import io
import struct
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from ml.core.errors import FormatError
from ml.media.arrays import Array, as_array
from ml.media.vp8l import check_groups

ImageFormat: TypeAlias = Literal["png", "jpeg", "webp"]

MAX_PIXELS: Final = 2**25
"""Height times width of a picture that is taken over or decoded: 8192 x 4096 fits."""
MAX_SCANS: Final = 100
"""Of a JPEG file: each is a pass over the whole picture; a progressive one usually has 10."""

_MAX_SEGMENTS: Final = 10_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG: Final = b"\xff\xd8\xff"
_JPEG_FRAMES: Final = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_JPEG_NEEDED: Final = {0xC4, 0xDB, 0xDD, 0xE0, 0xEE, *_JPEG_FRAMES}  # tables, restarts, JFIF, Adobe
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_WEBP_NEEDED: Final = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_ALPHA = 0x10


class ImageFile(NamedTuple):
    """What a file says of its picture.

    Attributes:
        format: Of which kind it is.
        height: Pixels.
        width: Pixels.
        plain: The file with nothing but the picture.
    """

    format: ImageFormat
    height: int
    width: int
    plain: bytes


def inspect(data: bytes) -> ImageFile:
    """Returns what a file says of its picture; nothing is decoded.

    Args:
        data: A PNG, JPEG or WebP file.

    Raises:
        FormatError: It is none, is animated or of a rare kind, has more than ``MAX_PIXELS`` or ``MAX_SCANS``, or would
            make its decoder take far more memory than its pixels do.
    """
    if data.startswith(_PNG):
        found = _png(data)
    elif data.startswith(_JPEG):
        found = _jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = _webp(data)
    else:
        raise FormatError("this is no PNG, JPEG or WebP file")
    if not 0 < found.height * found.width <= MAX_PIXELS:
        raise FormatError(f"a picture of {found.height} x {found.width} pixels is not read: {MAX_PIXELS} are the most")
    if found.format == "webp":
        _check_codes(found)
    return found


def decode_image(data: bytes) -> Array:
    """Returns the picture of a file.

    Returns:
        Shape (H, W), (H, W, 3) or (H, W, 4), uint8; uint16 where gray has 16 bits. A palette becomes RGB, or RGBA.

    Raises:
        FormatError: ``inspect`` refuses it, or it is damaged.
    """
    from PIL import Image

    found = inspect(data)
    try:
        with Image.open(io.BytesIO(found.plain), formats=[found.format.upper()]) as image:
            if image.size != (found.width, found.height):
                raise ValueError(f"it holds {image.size[0]} x {image.size[1]} pixels")
            image.load()
            pixels = as_array(image)
    except Exception as error:  # Pillow raises many types
        raise FormatError(f"this is no {found.format} file that can be read: {error}") from error
    if pixels.dtype == np.bool_:
        return np.multiply(pixels, np.uint8(255), dtype=np.uint8)
    return np.array(pixels)


def _png(data: bytes) -> ImageFile:
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        raise FormatError("a PNG file begins with its header", offset=8)
    width, height = struct.unpack_from(">II", data, 16)
    kept, position, kind = [_PNG], len(_PNG), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise FormatError("a PNG file ends before its end", offset=len(data))
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind in _PNG_NEEDED:
            kept.append(data[position : position + 12 + size])
        position += 12 + size
    return ImageFile("png", height, width, data if sum(map(len, kept)) == len(data) else b"".join(kept))


def _jpeg(data: bytes) -> ImageFile:
    position, kept, size_px = 2, [data[:2]], (0, 0)
    for _ in range(_MAX_SEGMENTS):
        if position + 4 > len(data):
            raise FormatError("a JPEG file ends within its header", offset=len(data))
        prefix, marker, size = struct.unpack_from(">BBH", data, position)
        if prefix == marker == 0xFF:  # a byte of padding
            position += 1
            continue
        if prefix != 0xFF or size < 2:
            raise FormatError("a segment of a JPEG file was expected here", offset=position)
        if marker == _JPEG_SCAN:
            break
        if marker in _JPEG_FRAMES:
            if any(size_px) or position + 9 > len(data):
                raise FormatError("a JPEG file has one picture", offset=position)
            size_px = struct.unpack_from(">HH", data, position + 5)
        elif marker & 0xF0 == 0xC0 and marker not in _JPEG_NEEDED:
            raise FormatError(f"a JPEG file of kind {marker:#x} is not read", offset=position)
        if marker in _JPEG_NEEDED:
            kept.append(data[position : position + 2 + size])
        position += 2 + size
    else:
        raise FormatError(f"a JPEG file of more than {_MAX_SEGMENTS} segments is not read", offset=position)
    end = data.find(_JPEG_END, position)
    if end < 0:
        raise FormatError("a JPEG file ends before its end", offset=len(data))
    if data.count(b"\xff\xda", position, end) > MAX_SCANS:
        raise FormatError(f"a JPEG file of more than {MAX_SCANS} scans is not read", offset=position)
    return ImageFile("jpeg", *size_px, b"".join([*kept, data[position : end + 2]]))


def _webp(data: bytes) -> ImageFile:
    chunks: dict[bytes, bytes] = {}
    position, end = 12, 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise FormatError(f"a WebP file of {len(data)} bytes says that it has {end}", offset=4)
    while position + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > end:
            raise FormatError("a WebP file ends within a part", offset=position)
        if kind in (b"ANIM", b"ANMF"):
            raise FormatError("an animated WebP file is not read", offset=position)
        if kind in _WEBP_NEEDED:
            if kind in chunks:
                raise FormatError(f"a WebP file has two parts {kind!r}", offset=position)
            chunks[kind] = data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2
    lossy, lossless = chunks.get(b"VP8 ", b""), chunks.get(b"VP8L", b"")
    if lossy[3:6] == b"\x9d\x01\x2a" and len(lossy) >= 10 and not lossless:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", lossy, 6))
    elif lossless[:1] == b"\x2f" and len(lossless) >= 5 and not lossy:
        bits = int.from_bytes(lossless[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise FormatError("a WebP file has one picture", offset=12)
    if b"ALPH" in chunks and lossy:
        header = bytes([_WEBP_ALPHA, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        parts = [(b"VP8X", header), (b"ALPH", chunks[b"ALPH"]), (b"VP8 ", lossy)]
    else:
        parts = [(b"VP8 ", lossy) if lossy else (b"VP8L", lossless)]
    body = b"".join(kind + len(part).to_bytes(4, "little") + part + b"\0" * (len(part) % 2) for kind, part in parts)
    return ImageFile("webp", height, width, b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body)


def _check_codes(found: ImageFile) -> None:
    """Refuses a WebP file whose lossless picture, or lossless alpha, has a decoder make tables for too many codes."""
    plain = found.plain
    if plain[12:16] == b"VP8L":
        start = 25
    elif plain[30:34] == b"ALPH" and plain[38:39] and plain[38] & 3 == 1:  # compressed as a lossless picture is
        start = 39
    else:
        return
    # Encoders cut the pictures of up to two transforms to 2**14 pixels each, or to blocks of 16 x 16.
    most = 2**15 + 2**8 + found.height * found.width // 128
    check_groups(plain, start, found.width, found.height, max_transform_pixels=most)
