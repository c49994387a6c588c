"""The journal of a run: an append-only log of records that survives crashes, full disks and bit rot.

::

    journal/0001-0001.journal     the first segment of attempt 1; see ``ml.io.frames`` for what is in it
    journal/0001-0002.journal     the next one: after 64 MiB, or after a file that cannot be trusted any more
    journal/0002-0001.journal     attempt 2

Every file is made exclusively, by one writer. Its records are numbered from 1
through all its segments, so a reader knows what is missing. What was written
again to the next file after a failed sync has its number from before, so the
reader knows that too.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import FormatError
from ml.io.damage import Damage
from ml.io.durable import DurableFile, Opening
from ml.io.fileops import OPS, FileOps
from ml.io.files import AppendFile, make_directories
from ml.io.frame_reader import FrameReader
from ml.io.frames import SALT_BYTES, Frame, Head, encode_frame, encode_head
from ml.io.numbered import first_free

MAX_SEGMENT_BYTES = 64 * 2**20

_NAME = re.compile(r"(\d{4,9})-(\d{4,9})\.journal")


class JournalWriter:
    """Appends records to the journal of one attempt.

    What ``append`` took survives the death of the process, what ``sync`` returned
    from survives a power cut. The first file is made by the first ``append``. It
    has one writer: one thread of one process.

    Args:
        directory: Where the journal is kept; made if need be.
        attempt: The attempt of the run.
        max_segment_bytes: When a file has grown to this, the next one is begun.
        ops: The calls to the operating system.

    Attributes:
        next_sequence: The number of the next record.
    """

    def __init__(
        self, directory: Path, attempt: int, *, max_segment_bytes: int = MAX_SEGMENT_BYTES, ops: FileOps = OPS
    ) -> None:
        self.next_sequence = 1
        self._directory, self._attempt, self._ops = directory, attempt, ops
        self._max_segment_bytes = max_segment_bytes
        self._salt = os.urandom(SALT_BYTES)  # the same in every segment: records move from one to the next
        self._file: DurableFile | None = None

    @property
    def path(self) -> Path | None:
        """The file that is appended to; ``None`` before the first record."""
        return None if self._file is None else self._file.path

    def append(self, payloads: Iterable[bytes]) -> None:
        """Hands records to the kernel in one piece, or appends nothing.

        Args:
            payloads: Each at most ``ml.io.frames.MAX_PAYLOAD_BYTES``.

        Raises:
            WriteError: Nothing was appended; the same records may be offered again.
        """
        frames = [encode_frame(self._salt, number, data) for number, data in enumerate(payloads, self.next_sequence)]
        if self._file is None:
            self._file = DurableFile(self._open)
        elif self._file.size_bytes >= self._max_segment_bytes:
            self._file.rotate()
        self._file.append(b"".join(frames))
        self.next_sequence += len(frames)

    def sync(self) -> None:
        """Returns when everything appended so far is on the disk.

        Raises:
            WriteError: It cannot be said that it is.
        """
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Makes everything durable, and closes the file; again does nothing.

        Raises:
            WriteError: The file is closed, but its last data may not be on the disk.
        """
        if self._file is not None:
            self._file.close()

    def _open(self, opening: Opening) -> AppendFile:
        make_directories(self._directory, ops=self._ops)
        file, segment = self._create(opening.number)
        try:
            file.append(encode_head(Head(self._attempt, segment, self._salt)))
        except BaseException:
            file.discard()
            raise
        return file

    def _create(self, segment: int) -> tuple[AppendFile, int]:
        """Returns a new file, and which segment it is: the first from ``segment`` on that is not there."""

        def create(number: int) -> tuple[AppendFile, int]:
            path = self._directory / f"{self._attempt:04d}-{number:04d}.journal"
            return AppendFile(path, exclusive=True, mode=0o600, ops=self._ops), number

        return first_free(create, segment)


class Record(NamedTuple):
    """What one call of the writer appended.

    Attributes:
        attempt: The attempt that wrote it.
        sequence: Its number among those of its writer, from 1.
        payload: What it holds.
    """

    attempt: int
    sequence: int
    payload: bytes


class Flaw(NamedTuple):
    """A part of a file that is no whole record."""

    path: Path
    damage: Damage

    def __str__(self) -> str:
        kind = "not whole yet" if self.damage.is_tail else "damaged"
        return (
            f"{self.path}, byte {self.damage.offset}: {self.damage.size_bytes} bytes are {kind}: {self.damage.reason}"
        )


class Numbering:
    """Which numbers of one writer have been read: which are missing, which came twice.

    Attributes:
        last: The highest number so far; 0 before the first.
        lost: How many below it are missing.
    """

    def __init__(self) -> None:
        self.last = self.lost = 0
        self._gaps: list[tuple[int, int]] = []  # first and last missing number of each, ascending

    def take(self, number: int) -> bool:
        """Notes a number; False: it was here before."""
        if number > self.last:
            if number > self.last + 1:
                self._gaps.append((self.last + 1, number - 1))
                self.lost += number - 1 - self.last
            self.last = number
            return True
        place = bisect_right(self._gaps, number, key=lambda gap: gap[0]) - 1
        if place < 0 or number > self._gaps[place][1]:
            return False
        first, last = self._gaps[place]
        self._gaps[place : place + 1] = [gap for gap in ((first, number - 1), (number + 1, last)) if gap[0] <= gap[1]]
        self.lost -= 1
        return True


class JournalReader:
    """Reads a journal: every record once, attempts and segments in order, whatever is damaged.

    Args:
        directory: Where the journal is kept. One that is not there is empty.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numberings: dict[tuple[int, bytes], Numbering] = {}  # by attempt and salt

    @property
    def lost(self) -> int:
        """How many records are missing between others, as far as it was read."""
        return sum(numbering.lost for numbering in self._numberings.values())

    def read(self) -> Iterator[Record | Flaw]:
        """Yields the records that are there now, and between them what is none. A file that fails costs itself."""
        for attempt, path in journal_files(self._directory):
            try:
                yield from self._read_file(attempt, path)
            except (OSError, FormatError) as error:
                yield Flaw(path, Damage(0, 0, f"it cannot be read: {error}", is_tail=False))

    def _read_file(self, attempt: int, path: Path) -> Iterator[Record | Flaw]:
        with FrameReader(path) as reader:
            for found in reader.read():
                if isinstance(found, Frame):
                    assert reader.salt is not None, "a record has been found by it"
                    numbering = self._numberings.setdefault((attempt, reader.salt), Numbering())
                    if numbering.take(found.sequence):
                        yield Record(attempt, found.sequence, found.payload)
                else:
                    yield Flaw(path, found)


def journal_files(directory: Path) -> list[tuple[int, Path]]:
    """Returns the attempt and the path of every file of a journal, in the order in which they were written."""
    found = []
    for path in directory.glob("*.journal"):
        name = _NAME.fullmatch(path.name)
        if name is not None and path.is_file():
            found.append((int(name[1]), int(name[2]), path))
    return [(attempt, path) for attempt, _, path in sorted(found)]
