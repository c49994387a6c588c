"""Reads one queue of a spool: records of one writer, in order, each handed out once and forgotten when it is done.

::

    0001-0001.journal     a segment, as ``ml.io.journal`` writes them; its records hold a key and data
    0001-0001.done        how far it is done: frames with no content, and the number of a record
    lock                  held by the process that the queue belongs to

What is in memory is a window of the segment that is being read, and a few words for
each record that was handed out and is not done. A segment is removed when all of
it is done; one that is damaged is moved aside instead, whole.
"""

import errno
import logging
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ml.core.errors import FormatError, LogValueError, WriteError
from ml.io.damage import Damage
from ml.io.fileops import OPS, FileOps
from ml.io.files import AppendFile, explained, make_directories
from ml.io.frame_reader import FrameReader
from ml.io.frames import FRAME_BYTES, Frame, Head, encode_frame, encode_head
from ml.io.journal import JournalWriter, Numbering, journal_files
from ml.io.store import MAX_KEY_BYTES

_log = logging.getLogger("ml")

_KEY_HEAD = struct.Struct("<H")
_OUT_OF_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of this process, now: the file is as good as it was
_DONE_SUFFIX = ".done"
LOCK_NAME = "lock"


def encode_entry(key: str, data: bytes) -> bytes:
    """Returns what a record of a spool holds.

    Raises:
        LogValueError: The key is longer than ``MAX_KEY_BYTES``.
    """
    encoded = key.encode()
    if len(encoded) > MAX_KEY_BYTES:
        raise LogValueError(f"a key has at most {MAX_KEY_BYTES} bytes, got {len(encoded)}", "Use shorter names.")
    return b"".join((_KEY_HEAD.pack(len(encoded)), encoded, data))


def decode_entry(payload: bytes) -> tuple[str, bytes] | None:
    """Returns the key and the data; ``None``: this is no such record."""
    if len(payload) < _KEY_HEAD.size:
        return None
    end = _KEY_HEAD.size + _KEY_HEAD.unpack_from(payload)[0]
    if end > min(len(payload), _KEY_HEAD.size + MAX_KEY_BYTES):
        return None
    try:
        return payload[_KEY_HEAD.size : end].decode(), payload[end:]
    except UnicodeDecodeError:
        return None


class _Segment:
    """A file of the queue, from when its reading begins until all of it is done."""

    def __init__(self, queue: "SpoolQueue", path: Path) -> None:
        self.queue, self.path = queue, path
        self.reader: FrameReader | None = FrameReader(path)
        self.found = self.reader.read()
        self.identity = queue.identity_of(path)
        self.salt: bytes | None = None
        self.outstanding = 0
        self.is_damaged = False
        self.marks: AppendFile | None = None

    @property
    def is_read(self) -> bool:
        """Whether nothing more is read from it."""
        return self.reader is None

    def end(self) -> None:
        """Lets go of what it is read with."""
        if self.reader is not None:
            self.reader.close()
        self.reader, self.found = None, iter(())

    def close(self) -> None:
        """Lets go of everything."""
        self.end()
        if self.marks is not None:
            self.marks.abandon()


@dataclass(slots=True, eq=False)
class Place:
    """Where a record that was handed out comes from."""

    segment: _Segment
    sequence: int
    size_bytes: int
    is_done: bool = False


@dataclass(slots=True, eq=False)
class Spooled:
    """A record, read back from the disk.

    Attributes:
        key: Its name where it is sent to.
        data: What it is.
        place: For ``done``.
    """

    key: str
    data: bytes
    place: Place


