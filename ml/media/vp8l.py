"""Reads the beginning of a lossless WebP picture, as far as it says how many Huffman codes follow.

A decoder makes tables for up to 65,536 groups of codes, which a file of 300 kB can ask for and which take 300 MiB.
How many there may be is known from the size of the picture that says where each group is used, and that comes behind
the transforms, which are small pictures with codes of their own. They are stepped over here, not decoded.
"""

from typing import Final

from ml.core.errors import FormatError

MAX_GROUP_BLOCKS: Final = 2600
"""Blocks of pixels that choose a group of codes each: as many as the usual encoder makes."""

_PREDICTOR, _COLORS, _SUBTRACT_GREEN, _PALETTE = range(4)
_LENGTHS, _DISTANCES = 24, 40  # prefixes of lengths, which follow the 256 values of green, and of distances
_LENGTH_ORDER: Final = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_MAX_CODE_BITS: Final = 15


def check_groups(data: bytes, start: int, width: int, height: int, *, max_transform_pixels: int) -> None:
    """Finds out how many groups of codes a picture may have.

    Args:
        data: A WebP file, or a part of one.
        start: Where the bits behind the header of the lossless picture begin.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        max_transform_pixels: The most pixels of the pictures of all transforms together. Each takes 3 to 10 us.

    Raises:
        FormatError: There may be more than ``MAX_GROUP_BLOCKS``, the transforms take more pixels than they may, or the
            bits mean nothing.
    """
    bits = _Bits(data, start)
    seen: set[int] = set()
    pixels_left = max_transform_pixels
    while bits.read(1):
        kind = bits.read(2)
        if kind in seen:
            raise FormatError("a WebP picture has each transform once", offset=bits.position)
        seen.add(kind)
        if kind == _SUBTRACT_GREEN:
            continue
        if kind == _PALETTE:
            colors = bits.read(8) + 1
            pixels = colors
            width = _blocks(width, 0 if colors > 16 else 1 if colors > 4 else 2 if colors > 2 else 3)
        else:
            side_bits = bits.read(3) + 2
            pixels = _blocks(width, side_bits) * _blocks(height, side_bits)
        pixels_left -= pixels
        if pixels_left < 0:
            raise FormatError(f"a transform of WebP with {pixels} pixels is not read", offset=bits.position)
        _skip_picture(bits, pixels)
    _cache_bits(bits)
    if bits.read(1):
        side_bits = bits.read(3) + 2
        blocks = _blocks(width, side_bits) * _blocks(height, side_bits)
        if blocks > MAX_GROUP_BLOCKS:
            raise FormatError(f"a WebP picture with {blocks} blocks of codes is not read", offset=bits.position)


class _Bits:
    """Reads bits, the lowest of a byte first."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self.position = data, position
        self._held, self._count = 0, 0

    def read(self, count: int) -> int:
        """Returns the next bits, up to 16, as a number."""
        if self._count < count:
            part = self._data[self.position : self.position + 8]
            if 8 * len(part) + self._count < count:
                raise FormatError("a WebP picture ends within its header", offset=len(self._data))
            self._held |= int.from_bytes(part, "little") << self._count
            self._count += 8 * len(part)
            self.position += len(part)
        number = self._held & (1 << count) - 1
        self._held >>= count
        self._count -= count
        return number


class _Code:
    """A canonical Huffman code.

    Args:
        lengths: Bits of every symbol's code, 0 of those that have none.
        position: Of the code in the file, for errors.
    """

    def __init__(self, lengths: list[int], position: int) -> None:
        self._symbols = sorted((symbol for symbol, length in enumerate(lengths) if length), key=lambda s: lengths[s])
        self._counts = [0] * (_MAX_CODE_BITS + 1)
        for length in lengths:
            self._counts[length] += bool(length)
        left = 1
        for count in self._counts[1:]:
            left = 2 * left - count
        if not self._symbols or (len(self._symbols) > 1 and left != 0):
            raise FormatError("a code of a WebP picture is not complete", offset=position)

    def read(self, bits: _Bits) -> int:
        """Returns the next symbol. The only one of a code takes no bits."""
        if len(self._symbols) == 1:
            return self._symbols[0]
        code = first = index = 0
        for count in self._counts[1:]:
            code |= bits.read(1)
            if code - first < count:
                return self._symbols[index + code - first]
            index, first, code = index + count, first + count << 1, code << 1
        raise FormatError("a code of a WebP picture is not complete", offset=bits.position)


def _skip_picture(bits: _Bits, pixels: int) -> None:
    """Steps over a picture that has one group of codes."""
    cached = _cache_bits(bits)
    green, *others = (_read_code(bits, size) for size in (256 + _LENGTHS + (1 << cached if cached else 0), *[256] * 3))
    distance = _read_code(bits, _DISTANCES)
    while pixels > 0:
        symbol = green.read(bits)
        if symbol < 256:
            for code in others:
                code.read(bits)
        if not 256 <= symbol < 256 + _LENGTHS:
            pixels -= 1
            continue
        pixels -= _prefixed(bits, symbol - 256)
        _prefixed(bits, distance.read(bits))


def _read_code(bits: _Bits, size: int) -> _Code:
    """Reads a code for so many symbols."""
    lengths = [0] * size
    if bits.read(1):
        has_two = bits.read(1)
        symbols = [bits.read(8 if bits.read(1) else 1), *([bits.read(8)] if has_two else [])]
        if max(symbols) >= size:
            raise FormatError("a code of a WebP picture has too many symbols", offset=bits.position)
        for symbol in symbols:
            lengths[symbol] = 1
        return _Code(lengths, bits.position)
    of_lengths = [0] * len(_LENGTH_ORDER)
    for index in _LENGTH_ORDER[: bits.read(4) + 4]:
        of_lengths[index] = bits.read(3)
    code = _Code(of_lengths, bits.position)
    left = 2 + bits.read(2 + 2 * bits.read(3)) if bits.read(1) else size
    symbol, previous = 0, 8
    while symbol < size and left > 0:
        left -= 1
        length, repeat = code.read(bits), 1
        if length < 16:
            previous = length or previous
        elif length == 16:
            length, repeat = previous, 3 + bits.read(2)
        else:
            length, repeat = 0, 3 + bits.read(3) if length == 17 else 11 + bits.read(7)
        if symbol + repeat > size:
            raise FormatError("a code of a WebP picture has too many symbols", offset=bits.position)
        lengths[symbol : symbol + repeat] = [length] * repeat
        symbol += repeat
    return _Code(lengths, bits.position)


def _cache_bits(bits: _Bits) -> int:
    """Reads how many colours are remembered, as a power of two; 0: none."""
    return bits.read(4) if bits.read(1) else 0


def _prefixed(bits: _Bits, prefix: int) -> int:
    """Returns a length or distance, of which the prefix gives the upper bits."""
    if prefix < 4:
        return prefix + 1
    extra = prefix - 2 >> 1
    return ((2 + (prefix & 1)) << extra) + bits.read(extra) + 1


def _blocks(side: int, side_bits: int) -> int:
    return -(-side >> side_bits)
