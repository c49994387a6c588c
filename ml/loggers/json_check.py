"""Checks ``log.jsonl``, and the files that it goes on in: every line is strict JSON with the state of a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ml.core.errors import FormatError
from ml.io.damage import Damage
from ml.io.regular import open_regular
from ml.io.segments import Segment, segments
from ml.loggers.check import FileCheck
from ml.loggers.json_log import parsed
from ml.loggers.stored import File

_MAX_PARSED_BYTES = 16 * 2**20  # parsed, a crafted line takes thirty times as much


class LogCheck(NamedTuple):
    """What a log holds.

    Attributes:
        files: What each of its files does, in order.
        media: The paths of media that its lines name, relative to its folder, each with its SHA-256.
    """

    files: list[FileCheck]
    media: dict[str, str]


def check_log(path: Path, *, is_growing: bool) -> LogCheck:
    """Reads a log. A line that is there twice, byte for byte, counts as a duplicate.

    Args:
        path: Its first file.
        is_growing: Whether somebody may be writing to it.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    log = LogCheck([], {})
    seen: set[int] = set()
    parts = segments(path)
    for part in parts:
        check = FileCheck(part.path, "json", is_growing and part is parts[-1])
        log.files.append(check)
        with open_regular(part.path) as file:
            _check_segment(part, file, check, seen, log.media)
    return log


def _check_segment(part: Segment, file: BinaryIO, check: FileCheck, seen: set[int], media: dict[str, str]) -> None:
    for offset, size_bytes, line in _lines(file, part.size_bytes):
        check.size_bytes = offset + size_bytes
        if line is not None and not line.endswith(b"\n"):
            check.damaged(Damage(offset, size_bytes, "the last line has no end", is_tail=True))
            continue
        try:
            named = {} if line is None else _named_media(line)
        except FormatError as error:
            check.damaged(Damage(offset, size_bytes, error.message, is_tail=False))
            continue
        identity = offset if line is None else hash(line)
        check.whole(offset, size_bytes, is_new=identity not in seen)
        seen.add(identity)
        media.update(named)
    missing = 0 if part.size_bytes is None else part.size_bytes - check.size_bytes
    if missing > 0:
        check.damaged(Damage(check.size_bytes, missing, "the file was longer once", is_tail=False))


def _named_media(line: bytes) -> dict[str, str]:
    """Returns the files that a line names, each with its digest."""
    return {value.path: value.digest for *_, value in parsed(line).rows if isinstance(value, File)}


def _lines(file: BinaryIO, limit_bytes: int | None) -> Iterator[tuple[int, int, bytes | None]]:
    """Yields offset, size and line: ``None`` for one that is too long to be looked at, and has an end."""
    offset = 0
    while limit_bytes is None or offset < limit_bytes:
        longest = _MAX_PARSED_BYTES if limit_bytes is None else min(_MAX_PARSED_BYTES, limit_bytes - offset)
        line: bytes | None = file.readline(longest)
        if not line:
            return
        size_bytes = len(line)
        if size_bytes == _MAX_PARSED_BYTES and not line.endswith(b"\n"):
            block = line
            while not block.endswith(b"\n") and (block := file.readline(_MAX_PARSED_BYTES)):
                size_bytes += len(block)
            line = None if block else b""
        yield offset, size_bytes, line
        offset += size_bytes
