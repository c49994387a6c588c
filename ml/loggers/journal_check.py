"""Checks a journal: every record, that none is missing, and whether each attempt was closed."""

from pathlib import Path
from typing import NamedTuple

from ml.core.errors import FormatError
from ml.io.damage import Damage
from ml.io.frame_reader import FrameReader
from ml.io.frames import FRAME_BYTES, HEAD_BYTES, Frame, Head, encode_head
from ml.io.journal import Numbering, journal_files
from ml.loggers.check import FileCheck
from ml.loggers.journal_records import END, Values, decode
from ml.loggers.stored import File

_MAX_PARSED_BYTES = 2**20  # a record that names a file is short


class JournalCheck(NamedTuple):
    """What a journal holds.

    Attributes:
        files: What each of its files does, in order.
        lost: How many records are missing between others, by attempt.
        closed: Whether an attempt ended in good order, by attempt.
        media: The paths of media that its records name, relative to its folder, each with its SHA-256.
    """

    files: list[FileCheck]
    lost: dict[int, int]
    closed: dict[int, bool]
    media: dict[str, str]


def check_journal(directory: Path, *, is_growing: bool) -> JournalCheck:
    """Reads a journal. A record that was written again after a failed sync counts as a duplicate.

    Args:
        directory: The journal's.
        is_growing: Whether somebody may be writing to its last file.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    journal = JournalCheck([], {}, {}, {})
    numberings: dict[tuple[int, bytes], Numbering] = {}
    files = journal_files(directory)
    for attempt, path in files:
        check = FileCheck(path, "journal", is_growing and path == files[-1][1])
        journal.files.append(check)
        journal.closed.setdefault(attempt, False)
        with FrameReader(path) as reader:
            for found in reader.read():
                if isinstance(found, Damage):
                    check.damaged(found)
                    check.size_bytes = found.offset + found.size_bytes
                    continue
                assert reader.salt is not None, "a record has been found by it"
                is_new = numberings.setdefault((attempt, reader.salt), Numbering()).take(found.sequence)
                _check_record(found, reader, check, is_new=is_new)
                journal.closed[attempt] = found.payload == END
                journal.media.update(_named_media(found.payload))
    for (attempt, _), numbering in numberings.items():
        journal.lost[attempt] = journal.lost.get(attempt, 0) + numbering.lost
    return journal


def _check_record(found: Frame, reader: FrameReader, check: FileCheck, *, is_new: bool) -> None:
    if not check.records:
        if reader.head is not None:
            check.keep(0, HEAD_BYTES)
        elif reader.salt is not None:
            attempt, segment = check.path.stem.split("-")
            check.head = encode_head(Head(int(attempt), int(segment), reader.salt))
    size_bytes = FRAME_BYTES + len(found.payload)
    check.whole(found.offset, size_bytes, is_new=is_new)
    check.size_bytes = found.offset + size_bytes


def _named_media(payload: bytes) -> dict[str, str]:
    """Returns the file that a record names, with its digest."""
    if b'"sha256"' not in payload or len(payload) > _MAX_PARSED_BYTES:
        return {}
    try:
        record = decode(payload)
    except FormatError:  # of a later version
        return {}
    rows = record.rows if isinstance(record, Values) else []
    return {value.path: value.digest for *_, value in rows if isinstance(value, File)}
