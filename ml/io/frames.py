"""Records in a file that damage cannot spoil: each one is found, and checked, by itself.

A file is a head and then frames, one after the other, all numbers little endian::

    head     mark 8 bytes, version uint16, attempt uint32, segment uint32, salt 8 bytes, checksum uint32 of these
    frame    mark 4 bytes, salt 8 bytes, length uint32, sequence uint64, checksum uint32 of these,
             payload (as long as ``length`` says), checksum uint32 of the payload

Checksums are CRC-32C. The salt is drawn at random by who writes, and stands in
every frame: so a file that was logged into a file of its kind is never taken for
a part of it, and a file whose head was lost is read all the same, by the salt
that frames most of it. After damage the next frame is looked for by its mark and
salt, with ``bytes.find``. A frame that is damaged costs itself alone; which ones
were lost is told by their sequence numbers.
"""

import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import google_crc32c

from ml.core.errors import FormatError, LogValueError

VERSION = 1
SALT_BYTES = 8
MAX_PAYLOAD_BYTES = 65 * 2**20

_HEAD_MARK = b"\x93mlog\r\n\x1a"
_HEAD = struct.Struct("<8sHII8s")
_MARK = b"\xf5\xffml"  # the first two bytes occur in no UTF-8
_MAGIC_BYTES = len(_MARK) + SALT_BYTES
_FRAME = struct.Struct("<12sIQ")
_CHECKSUM = struct.Struct("<I")
_FRAME_HEAD_BYTES = _FRAME.size + _CHECKSUM.size

HEAD_BYTES = _HEAD.size + _CHECKSUM.size
FRAME_BYTES = _FRAME_HEAD_BYTES + _CHECKSUM.size
"""What a frame takes beside its payload."""

_BLOCK_BYTES = 2**20
_MAX_WRONG_BYTES = 2**30  # a crafted file could have every byte checked again and again

_CUT_OFF = "the file ends before the record does"
_NO_HEAD = "no record begins here"
_TOO_LONG = f"the record says that it is longer than {MAX_PAYLOAD_BYTES} bytes"
_WRONG_PAYLOAD = "the checksum of what the record holds is wrong"

_checksum = google_crc32c.value
_pack_checksum, _unpack_checksum = _CHECKSUM.pack, _CHECKSUM.unpack_from
_pack_frame, _unpack_frame = _FRAME.pack, _FRAME.unpack_from


class Head(NamedTuple):
    """What a file says of itself.

    Attributes:
        attempt: The attempt of the run that wrote it, from 1.
        segment: Which file of the attempt it is, from 1.
        salt: 8 random bytes, the same in all files of one writer.
    """

    attempt: int
    segment: int
    salt: bytes


class Frame(NamedTuple):
    """A whole record: where it begins, its number, what it holds."""

    offset: int
    sequence: int
    payload: bytes


class Damage(NamedTuple):
    """Bytes that are no whole record.

    Attributes:
        offset: Where they begin.
        size_bytes: How many there are.
        reason: What is wrong with the first of them.
        is_tail: Whether it may be a record that is being written: it runs to the end of the file,
            and begins like a record that was cut off, or ends in zeros. Not corrupt, not yet whole.
    """

    offset: int
    size_bytes: int
    reason: str
    is_tail: bool


def encode_head(head: Head) -> bytes:
    """Returns what a file begins with."""
    packed = _HEAD.pack(_HEAD_MARK, VERSION, head.attempt, head.segment, head.salt)
    return packed + _pack_checksum(_checksum(packed))


