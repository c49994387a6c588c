"""The lines of tables that anybody may have written, of which none is held that is too long."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ml.core.errors import FormatError
from ml.io.regular import open_regular
from ml.io.segments import segments


class RowLines:
    """The lines of a table; a row that is too long is a ``FormatError``, and the next line goes on behind it.

    Args:
        file: Opened so that line breaks stay as they are.
        max_characters: Of the lines of a row.
    """

    def __init__(self, file: TextIO, max_characters: int) -> None:
        self._file, self._max_characters = file, max_characters
        self._held = 0

    def begin_row(self) -> None:
        """Says that what was read before is not held any longer."""
        self._held = 0

    def __iter__(self) -> "RowLines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._max_characters)
        if not line:
            raise StopIteration
        self._held += len(line)
        if self._held < self._max_characters:
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(self._max_characters)
        raise FormatError(f"it is too long: it has more than {self._max_characters} characters")


def lines_of(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yields what ``ml.io.segments.whole_lines`` does; of a line that is too long so much that it is seen to be.

    Args:
        path: The first file of the log.
        max_bytes: Of a line; one byte more is yielded of a longer one.

    Raises:
        OSError: A file cannot be read.
        FormatError: What is in its place is no file.
    """
    for segment in segments(path):
        left = segment.size_bytes
        with open_regular(segment.path) as file:
            while start := file.readline(max_bytes):
                line, size = start, len(start)
                while line and not line.endswith(b"\n"):
                    line = file.readline(max_bytes)
                    size += len(line)
                if left is not None:
                    left -= size
                    if left < 0:
                        break
                if line:
                    yield start if size == len(start) else start + b"\n"