class SpoolQueue:
    """Hands out the records of one queue, in the order in which they were appended, also while more are.

    Args:
        directory: The queue's.
        aside: The directory that damaged segments are moved to, made when it is needed.
        writer: What this process appends with; ``None`` for a queue that another process has left.
        ops: The calls to the operating system.

    Attributes:
        directory: The queue's.
        pending_bytes: What its records that are not done take, about.

    Raises:
        OSError: The queue that was left cannot be read.
    """

    def __init__(
        self, directory: Path, aside: Path, *, writer: JournalWriter | None = None, ops: FileOps = OPS
    ) -> None:
        self.directory = directory
        self.pending_bytes = 0
        self._aside, self._writer, self._ops = aside, writer, ops
        self._numbering = Numbering()
        self._segment: _Segment | None = None
        self._last_name = ""
        self._handed_out: deque[Place] = deque()
        self._set_aside: list[Path] = []
        self._malformed = 0
        self._last = 0  # the number of the newest record that was left
        self._done_before = 0  # in the first segment, by the process that left it
        self._written_off = 0  # up to this number what was not found is lost
        if writer is None:
            self._survey()

    @property
    def pending(self) -> int:
        """How many records are not done."""
        return self._unread + len(self._handed_out)

    @property
    def handed_out(self) -> int:
        """How many records were handed out, and are not done, or not before all that were handed out earlier."""
        return len(self._handed_out)

    @property
    def damaged(self) -> int:
        """How many records were found to be missing or damaged, as far as their numbers tell."""
        known = self._numbering.lost + self._malformed + max(0, self._written_off - self._numbering.last)
        return max(known, len(self._set_aside))

    @property
    def is_finished(self) -> bool:
        """Whether a queue that was left has been read to its end, and all of it is done."""
        return self._segment is None and not self._handed_out and not self._unread

    def next(self) -> Spooled | None:
        """Returns the oldest record that was not handed out yet; ``None``: there is none now.

        Raises:
            WriteError: This process has too many open files, or no memory. Call again later.
        """
        if self._writer is not None and not self._unread:
            return None
        while (segment := self._segment or self._open_next()) is not None:
            frame = self._next_frame(segment)
            if frame is not None:
                if (spooled := self._take(segment, frame)) is not None:
                    return spooled
            elif not segment.is_read:  # it may grow
                break
        self._written_off = self._newest
        if not self.pending:
            self.pending_bytes = 0
        return None

    def done(self, spooled: Spooled) -> None:
        """Forgets a record: it has arrived, or never will. In any order."""
        spooled.place.is_done = True
        marks: dict[_Segment, int] = {}
        while self._handed_out and self._handed_out[0].is_done:
            place = self._handed_out.popleft()
            place.segment.outstanding -= 1
            self.pending_bytes -= place.size_bytes
            marks[place.segment] = place.sequence
        if not self.pending:
            self.pending_bytes = 0
        for segment, sequence in marks.items():
            if segment.is_read and not segment.outstanding:
                self._finish(segment)
            else:
                self._mark(segment, sequence)

    def remove(self) -> bool:
        """Removes the directory of a queue of which everything is done. False: it is still there, or has more in it."""
        self.close()
        try:
            for path in sorted(self.directory.iterdir()):
                if path.suffix in (".journal", _DONE_SUFFIX) and path not in self._set_aside:
                    self._ops.unlink(path)
            self._ops.unlink(self.directory / LOCK_NAME)
            self._ops.remove_directory(self.directory)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Closes its files, which stay."""
        for segment in {place.segment for place in self._handed_out} | {self._segment}:
            if segment is not None:
                segment.close()

    # what there is

    def _survey(self) -> None:
        """Finds out what a queue that was left holds, by the numbers of its first record and of its last."""
        paths = [path for _, path in journal_files(self.directory)]
        self.pending_bytes = sum(path.stat().st_size for path in paths)
        lasts = (max((frame.sequence for frame in _frames(path)), default=0) for path in reversed(paths))
        self._last = next(filter(None, lasts), 0)
        self._numbering.last = next((frame.sequence for path in paths for frame in _frames(path)), 1) - 1
        if paths:
            marks = _frames(paths[0].with_suffix(_DONE_SUFFIX))
            self._done_before = max((frame.sequence for frame in marks), default=0)

    @property
    def _newest(self) -> int:
        return self._last if self._writer is None else self._writer.next_sequence - 1

    @property
    def _unread(self) -> int:
        return max(0, self._newest - max(self._numbering.last, self._done_before, self._written_off))

    # reading

    def identity_of(self, path: Path) -> tuple[int, int] | None:
        """Returns what tells the file from one that takes its name later; ``None``: it is not there."""
        try:
            return self._ops.identity(path)
        except OSError:
            return None

    def _grows(self, segment: _Segment) -> bool:
        """Whether this process appends to the segment; what it appends to may be a new file of the same name."""
        is_current = self._writer is not None and segment.path == self._writer.path
        return is_current and segment.identity == self.identity_of(segment.path)

    def _open_next(self) -> _Segment | None:
        """Begins with the segment after the last one; ``None``: there is none."""
        for _, path in journal_files(self.directory):
            if path.name <= self._last_name:
                continue
            try:
                self._segment = _Segment(self, path)
            except FileNotFoundError:  # removed by somebody, as its numbers will tell
                continue
            except (OSError, FormatError) as error:
                _raise_if_passing(error, path)
                self._last_name = path.name
                self._move_aside(path, str(error))
            else:
                self._last_name = path.name
                return self._segment
        return None

    def _next_frame(self, segment: _Segment) -> Frame | None:
        """Returns the next record of a segment; ``None``: there is none now, or ever, and then its reading is ended."""
        assert segment.reader is not None, "it is being read"
        try:
            frame = _first_frame(segment, segment.found, is_last_look=False)
            if frame is None:
                is_last_look = not self._grows(segment)
                segment.found = segment.reader.read()
                frame = _first_frame(segment, segment.found, is_last_look=is_last_look)
                if frame is None and is_last_look:
                    self._end(segment)
        except (OSError, FormatError) as error:
            _raise_if_passing(error, segment.path)
            segment.is_damaged = True
            self._end(segment)
            return None
        return frame

    def _take(self, segment: _Segment, frame: Frame) -> Spooled | None:
        """Returns the record in a frame; ``None``: it was here before, is done, or is none."""
        assert segment.reader is not None, "it is being read"
        segment.salt = segment.reader.salt
        size_bytes = FRAME_BYTES + len(frame.payload)
        is_new = self._numbering.take(frame.sequence)
        if not is_new or frame.sequence <= self._done_before:
            if self._writer is None:  # else it was counted once
                self.pending_bytes -= size_bytes
            return None
        entry = decode_entry(frame.payload)
        if entry is None:
            self._malformed += 1
            segment.is_damaged = True
            self.pending_bytes -= size_bytes
            return None
        place = Place(segment, frame.sequence, size_bytes)
        segment.outstanding += 1
        self._handed_out.append(place)
        return Spooled(*entry, place)

    # the end of a segment

    def _end(self, segment: _Segment) -> None:
        """Ends the reading of a segment."""
        segment.end()
        self._segment = None
        if self._writer is not None and segment.path == self._writer.path:
            self._last_name = segment.path.stem  # what was removed goes on under its old name, which is read next
        self._done_before = 0  # what another file repeats need not be done
        if not segment.outstanding:
            self._finish(segment)

    def _finish(self, segment: _Segment) -> None:
        """Removes a segment that is done, or moves it aside; one that stays is sent again, which does no harm."""
        segment.close()
        if segment.identity != self.identity_of(segment.path):
            return
        if segment.is_damaged:
            self._move_aside(segment.path, "a part of it is no whole record")
        else:
            with suppress(OSError):
                self._ops.unlink(segment.path)
        with suppress(OSError):
            self._ops.unlink(segment.path.with_suffix(_DONE_SUFFIX))

    def _move_aside(self, path: Path, why: str) -> None:
        target = self._aside / f"{self.directory.name}-{path.name}"
        self._set_aside.append(path)
        try:
            make_directories(self._aside, ops=self._ops)
            with explained("move", path):
                self._ops.rename(path, target)
        except WriteError as error:
            _log.warning("%s is damaged: %s. It stays where it is: %s", path, why, error)
        else:
            _log.warning("%s is damaged: %s. What is whole in it is sent; it is kept as %s.", path, why, target)

    def _mark(self, segment: _Segment, sequence: int) -> None:
        """Notes on disk that a segment is done up to a record. What is not noted is sent again, which does no harm."""
        assert segment.salt is not None, "a record has been found by it"
        with suppress(WriteError):
            if segment.marks is None:
                path = segment.path.with_suffix(_DONE_SUFFIX)
                segment.marks = AppendFile(path, mode=0o600, ops=self._ops)
                if segment.marks.is_new:
                    segment.marks.append(encode_head(Head(1, 1, segment.salt)))
            segment.marks.append(encode_frame(segment.salt, sequence, b""))


def _first_frame(segment: _Segment, found: Iterator[Frame | Damage], *, is_last_look: bool) -> Frame | None:
    """Returns the next whole record, and notes what is damaged before it."""
    assert segment.reader is not None, "it is being read"
    for frame in found:
        if isinstance(frame, Frame):
            return frame
        is_at_end = frame.offset == segment.reader.offset
        # A tail was never acknowledged: the process was killed while it wrote.
        if not frame.is_tail and (is_last_look or not is_at_end):
            segment.is_damaged = True
    return None


def _raise_if_passing(error: Exception, path: Path) -> None:
    if isinstance(error, OSError) and error.errno in _OUT_OF_MEANS:
        raise WriteError(f"Cannot read {path}: {error.strerror}.") from error


def _frames(path: Path) -> Iterator[Frame]:
    """Yields the whole records of a file, none if it cannot be read."""
    with suppress(OSError, FormatError), FrameReader(path) as reader:
        for found in reader.read():
            if isinstance(found, Frame):
                yield found