def encode_frame(salt: bytes, sequence: int, payload: bytes) -> bytes:
    """Returns a record, framed.

    Args:
        salt: The writer's, 8 bytes.
        sequence: One more than that of the record before, from 1.
        payload: At most ``MAX_PAYLOAD_BYTES``.

    Raises:
        LogValueError: It is longer.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LogValueError(f"a record holds at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}", "Log it in parts.")
    head = _pack_frame(_MARK + salt, len(payload), sequence)
    return b"".join((head, _pack_checksum(_checksum(head)), payload, _pack_checksum(_checksum(payload))))


class FrameReader:
    """Reads one file: its records in the order in which they lie there, and what is damaged.

    The file may be growing, and may be damaged in any way. Reading takes a few
    MiB of memory, or twice the longest record. A context manager.

    Args:
        path: The file.

    Attributes:
        path: The file.
        head: What the file says of itself; ``None`` while that is not there, or if it is damaged.
        salt: The salt of its records; ``None`` while it is not known.
        offset: What lies before it was read, and is not read again.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: Head | None = None
        self.salt: bytes | None = None
        self.offset = 0
        self._magic = b""
        self._block, self._block_offset, self._end = b"", 0, 0
        self._wrong_bytes = 0
        self._file = path.open("rb", buffering=0)

    def read(self) -> Iterator[Frame | Damage]:
        """Yields what was not passed by yet, up to the end of the file as it is now.

        Damage that reaches the end of the file is not passed by: the next ``read``
        looks at it again, when there may be more.

        Raises:
            OSError: The file cannot be read.
            FormatError: It is of a later version of this format.
        """
        self._look_anew()  # what lay behind the last whole record may have been cut back
        if self.salt is None:
            yield from self._begin()
        while self.salt is not None:
            found = self._frame_at(self.offset)
            if isinstance(found, str):
                self._look_anew()  # at what may just have been written
                found = self._frame_at(self.offset)
            if isinstance(found, Frame):
                self.offset += FRAME_BYTES + len(found.payload)
                yield found
                continue
            start, end = self.offset, self._end
            following = self._next_frame(start + 1) if start < end else None
            if following is None:
                if start < end:
                    yield Damage(start, end - start, found, self._is_unfinished(start))
                return
            self.offset = following
            yield Damage(start, following - start, found, is_tail=False)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # the head

    def _begin(self) -> Iterator[Damage]:
        """Finds the salt: in the head, else in the records."""
        head, end = self._bytes(0, HEAD_BYTES), self._end
        if _is_whole(head, _HEAD):
            _, version, *fields = _HEAD.unpack_from(head)
            if version != VERSION:
                problem = f"a file of version {version}, this program reads version {VERSION}. Use a newer one"
                raise FormatError(problem, path=self.path)
            self.head = Head(*fields)
            self.salt, self.offset = self.head.salt, HEAD_BYTES
            self._magic = _MARK + self.salt
        elif (magic := self._elected()) is not None:
            self._magic, self.salt = magic, magic[len(_MARK) :]
            self.offset = self._next_frame(0) or 0
            yield Damage(0, self.offset, "the head is damaged", is_tail=False)
        elif end:
            data_end = self._end_of_data(0)
            is_begun = _HEAD_MARK.startswith(head[: min(data_end, len(_HEAD_MARK))])
            is_tail = is_begun and data_end <= HEAD_BYTES and _is_begun(head, _HEAD)
            yield Damage(0, end, "there is no whole head, and no record", is_tail)

    def _elected(self) -> bytes | None:
        """Returns the magic that frames most bytes; records inside of others do not count."""
        votes: Counter[bytes] = Counter()
        offset = self._find(_MARK, 0)
        while offset is not None and self._wrong_bytes <= _MAX_WRONG_BYTES:
            self._magic = self._bytes(offset, _MAGIC_BYTES)
            found = self._frame_at(offset)
            size_bytes = 1 if isinstance(found, str) else FRAME_BYTES + len(found.payload)
            if isinstance(found, Frame):
                votes[self._magic] += size_bytes
            offset = self._find(_MARK, offset + size_bytes)
        return max(votes, key=votes.__getitem__, default=None)

    # records

    def _frame_at(self, offset: int) -> Frame | str:
        """Returns the record that begins at ``offset``, or why there is none."""
        head = self._bytes(offset, _FRAME_HEAD_BYTES)
        if len(head) < _FRAME_HEAD_BYTES:
            return _CUT_OFF
        if not (head.startswith(self._magic) and _is_whole(head, _FRAME)):
            return _NO_HEAD
        _, length, sequence = _unpack_frame(head)
        if length > MAX_PAYLOAD_BYTES:
            return _TOO_LONG
        body = self._bytes(offset + _FRAME_HEAD_BYTES, length + _CHECKSUM.size)
        if len(body) < length + _CHECKSUM.size:
            return _CUT_OFF
        payload = body[:length]
        if _checksum(payload) != _unpack_checksum(body, length)[0]:
            self._wrong_bytes += length
            return _WRONG_PAYLOAD
        return Frame(offset, sequence, payload)

    def _next_frame(self, offset: int) -> int | None:
        """Returns where the next whole record begins, or one that the end of the file cuts off."""
        place = self._find(self._magic, offset)
        while place is not None and self._wrong_bytes <= _MAX_WRONG_BYTES:
            found = self._frame_at(place)
            if isinstance(found, Frame) or found == _CUT_OFF:
                return place
            place = self._find(self._magic, place + 1)
        return None

    def _is_unfinished(self, start: int) -> bool:
        """Whether the bytes from ``start`` to the end may become a record: cut off, or zeros from some place on."""
        head = self._bytes(start, _FRAME_HEAD_BYTES)
        data_end = self._end_of_data(start)
        if not head.startswith(self._magic[: data_end - start]):
            return False
        if not _is_whole(head, _FRAME):
            return data_end - start <= _FRAME_HEAD_BYTES and _is_begun(head, _FRAME)
        length: int = _unpack_frame(head)[1]
        body_start = start + _FRAME_HEAD_BYTES
        if length > MAX_PAYLOAD_BYTES or data_end > body_start + length + _CHECKSUM.size:
            return False
        body = self._bytes(body_start, length + _CHECKSUM.size)
        return _pack_checksum(_checksum(body[:length])).startswith(body[length:].rstrip(b"\0"))

    # bytes

    def _find(self, pattern: bytes, offset: int) -> int | None:
        """Returns where ``pattern`` is found first, from ``offset`` on."""
        while True:
            start = self._load(offset, len(pattern))
            place = self._block.find(pattern, start)
            if place >= 0:
                return self._block_offset + place
            if len(self._block) - start < len(pattern):
                return None
            offset = self._block_offset + len(self._block) - len(pattern) + 1

    def _end_of_data(self, start: int) -> int:
        """Returns where the zeros begin that the file ends in, not before ``start``."""
        end = self._end
        while start < end:
            block_start = max(start, end - _BLOCK_BYTES)
            kept = self._bytes(block_start, end - block_start).rstrip(b"\0")
            if kept:
                return block_start + len(kept)
            end = block_start
        return start

    def _bytes(self, offset: int, size_bytes: int) -> bytes:
        """Returns bytes of the file, fewer at its end."""
        start = self._load(offset, size_bytes)
        return self._block[start : start + size_bytes]

    def _load(self, offset: int, size_bytes: int) -> int:
        """Sees that the block holds ``size_bytes`` from ``offset`` on, as far as there are so many; says where."""
        start = offset - self._block_offset
        if start < 0 or start + size_bytes > len(self._block):
            self._file.seek(offset)
            left = max(0, self._end - offset)
            self._block = self._file.read(min(left, max(size_bytes, _BLOCK_BYTES))) or b""
            self._block_offset, start = offset, 0
        return start

    def _look_anew(self) -> None:
        """Reads up to where the file ends now: what is beyond while it grows would not fit to what was read before."""
        self._block = b""
        self._end = os.fstat(self._file.fileno()).st_size


def _is_whole(head: bytes, form: struct.Struct) -> bool:
    """Whether bytes that begin with what ``form`` packs go on with its checksum."""
    if len(head) < form.size + _CHECKSUM.size:
        return False
    return bool(_checksum(head[: form.size]) == _unpack_checksum(head, form.size)[0])


def _is_begun(head: bytes, form: struct.Struct) -> bool:
    """Whether bytes that begin with what ``form`` packs may be cut off, or zeros from some place on."""
    if len(head) < form.size:
        return True
    return _pack_checksum(_checksum(head[: form.size])).startswith(head[form.size :].rstrip(b"\0"))
