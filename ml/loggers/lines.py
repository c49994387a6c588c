r"""One write as one line of text, for the terminal and for ``stdout.log``.

Lines look like this; the values of a key stand under each other, and texts are
quoted, so nothing that is logged can pass for another value or another line. A
value of another step than that of the line says of which::

    train  step   1  epoch 0  0:00:00  task/loss 2.302   task/samples  64
    train  step 128  epoch 2  0:00:12  task/loss 0.2531  task/samples 128  task/note "a\nb" @100
"""

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from ml.core.state import Phase, State

# Control characters, line breaks of Unicode, marks that reorder text, and lone surrogates, which no encoding has.
_HIDDEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
_NOT_SHOWN = re.compile(f"[{_HIDDEN}]")
_NOT_QUOTED = re.compile(f'[{_HIDDEN}"\\\\]')
# A match over a whole long text would keep the interpreter's lock from the training thread.
_CHUNK_LENGTH = 1 << 16
_MAX_EXACT = 10**19
_MAX_COLUMNS = 1000
_MIN_FIXED, _MAX_FIXED = -3, 6


class Logged(NamedTuple):
    """A number or a text, its tag ``<namespace>/<key>``, and the step that it is of."""

    step: int
    tag: str
    value: int | float | str


class Cell(NamedTuple):
    """One value of a line: its tag, its text, and a mark where it is of another step than the line."""

    tag: str
    text: str
    kind: Literal["number", "non-finite", "string"]
    mark: str = ""


class Line(NamedTuple):
    """One write, in text that is safe to print."""

    phase: Phase
    step: str
    epoch: str
    elapsed: str
    cells: list[Cell]

    def __str__(self) -> str:
        head = f"{self.phase:5}  step {self.step}  epoch {self.epoch}  {self.elapsed}"
        return "  ".join([head, *(f"{cell.tag} {cell.text}{cell.mark}" for cell in self.cells)]).rstrip()

    def shortened(self, max_string_length: int) -> "Line":
        """Returns the line with long strings cut; each says how long it was."""
        return self._replace(cells=[_cut(cell, max_string_length) for cell in self.cells])


class LineFormat:
    """Turns values into lines whose columns stay where they are from line to line.

    Args:
        precision: Significant digits of a number that is not a whole one.
        step_width: Digits that steps are known to need.
    """

    def __init__(self, *, precision: int, step_width: int = 1) -> None:
        self._precision = precision
        self._step_width = step_width
        self._widths: dict[Phase, dict[str, int]] = {}

    def line(self, state: State, values: Iterable[Logged]) -> Line:
        """Returns the line of one write: the latest number of each key, in the order in which they came, then texts."""
        numbers: dict[str, int | float] = {}
        number_cells: dict[str, Cell] = {}
        string_cells: list[Cell] = []
        for step, tag, value in values:
            mark = "" if step == state.num_steps else f" @{step}"
            if isinstance(value, str):
                string_cells.append(Cell(visible(tag), quoted(value), "string", mark))
            else:
                numbers[tag] = value
                number_cells[tag] = Cell(tag, *self._number(value), mark)
        self._step_width = max(self._step_width, len(str(state.num_steps)))
        return Line(
            phase=state.phase,
            step=f"{state.num_steps:>{self._step_width}}",
            epoch=str(state.num_epochs),
            elapsed=duration(state.elapsed_time_s),
            cells=[*self._aligned(state.phase, list(number_cells.values()), numbers), *string_cells],
        )

    def _number(self, value: int | float) -> tuple[str, Literal["number", "non-finite"]]:
        if not isinstance(value, int) and not math.isfinite(value):
            return str(float(value)), "non-finite"
        return number(value, self._precision), "number"

    def _aligned(self, phase: Phase, cells: list[Cell], numbers: Mapping[str, int | float]) -> list[Cell]:
        known = self._widths.get(phase, {})
        widths = {cell.tag: max(known.get(cell.tag, 0), len(cell.text) + len(cell.mark)) for cell in cells}
        merged = {**known, **widths}
        self._widths[phase] = merged if len(merged) <= _MAX_COLUMNS else widths
        order = {tag: place for place, tag in enumerate(merged)}
        aligned = []
        for cell in sorted(cells, key=lambda cell: order[cell.tag]):
            # Whole numbers end under each other; others begin there, so that decimal points do.
            side = ">" if isinstance(numbers[cell.tag], int) else "<"
            text = f"{cell.text:{side}{widths[cell.tag] - len(cell.mark)}}"
            aligned.append(cell._replace(tag=visible(cell.tag), text=text))
        return aligned


def number(value: int | float, precision: int) -> str:
    """Returns a finite number with ``precision`` significant digits; a whole number below 10^19 exactly."""
    if isinstance(value, int):
        # Decimal, since Python writes no whole number of more than 4,300 digits, and floats end at 1e308.
        return str(int(value)) if abs(value) < _MAX_EXACT else f"{Decimal(value):.{precision - 1}e}"
    scientific = f"{value:.{precision - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if _MIN_FIXED <= exponent <= _MAX_FIXED:
        return f"{value:.{max(0, precision - 1 - exponent)}f}"
    return scientific


def duration(seconds: float) -> str:
    """Returns ``h:mm:ss``; hours count on past a day."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def visible(text: str) -> str:
    """Returns ``text`` with everything that would not be seen, or would move or colour the rest, as an escape."""
    return _escaped(text, _NOT_SHOWN)


def quoted(text: str) -> str:
    """Returns ``text`` in double quotes: visible, its own quotes and backslashes escaped."""
    return f'"{_escaped(text, _NOT_QUOTED)}"'


def _escaped(text: str, unsafe: re.Pattern[str]) -> str:
    chunks = (text[start : start + _CHUNK_LENGTH] for start in range(0, len(text), _CHUNK_LENGTH))
    return "".join(unsafe.sub(_escape, chunk) for chunk in chunks)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return '\\"' if character == '"' else character.encode("unicode_escape").decode("ascii")


def _cut(cell: Cell, max_length: int) -> Cell:
    if cell.kind != "string" or len(cell.text) <= max_length + len('""'):
        return cell
    return cell._replace(text=f'{cell.text[: max_length + 1]}…" ({len(cell.text) - 2:,} characters)')
