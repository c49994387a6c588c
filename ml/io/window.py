"""Bytes of a file at any place, read in large pieces."""

import os
from typing import BinaryIO

_BLOCK_BYTES = 2**20


class Window:
    """Bytes of a file, up to where it ended when it was last looked at: what is read fits together while it grows.

    It holds one piece: 1 MiB, or as much as was asked for at once.

    Args:
        file: The file, open for reading.

    Attributes:
        end: Where it ended, in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self._block_offset = 0
        self.look_anew()

    def look_anew(self) -> None:
        """Reads up to where the file ends now: what is beyond would not fit to what was read before."""
        self._block = b""
        self.end = os.fstat(self._descriptor).st_size

    def at(self, offset: int, size_bytes: int) -> bytes:
        """Returns bytes of the file from ``offset`` on, fewer at its end."""
        start = self._load(offset, size_bytes)
        return self._block[start : start + size_bytes]

    def find(self, pattern: bytes, offset: int) -> int | None:
        """Returns where ``pattern`` is found first, from ``offset`` on."""
        while True:
            start = self._load(offset, len(pattern))
            place = self._block.find(pattern, start)
            if place >= 0:
                return self._block_offset + place
            if len(self._block) - start < len(pattern):
                return None
            offset = self._block_offset + len(self._block) - len(pattern) + 1

    def end_of_data(self, start: int) -> int:
        """Returns where the zeros begin that the file ends in, not before ``start``."""
        end = self.end
        while start < end:
            block_start = max(start, end - _BLOCK_BYTES)
            kept = self.at(block_start, end - block_start).rstrip(b"\0")
            if kept:
                return block_start + len(kept)
            end = block_start
        return start

    def _load(self, offset: int, size_bytes: int) -> int:
        """Sees that the block holds ``size_bytes`` from ``offset`` on, as far as there are so many; says where."""
        start = offset - self._block_offset
        if start < 0 or start + size_bytes > len(self._block):
            left = max(0, self.end - offset)
            self._block = os.pread(self._descriptor, min(left, max(size_bytes, _BLOCK_BYTES)), offset)
            self._block_offset, start = offset, 0
        return start
