"""Lossless WebP files, made bit by bit, as no encoder would make them."""

import io

from PIL import Image


def packed(*parts: tuple[int, int]) -> bytes:
    """Returns numbers with so many bits, and zeros behind them; an even number of bytes."""
    number = count = 0
    body = bytearray()
    for value, size in [*parts, (0, 64)]:
        number, count = number | value << count, count + size
        while count >= 8:
            body.append(number & 0xFF)
            number, count = number >> 8, count - 8
    return bytes([*body, number]) + bytes(len(body) % 2 == 0)


def riff(**chunks: bytes) -> bytes:
    body = b"".join(
        name.ljust(4).encode() + len(chunk).to_bytes(4, "little") + chunk + bytes(len(chunk) % 2)
        for name, chunk in chunks.items()
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def file_of(*parts: tuple[int, int], side: int = 1024) -> bytes:
    """Returns a WebP file of a square picture, of numbers with so many bits behind its header."""
    return riff(VP8L=packed((0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4), *parts))


def alpha_file_of(*parts: tuple[int, int], side: int = 1024) -> bytes:
    """Returns a lossy WebP file of a square picture, whose alpha is lossless and made of such numbers."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "WEBP")
    has_alpha, sides = (0x10).to_bytes(4, "little"), 2 * (side - 1).to_bytes(3, "little")
    return riff(VP8X=has_alpha + sides, ALPH=b"\1" + packed(*parts), VP8=file.getvalue()[20:])


NOTHING = (0, 1)
ONE_SYMBOL = (0b0001, 4)  # simple, one symbol, of one bit: 0
EVERY_BYTE = [(0, 1), (8, 4), *[(0, 3)] * 11, (1, 3), (1, 1), (3, 3), (254, 8)]  # 256 symbols of 8 bits
IN_BLOCKS = [NOTHING, NOTHING, (1, 1), (0, 3)]  # of 4 x 4 pixels; no transforms, no colours are remembered
TWO_BYTES = [NOTHING, *EVERY_BYTE, *EVERY_BYTE, *[ONE_SYMBOL] * 3]  # the codes of a picture of groups
FILES = {"picture": file_of, "alpha": alpha_file_of}


def groups(blocks: int, count: int) -> list[tuple[int, int]]:
    """Returns a picture in blocks whose last one names the last of ``count`` groups of codes."""
    numbers = [(number * (count - 1) // max(1, blocks - 1), 16) for number in range(blocks)]
    return [*IN_BLOCKS, *TWO_BYTES, *numbers, *[ONE_SYMBOL] * 5 * count]
