"""Standard output as a command uses it: tables, colours where they are wanted, and nothing that could do harm.

What comes from a run, a key or a text, is made visible before it is printed: a
control character or a mark that reorders text becomes an escape. Characters that
the stream's encoding lacks become escapes too.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.text import Text

_WIDTH_ELSEWHERE = 200  # columns of what is no terminal
_ELLIPSIS, _ASCII_ELLIPSIS = "…", "..."


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        header: Its name; a second line stands under it.
        cells: One for each row, as they are shown.
        is_number: Whether cells end under each other.
        style: Of its cells, as rich has it.
    """

    header: str
    cells: Sequence[str]
    is_number: bool = False
    style: str = ""

    @property
    def width(self) -> int:
        """Columns of the terminal that it takes."""
        from rich.cells import cell_len

        return max(cell_len(text) for text in (*self.header.split("\n"), *self.cells))


class Output:
    """Where a command prints.

    Args:
        stream: Standard output; ``None`` where the process has none.

    Attributes:
        has_unicode: Whether its encoding has the characters that a table or a curve uses.
        ellipsis: Stands where a text was cut.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        encoding = getattr(stream, "encoding", None) or "ascii"
        self._encoding = encoding
        try:
            "…▁█".encode(encoding)
            self.has_unicode = True
        except (UnicodeEncodeError, LookupError):
            self.has_unicode = False
        self.ellipsis = _ELLIPSIS if self.has_unicode else _ASCII_ELLIPSIS

    @property
    def width(self) -> int:
        """Columns that a line may take."""
        return shutil.get_terminal_size((_WIDTH_ELSEWHERE, 24)).columns if self.is_terminal else _WIDTH_ELSEWHERE

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it."""
        return self._stream is not None and self._stream.isatty()

    def line(self, text: str = "", *, style: str = "") -> None:
        """Prints a line as it is; what comes from a run in it has been made ``printable``.

        Args:
            text: Without its end.
            style: As rich has it; shown on a terminal.
        """
        if not style:
            self.write(f"{text}\n")
            return
        from rich.text import Text

        self._render(Text(text, style=style))

    def table(
        self, columns: Sequence[Column], *, styles: "Sequence[Sequence[str]] | None" = None, indent: int = 0
    ) -> None:
        """Prints columns beside each other, each as wide as it needs to be.

        Args:
            columns: All with as many cells.
            styles: By column, a style for each cell, where cells of a column differ.
            indent: Blank columns before the first.
        """
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_header=True)
        for column in columns:
            table.add_column(
                Text(column.header),
                justify="right" if column.is_number else "left",
                style=column.style or None,
                vertical="bottom",
                no_wrap=True,
                min_width=column.width,
            )
        for row in range(len(columns[0].cells)):
            cells = (
                Text(column.cells[row], style=styles[number][row] if styles and styles[number] else "")
                for number, column in enumerate(columns)
            )
            table.add_row(*cells)
        self._render(table, indent=indent)

    def json(self, value: object) -> None:
        """Prints a value as strict JSON, in ASCII."""
        self.write(json.dumps(value, indent=2, allow_nan=False) + "\n")

    def shortened(self, text: str, width: int) -> str:
        """Returns ``text``, cut where it is longer than ``width`` characters."""
        return text if len(text) <= width else text[: width - len(self.ellipsis)] + self.ellipsis

    def write(self, text: str) -> None:
        """Prints text as it is, but for characters that the encoding lacks."""
        if self._stream is not None:
            self._stream.write(text.encode(self._encoding, "backslashreplace").decode(self._encoding))

    def flush(self) -> None:
        """Hands everything to whoever reads it.

        Raises:
            BrokenPipeError: Nobody does any more.
        """
        if self._stream is not None:
            self._stream.flush()

    def abandon(self) -> None:
        """Has the interpreter find nothing to flush when it ends."""
        if self._stream is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _render(self, renderable: "Text | object", *, indent: int = 0) -> None:
        from rich.console import Console

        console = Console(
            file=self._stream or sys.stderr,
            width=max(self.width, 10_000),  # what is too wide was left out before
            color_system=None if os.environ.get("NO_COLOR") else "auto",
            highlight=False,
            markup=False,
            emoji=False,
            force_jupyter=False,
        )
        with console.capture() as capture:
            console.print(renderable)
        for line in capture.get().splitlines():
            self.write(" " * indent + line.rstrip() + "\n")


def printable(text: object) -> str:
    """Returns a text of a run so that it is safe to print, on one line."""
    from ml.loggers.lines import visible  # slow to import, and --help prints nothing of a run

    return visible(str(text))
