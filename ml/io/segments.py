"""A log of lines that goes on in another file: what its files are called, and how they are read as one.

::

    log.jsonl             the log; as a rule all of it
    log-2-81920.jsonl     goes on after the first 81,920 bytes of log.jsonl
    log-3-4096.jsonl      goes on after the first 4,096 bytes of log-2-81920.jsonl
    log-4-999999999999999999.jsonl      goes on after all of log-3-4096.jsonl, to which another process appends

What a file has beyond the number that the next one names could not be trusted
when that was made, and is in the next one again.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ml.io.durable import Opening, OpenNext
from ml.io.files import AppendFile, explained, make_directories
from ml.io.regular import open_regular
from ml.io.torn import set_torn_tail_aside

MAX_LINE_BYTES = 512 * 2**20
"""What of a line is held in memory: one value may take 64 MiB, which JSON makes six times as long at most."""


class Segment(NamedTuple):
    """One file of a log.

    Attributes:
        path: The file.
        number: 1 for the first.
        size_bytes: What counts of it; ``None`` is all.
    """

    path: Path
    number: int
    size_bytes: int | None


def segments(path: Path) -> list[Segment]:
    """Returns the files of a log that are there, in order.

    Args:
        path: The first of them.

    Raises:
        OSError: The directory cannot be read; one that is not there holds no file.
    """
    pattern = re.compile(rf"{re.escape(path.stem)}-([0-9]{{1,9}})-([0-9]{{1,18}}){re.escape(path.suffix)}")
    found = {1: (path, 0)} if path.exists() else {}
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if match := pattern.fullmatch(other.name):
            found[int(match[1])] = (other, int(match[2]))
    nothing = (path, None)
    return [Segment(found[number][0], number, found.get(number + 1, nothing)[1]) for number in sorted(found)]


def whole_lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a log with their ends; of each file not a last one without its end, which is being written.

    Of a line longer than ``MAX_LINE_BYTES`` comes only the last part, which is none that a run writes.

    Args:
        path: The first file of the log. One that is not there has no lines.

    Raises:
        OSError: A file cannot be read.
        FormatError: What is in its place is no file, but a pipe or a device.
    """
    for segment in segments(path):
        left = segment.size_bytes
        with open_regular(segment.path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                if left is not None:
                    left -= len(line)
                    if left < 0:
                        break
                if line.endswith(b"\n"):
                    yield line


def open_log(path: Path, *, mode: int = 0o600) -> OpenNext:
    """Returns what opens the files of a log for a ``DurableFile``: the last one first, its torn tail set aside.

    Args:
        path: The first file; it and its directory need not exist.
        mode: Permission bits of a new file, less the umask.
    """

    def open_next(opening: Opening) -> AppendFile:
        with explained("open", path):
            make_directories(path.parent)
            last = max(segments(path), key=lambda segment: segment.number, default=Segment(path, 1, None))
        if opening.number == 1:
            set_torn_tail_aside(last.path)
            return AppendFile(last.path, mode=mode)
        name = f"{path.stem}-{last.number + 1}-{opening.synced_bytes}{path.suffix}"
        return AppendFile(path.with_name(name), exclusive=True, mode=mode)

    return open_next
