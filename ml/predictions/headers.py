"""Reads the headers of image files before any library does: their size, and whether they are of the plain kind.

Only what this package and its ancestor write is let through. A library that opened the rest would allocate what the
file claims, unpack its texts, follow its metadata, or decode a thousand scans of the same picture.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ml.core.errors import FormatError
from ml.media.vp8l import check_groups
from ml.predictions.images import Codec

MAX_SCANS: Final = 10
"""Of a JPEG file: what a progressive one usually has."""

_MAX_SEGMENTS: Final = 100
_MAX_TRANSFORM_PIXELS: Final = 20_000  # of a WebP file; what this package writes has 16,384 at most
_MAX_CHUNKS: Final = 2048  # of 64 KiB each, as they are written

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_MODES: Final = {(8, 0): 1, (16, 0): 1, (8, 2): 3, (8, 6): 4}
_FRAMES: Final = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; the rest is arithmetic, lossless, hierarchical
_NEEDED: Final = {0xC4, 0xDB, 0xDD, 0xE0, 0xEE, *_FRAMES}  # Huffman and quantization tables, restarts, JFIF, Adobe
_SCAN, _START, _END = 0xDA, b"\xff\xd8", b"\xff\xd9"


class Header(NamedTuple):
    """What a file says of its picture.

    Attributes:
        height: Pixels.
        width: Pixels.
        channels: 1, 3 or 4.
        bits: Of a channel, 8 or 16.
        file: The file, without segments that decoding does not need.
    """

    height: int
    width: int
    channels: int
    bits: int
    file: bytes


def read_header(data: bytes, codec: Codec) -> Header:
    """Returns what a file says of its picture.

    Raises:
        FormatError: It is no such file, is animated, interlaced or has anything else that this package does not write,
            more than ``MAX_SCANS`` scans, or something behind its end.
    """
    return _READERS[codec](data)


def _png(data: bytes) -> Header:
    if not data.startswith(_PNG_SIGNATURE) or data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        raise FormatError("this is no PNG file")
    width, height, bits, color, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if (bits, color) not in _PNG_MODES or any(methods):
        raise FormatError(f"a PNG file of {bits} bits, color type {color}, methods {methods} is not read", offset=24)
    position, chunks = 33, 1
    while data[position + 4 : position + 8] == b"IDAT":
        size = int.from_bytes(data[position : position + 4], "big")
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise FormatError("a PNG file in so many chunks is not read", offset=position)
        position += 12 + size
    if data[position : position + 8] != b"\0\0\0\0IEND" or len(data) != position + 12:
        raise FormatError(
            "a PNG file has a header, pixels and an end, and nothing else", offset=min(position, len(data))
        )
    return Header(height, width, _PNG_MODES[bits, color], bits, data)


def _webp(data: bytes) -> Header:
    if len(data) < 25 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise FormatError("this is no WebP file")
    riff_bytes, chunk_bytes = (int.from_bytes(data[start : start + 4], "little") for start in (4, 16))
    if data[12:16] != b"VP8L" or data[20] != 0x2F:
        raise FormatError("only a WebP file of one lossless picture is read", offset=12)
    if riff_bytes + 8 != len(data) or chunk_bytes + chunk_bytes % 2 + 20 != len(data):
        raise FormatError(f"a WebP file of {len(data)} bytes says that it has {riff_bytes + 8}", offset=4)
    bits = int.from_bytes(data[21:25], "little")
    if bits >> 29:
        raise FormatError(f"version {bits >> 29} of lossless WebP is not known", offset=24)
    height, width = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    check_groups(data, 25, width, height, max_transform_pixels=_MAX_TRANSFORM_PIXELS)
    return Header(height, width, 4 if bits >> 28 & 1 else 3, 8, data)


def _jpeg(data: bytes) -> Header:
    if not data.startswith(_START):
        raise FormatError("this is no JPEG file")
    position, kept, frame = 2, [_START], None
    for _ in range(_MAX_SEGMENTS):
        prefix, marker, size = _segment(data, position)
        if prefix != 0xFF:
            raise FormatError("a segment of a JPEG file was expected here", offset=position)
        if marker == _SCAN:
            break
        if marker in _FRAMES:
            if frame is not None:
                raise FormatError("a JPEG file has one picture", offset=position)
            frame = _frame(data, position, size)
        elif marker & 0xF0 == 0xC0 and marker not in _NEEDED:
            raise FormatError(f"a JPEG file of kind {marker:#x} is not read", offset=position)
        if marker in _NEEDED:
            kept.append(data[position : position + 2 + size])
        position += 2 + size
    else:
        raise FormatError(f"a JPEG file of more than {_MAX_SEGMENTS} segments is not read", offset=position)
    if frame is None:
        raise FormatError("a JPEG file has the size of its picture before the pixels", offset=position)
    if data.find(_END, position) != len(data) - 2:
        raise FormatError("a JPEG file ends with its picture", offset=position)
    if data.count(b"\xff\xda", position) > MAX_SCANS:
        raise FormatError(f"a JPEG file of more than {MAX_SCANS} scans is not read", offset=position)
    file = data if sum(map(len, kept)) == position else b"".join([*kept, data[position:]])
    return Header(*frame, 8, file)


def _segment(data: bytes, position: int) -> tuple[int, int, int]:
    """Returns the prefix, the marker and the size of a segment of a JPEG file; the size counts itself."""
    if position + 4 > len(data):
        raise FormatError("a JPEG file ends within its header", offset=len(data))
    prefix, marker, size = struct.unpack_from(">BBH", data, position)
    if size < 2:
        raise FormatError(f"a segment of a JPEG file has 2 bytes or more, got {size}", offset=position)
    return prefix, marker, size


def _frame(data: bytes, position: int, size: int) -> tuple[int, int, int]:
    """Returns the height, width and channels that a frame of a JPEG file has."""
    if size < 8 or position + 10 > len(data):
        raise FormatError("the frame of a JPEG file is cut", offset=position)
    bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 4)
    if bits != 8 or channels not in (1, 3):
        raise FormatError(f"a JPEG file of {channels} channels of {bits} bits is not read", offset=position)
    return height, width, channels


_READERS: Final[dict[Codec, Callable[[bytes], Header]]] = {"png": _png, "webp": _webp, "jpeg": _jpeg}
