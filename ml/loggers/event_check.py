"""Checks TensorBoard's event files: every length and every record has a checksum.

A record that is wrong costs itself. Where a length is wrong nothing says where the
next record begins, so it is looked for: twelve bytes that are a length and its
checksum. (TensorBoard itself reads no further.)
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ml.io.damage import Damage
from ml.io.regular import open_regular
from ml.io.window import Window
from ml.loggers.check import FileCheck
from ml.loggers.event_files import masked_crc

_HEAD = struct.Struct("<QI")
_FRAME_BYTES = _HEAD.size + 4
_BLOCK_BYTES = 1 << 20
_CANDIDATE = re.compile(rb"(?=(?!\0\0\0\0)...[\0-\x0f]\0\0\0\0)", re.DOTALL)  # lengths of 1 to 2^28 bytes
_NO_RECORD = "no record begins here"
_CUT_OFF = "the file ends before the record does"
_WRONG = "the checksum of what the record holds is wrong"
_MAX_HELD_BYTES = 1 << 28  # a longer record is none of ours


class FramedEvent(NamedTuple):
    """A serialized event, and where in its file its record begins, in bytes."""

    offset: int
    event: bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of its record."""
        return _FRAME_BYTES + len(self.event)


def check_event_file(path: Path, seen: set[int], *, is_growing: bool) -> FileCheck:
    """Reads an event file.

    Args:
        path: The file.
        seen: Hashes of the records of its directory so far; it is added to.
        is_growing: Whether somebody may be writing to it.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    check = FileCheck(path, "events", is_growing)
    for found in read_events(path):
        if isinstance(found, Damage):
            check.damaged(found)
        else:
            identity = hash(found.event)
            check.whole(found.offset, found.size_bytes, is_new=identity not in seen)
            seen.add(identity)
        check.size_bytes = found.offset + found.size_bytes
    return check


def read_events(path: Path) -> Iterator[FramedEvent | Damage]:
    """Yields the events of a file, and the bytes between them that are none.

    Args:
        path: The file. It may be growing: what has no end yet is a tail.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    with open_regular(path) as file:
        window = Window(file)
        offset = 0
        while head := window.at(offset, _HEAD.size):
            length = _length(head)
            if length is None:
                damage = _no_record(window, offset, head)
            else:
                size_bytes = _FRAME_BYTES + length
                event = _event(framed := window.at(offset, size_bytes))
                if event is not None:
                    yield FramedEvent(offset, event)
                    offset += size_bytes
                    continue
                damage = _wrong_record(window, offset, framed, size_bytes)
            yield damage
            offset += damage.size_bytes


def _no_record(window: Window, offset: int, head: bytes) -> Damage:
    """Returns the bytes from ``offset`` up to the next record: there is none here."""
    if len(head) < _HEAD.size:
        return Damage(offset, len(head), _CUT_OFF, is_tail=True)
    following = _next_record(window, offset + 1)
    if following is not None:
        return Damage(offset, following - offset, _NO_RECORD, is_tail=False)
    return Damage(offset, window.end - offset, _NO_RECORD, is_tail=window.end_of_data(offset) == offset)


def _wrong_record(window: Window, offset: int, framed: bytes, size_bytes: int) -> Damage:
    """Returns the bytes of a record whose length is right, and whose content is not."""
    end = window.end
    if len(framed) < size_bytes:
        following = _next_record(window, offset + _HEAD.size)
        if following is None:
            return Damage(offset, end - offset, _CUT_OFF, is_tail=True)
        return Damage(offset, following - offset, _WRONG, is_tail=False)
    following = offset + size_bytes
    if following == end:
        return Damage(offset, size_bytes, _WRONG, is_tail=framed.endswith(b"\0\0\0\0"))
    if _length(window.at(following, _HEAD.size)) is None:  # bytes are missing, or there are too many
        following = _next_record(window, offset + _HEAD.size) or end
    return Damage(offset, following - offset, _WRONG, is_tail=False)


def _event(framed: bytes) -> bytes | None:
    """Returns what a record holds, if its checksum says so."""
    event, checksum = framed[_HEAD.size : -4], framed[-4:]
    return event if masked_crc(event) == checksum else None


def _length(head: bytes) -> int | None:
    """Returns the length that a record begins with, if it is one."""
    if len(head) < _HEAD.size or masked_crc(head[:8]) != head[8:]:
        return None
    length: int = _HEAD.unpack(head)[0]
    return length if length <= _MAX_HELD_BYTES else None


def _next_record(window: Window, offset: int) -> int | None:
    """Returns where the next length with its checksum is, from ``offset`` on."""
    while len(block := window.at(offset, _BLOCK_BYTES)) >= _HEAD.size:
        for found in _CANDIDATE.finditer(block, 0, len(block)):
            head = block[found.start() : found.start() + _HEAD.size]
            if _length(head) is not None:
                return offset + found.start()
        offset += len(block) - _HEAD.size + 1
    return None
