"""What a check of one file found: the same for every format.

A check reads the file, in pieces, and changes nothing. It notes which bytes are
whole records, so that these can be copied to a new file.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ml.io.damage import Damage
from ml.io.regular import open_regular

Format = Literal["journal", "json", "events"]

_BLOCK_BYTES = 1 << 20
_MAX_LISTED = 1000


@dataclass
class FileCheck:
    """What one file holds.

    Attributes:
        path: The file.
        format: Of its records.
        records: How many are whole.
        size_bytes: Of the file, when it was read to its end.
        damages: Where the first thousand damaged ranges lie; neighbours are one.
        damaged_ranges: How many there are.
        damaged_bytes: What all of them hold.
        torn_bytes: What lies at the end, and is no whole record: a crash came before its end.
        duplicates: Whole records that are there already.
        is_growing: Whether what lies at the end is taken for a record that is being written.
        head: What a copy begins with, where the file's own beginning is damaged.
    """

    path: Path
    format: Format
    is_growing: bool
    records: int = 0
    size_bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    damaged_ranges: int = 0
    damaged_bytes: int = 0
    torn_bytes: int = 0
    duplicates: int = 0
    head: bytes = b""
    _whole: "array[int]" = field(default_factory=lambda: array("q"), repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether every byte belongs to a record, or may come to."""
        return not self.damaged_ranges and not self.torn_bytes

    def whole(self, offset: int, size_bytes: int, *, is_new: bool = True) -> None:
        """Notes a record, and whether it is there for the first time."""
        self.records += 1
        if is_new:
            self.keep(offset, size_bytes)
        else:
            self.duplicates += 1

    def keep(self, offset: int, size_bytes: int) -> None:
        """Notes bytes that belong into a copy."""
        if self._whole and self._whole[-1] == offset:
            self._whole[-1] = offset + size_bytes
        else:
            self._whole.extend((offset, offset + size_bytes))

    def damaged(self, damage: Damage) -> None:
        """Notes bytes that are no whole record."""
        if damage.is_tail:
            self.torn_bytes += 0 if self.is_growing else damage.size_bytes
            return
        self.damaged_bytes += damage.size_bytes
        last = self.damages[-1] if self.damages else None
        if last is not None and last.offset + last.size_bytes == damage.offset:
            self.damages[-1] = last._replace(size_bytes=last.size_bytes + damage.size_bytes)
            return
        self.damaged_ranges += 1
        if len(self.damages) < _MAX_LISTED:
            self.damages.append(damage)

    def whole_pieces(self) -> Iterator[bytes]:
        """Yields what is whole, in order.

        Raises:
            OSError: The file cannot be read.
        """
        if self.head:
            yield self.head
        bounds = iter(self._whole)
        with open_regular(self.path) as file:
            for start, end in zip(bounds, bounds, strict=True):
                file.seek(start)
                while start < end and (block := file.read(min(_BLOCK_BYTES, end - start))):
                    start += len(block)
                    yield block
