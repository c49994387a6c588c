"""Records in a file that damage cannot spoil: each one is found, and checked, by itself.

A file is a head and then frames, one after the other, all numbers little endian::

    head     mark 8 bytes, version uint16, attempt uint32, segment uint32, salt 8 bytes, checksum uint32 of these
    frame    mark 4 bytes, salt 8 bytes, length uint32, sequence uint64, checksum uint32 of these,
             payload (as long as ``length`` says), checksum uint32 of the payload

Checksums are CRC-32C. The salt is drawn at random by who writes, and stands in
every frame: so a file that was logged into a file of its kind is never taken for
a part of it, and a file whose head was lost is read all the same, by the salt
that frames most of it. ``ml.io.frame_reader`` reads them.
"""

import struct
from typing import Any, NamedTuple

import google_crc32c

from ml.core.errors import LogValueError

VERSION = 1
SALT_BYTES = 8
MAX_PAYLOAD_BYTES = 65 * 2**20

HEAD_MARK = b"\x93mlog\r\n\x1a"
FRAME_MARK = b"\xf5\xffml"
"""What a frame begins with, followed by the salt; the first two bytes occur in no UTF-8."""

CHECKSUM_BYTES = 4
_pack_checksum = struct.Struct("<I").pack


class Sealed:
    """Numbers and marks packed one after the other, and their checksum.

    Args:
        layout: Of what is packed, as ``struct`` has it.

    Attributes:
        size_bytes: What they take, the checksum included.
    """

    def __init__(self, layout: str) -> None:
        fields = struct.Struct(layout)
        self._pack, self._unpack, self._fields_bytes = fields.pack, fields.unpack_from, fields.size
        self.size_bytes = fields.size + CHECKSUM_BYTES

    def pack(self, *fields: bytes | int) -> bytes:
        """Returns the bytes of these."""
        packed = self._pack(*fields)
        return packed + checksum(packed)

    def unpack(self, data: bytes) -> tuple[Any, ...]:
        """Returns what ``data`` begins with; ask ``is_whole`` before."""
        return self._unpack(data)

    def is_whole(self, data: bytes) -> bool:
        """Whether ``data`` begins with such bytes and their checksum."""
        return len(data) >= self.size_bytes and data[self._fields_bytes : self.size_bytes] == checksum(
            data[: self._fields_bytes]
        )

    def is_begun(self, data: bytes) -> bool:
        """Whether ``data`` may be such bytes cut off, or zeros from some place on."""
        if len(data) < self._fields_bytes:
            return True
        return checksum(data[: self._fields_bytes]).startswith(data[self._fields_bytes :].rstrip(b"\0"))


HEAD = Sealed("<8sHII8s")
FRAME_HEAD = Sealed("<12sIQ")

HEAD_BYTES = HEAD.size_bytes
FRAME_BYTES = FRAME_HEAD.size_bytes + CHECKSUM_BYTES
"""What a frame takes beside its payload."""


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


def encode_head(head: Head) -> bytes:
    """Returns what a file begins with."""
    return HEAD.pack(HEAD_MARK, VERSION, head.attempt, head.segment, head.salt)


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
    return b"".join((FRAME_HEAD.pack(FRAME_MARK + salt, len(payload), sequence), payload, checksum(payload)))


def checksum(data: bytes) -> bytes:
    """Returns the checksum of ``data``, 4 bytes."""
    return _pack_checksum(google_crc32c.value(data))
