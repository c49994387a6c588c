"""Sets aside what a crash left at the end of a file of lines."""

import os
from contextlib import suppress
from pathlib import Path

from ml.io.fileops import OPS, FileOps
from ml.io.files import CREATE, explained, write_whole
from ml.io.numbered import first_free

_BLOCK_BYTES = 1 << 20


def set_torn_tail_aside(path: str | Path, *, ops: FileOps = OPS) -> Path | None:
    """Moves what follows the last newline of a file into a file beside it.

    A crash can leave half a line, or the zeros of a block that was never written,
    at the end of a file of lines; the next line appended would be lost with it.
    The tail is on the disk in its new place before it is cut off here, so no byte
    is lost whenever this is killed.

    Args:
        path: The file; it need not exist. Nothing may be writing to it.
        ops: The calls to the operating system.

    Returns:
        ``<path>.torn-<n>`` with the first free n from 1, or ``None`` if there was no tail.

    Raises:
        WriteError: The tail is still where it was, or is in both places.
    """
    path = Path(path)
    with explained("repair", path):
        try:
            descriptor = ops.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0)
        except FileNotFoundError:
            return None
        try:
            size_bytes = ops.size(descriptor)
            end = _end_of_last_line(ops, descriptor, size_bytes)
            if end == size_bytes:
                return None
            aside = _copy_aside(ops, path, descriptor, end)
            ops.truncate(descriptor, end)
            ops.sync(descriptor)
            return aside
        finally:
            ops.close(descriptor)


def _end_of_last_line(ops: FileOps, descriptor: int, size_bytes: int) -> int:
    stop = size_bytes
    while stop:
        start = max(0, stop - _BLOCK_BYTES)
        newline = ops.read(descriptor, stop - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        stop = start
    return 0


def _copy_aside(ops: FileOps, path: Path, source: int, offset: int) -> Path:
    aside, target = _open_aside(ops, path)
    try:
        try:
            while block := ops.read(source, _BLOCK_BYTES, offset):
                write_whole(ops, target, block)
                offset += len(block)
            ops.sync(target)
        finally:
            ops.close(target)
        ops.sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            ops.unlink(aside)
        raise
    return aside


def _open_aside(ops: FileOps, path: Path) -> tuple[Path, int]:
    def create(number: int) -> tuple[Path, int]:
        aside = path.with_name(f"{path.name}.torn-{number}")
        return aside, ops.open(aside, CREATE | os.O_EXCL, 0o600)

    return first_free(create)
