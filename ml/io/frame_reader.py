"""Reads the records of a file that may be growing, and may be damaged in any way.

After damage the next frame is looked for by its mark and salt, with ``bytes.find``.
A frame that is damaged costs itself alone; which ones were lost is told by their
sequence numbers.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ml.core.errors import FormatError
from ml.io.damage import Damage
from ml.io.frames import (
    CHECKSUM_BYTES,
    FRAME_BYTES,
    FRAME_HEAD,
    FRAME_MARK,
    HEAD,
    HEAD_BYTES,
    HEAD_MARK,
    MAX_PAYLOAD_BYTES,
    SALT_BYTES,
    VERSION,
    Frame,
    Head,
    checksum,
)
from ml.io.regular import open_regular
from ml.io.window import Window

_MAGIC_BYTES = len(FRAME_MARK) + SALT_BYTES
_MAX_WRONG_BYTES = 2**30  # a crafted file could have every byte checked again and again

_CUT_OFF = "the file ends before the record does"
_NO_HEAD = "no record begins here"
_TOO_LONG = f"the record says that it is longer than {MAX_PAYLOAD_BYTES} bytes"
_WRONG_PAYLOAD = "the checksum of what the record holds is wrong"


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
        FormatError: It is a directory, a pipe or a device.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: Head | None = None
        self.salt: bytes | None = None
        self.offset = 0
        self._magic = b""
        self._wrong_bytes = 0
        self._file = open_regular(path)
        self._window = Window(self._file)

    def read(self) -> Iterator[Frame | Damage]:
        """Yields what was not passed by yet, up to the end of the file as it is now.

        Damage that reaches the end of the file is not passed by: the next ``read``
        looks at it again, when there may be more.

        Raises:
            OSError: The file cannot be read.
            FormatError: It is of a later version of this format.
        """
        self._window.look_anew()  # what lay behind the last whole record may have been cut back
        if self.salt is None:
            yield from self._begin()
        while self.salt is not None:
            found = self._frame_at(self.offset)
            if isinstance(found, str):
                self._window.look_anew()  # at what may just have been written
                found = self._frame_at(self.offset)
            if isinstance(found, Frame):
                self.offset += FRAME_BYTES + len(found.payload)
                yield found
                continue
            start, end = self.offset, self._window.end
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
        head, end = self._window.at(0, HEAD_BYTES), self._window.end
        if HEAD.is_whole(head):
            _, version, *fields = HEAD.unpack(head)
            if version != VERSION:
                problem = f"a file of version {version}, this program reads version {VERSION}. Use a newer one"
                raise FormatError(problem, path=self.path)
            self.head = Head(*fields)
            self.salt, self.offset = self.head.salt, HEAD_BYTES
            self._magic = FRAME_MARK + self.salt
        elif (magic := self._elected()) is not None:
            self._magic, self.salt = magic, magic[len(FRAME_MARK) :]
            self.offset = self._next_frame(0) or 0
            yield Damage(0, self.offset, "the head is damaged", is_tail=False)
        elif end:
            data_end = self._window.end_of_data(0)
            is_begun = HEAD_MARK.startswith(head[: min(data_end, len(HEAD_MARK))])
            is_tail = is_begun and data_end <= HEAD_BYTES and HEAD.is_begun(head)
            yield Damage(0, end, "there is no whole head, and no record", is_tail)

    def _elected(self) -> bytes | None:
        """Returns the magic that frames most bytes; records inside of others do not count."""
        votes: Counter[bytes] = Counter()
        offset = self._window.find(FRAME_MARK, 0)
        while offset is not None and self._wrong_bytes <= _MAX_WRONG_BYTES:
            self._magic = self._window.at(offset, _MAGIC_BYTES)
            found = self._frame_at(offset)
            size_bytes = 1 if isinstance(found, str) else FRAME_BYTES + len(found.payload)
            if isinstance(found, Frame):
                votes[self._magic] += size_bytes
            offset = self._window.find(FRAME_MARK, offset + size_bytes)
        return max(votes, key=votes.__getitem__, default=None)

    # records

    def _frame_at(self, offset: int) -> Frame | str:
        """Returns the record that begins at ``offset``, or why there is none."""
        head = self._window.at(offset, FRAME_HEAD.size_bytes)
        if len(head) < FRAME_HEAD.size_bytes:
            return _CUT_OFF
        if not (head.startswith(self._magic) and FRAME_HEAD.is_whole(head)):
            return _NO_HEAD
        _, length, sequence = FRAME_HEAD.unpack(head)
        if length > MAX_PAYLOAD_BYTES:
            return _TOO_LONG
        body = self._window.at(offset + FRAME_HEAD.size_bytes, length + CHECKSUM_BYTES)
        if len(body) < length + CHECKSUM_BYTES:
            return _CUT_OFF
        payload = body[:length]
        if body[length:] != checksum(payload):
            self._wrong_bytes += length
            return _WRONG_PAYLOAD
        return Frame(offset, sequence, payload)

    def _next_frame(self, offset: int) -> int | None:
        """Returns where the next whole record begins, or one that the end of the file cuts off."""
        place = self._window.find(self._magic, offset)
        while place is not None and self._wrong_bytes <= _MAX_WRONG_BYTES:
            found = self._frame_at(place)
            if isinstance(found, Frame) or found == _CUT_OFF:
                return place
            place = self._window.find(self._magic, place + 1)
        return None

    def _is_unfinished(self, start: int) -> bool:
        """Whether the bytes from ``start`` to the end may become a record: cut off, or zeros from some place on."""
        head = self._window.at(start, FRAME_HEAD.size_bytes)
        data_end = self._window.end_of_data(start)
        if not head.startswith(self._magic[: data_end - start]):
            return False
        if not FRAME_HEAD.is_whole(head):
            return data_end - start <= FRAME_HEAD.size_bytes and FRAME_HEAD.is_begun(head)
        length: int = FRAME_HEAD.unpack(head)[1]
        body_start = start + FRAME_HEAD.size_bytes
        if length > MAX_PAYLOAD_BYTES or data_end > body_start + length + CHECKSUM_BYTES:
            return False
        body = self._window.at(body_start, length + CHECKSUM_BYTES)
        return checksum(body[:length]).startswith(body[length:].rstrip(b"\0"))
