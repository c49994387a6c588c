"""A table of a page: it is sorted by a click on a header, filtered by words, and by the values of chosen columns."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ml.loggers.lines import number
from ml.report.html import Html, escaped, tag
from ml.report.stages import attributes_of

Plain = str | float | int | None
"""A text, ``Html`` (a thumbnail), a number, or ``None`` where there is nothing."""


class Staged(NamedTuple):
    """A cell that changes with the stage of the page; see ``ml.report.stages``.

    Attributes:
        cells: One a stage.
    """

    cells: Sequence[Plain]


Cell = Plain | Staged

_PRECISION = 4
_LONGEST_WORD = 40  # that is never broken
_LONGEST_LINE = 60  # that may be broken into many


class Column(NamedTuple):
    """A column.

    Attributes:
        header: Its name, with the unit of its numbers.
        cells: One for each row.
        is_number: Whether they are numbers, which end under each other and are sorted by value; ``None`` and NaN come
            last. A number in another column is shown as text is.
        mark: Whether what stands here should be noticed: an error, for example.
        is_choice: Whether a list of its values is offered, to show the rows with one of them alone.
    """

    header: str
    cells: Sequence[Cell]
    is_number: bool = False
    mark: bool = False
    is_choice: bool = False


def table(columns: Sequence[Column], *, caption: str = "") -> Html:
    """Returns a table.

    Args:
        columns: All with as many cells.
        caption: Above it; ``""`` is none.
    """
    rows = [[_cell(column, cell) for column, cell in pairs] for pairs in _rows(columns)]
    return tag("div", {"class": "scroll"}, _table("sortable", columns, rows, caption))


def cards(columns: Sequence[Column], *, caption: str = "") -> Html:
    """Returns a table whose rows stand beside and below each other, as pictures with their captions do.

    It is sorted and filtered as any other. The cells of a row stand below each other, with the names of their columns;
    what is empty takes no room.

    Args:
        columns: All with as many cells. One without a header holds pictures: its cells are shown alone.
        caption: Above it; ``""`` is none.
    """
    rows = [[_cell(column, cell, head=column.header or None) for column, cell in pairs] for pairs in _rows(columns)]
    return tag("div", {}, _table("sortable cards", columns, rows, caption))


def shown_number(value: float | None) -> str:
    """Returns a number in four significant digits, a whole one in full, ``None`` as nothing."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if value % 1 == 0 and abs(value) < 10**9:
        return str(int(value))
    return number(value, _PRECISION)


def _rows(columns: Sequence[Column]) -> Iterator[list[tuple[Column, Cell]]]:
    for row in zip(*(column.cells for column in columns), strict=True):
        yield list(zip(columns, row, strict=True))


def _table(kind: str, columns: Sequence[Column], rows: Sequence[Sequence[Html]], caption: str) -> Html:
    head = tag("tr", {}, *(tag("th", {"class": _kind(column), "scope": "col"}, column.header) for column in columns))
    return tag(
        "table",
        {"class": kind},
        tag("caption", {}, caption) if caption else "",
        tag("thead", {}, head),
        tag("tbody", {}, *(tag("tr", {}, *row) for row in rows)),
    )


def _cell(column: Column, cell: Cell, *, head: str | None = None) -> Html:
    if isinstance(cell, Staged):
        count = len(cell.cells)
        spans = [
            tag("span", {**attributes_of(stage, count), **_value(column, plain)}, _shown(column, plain))
            for stage, plain in enumerate(cell.cells)
        ]
        return tag("td", {"class": "number" if column.is_number else None, "data-head": head}, *spans)
    shown = _shown(column, cell)
    if column.is_number and not isinstance(cell, str):
        return tag("td", {"class": "number", **_value(column, cell), "data-head": head}, shown)
    text = "" if isinstance(cell, Html) else shown  # of a picture no word is long
    return tag("td", {"class": _kind_of_text(text, is_marked=column.mark), "data-head": head}, shown)


def _shown(column: Column, cell: Plain) -> Html:
    if column.is_number and not isinstance(cell, str):
        return escaped(shown_number(cell))
    return escaped("" if cell is None else cell)


def _value(column: Column, cell: Plain) -> dict[str, object]:
    """Returns what a cell is sorted by."""
    if not column.is_number or cell is None or isinstance(cell, str) or math.isnan(cell):
        return {}
    return {"data-value": repr(float(cell)).replace("inf", "Infinity")}


def _kind_of_text(text: str, *, is_marked: bool) -> str | None:
    has_long_word = len(text) > _LONGEST_WORD and max(map(len, text.split())) > _LONGEST_WORD
    kinds = {"mark": is_marked, "long": has_long_word, "wide": len(text) > _LONGEST_LINE}
    return " ".join(kind for kind, holds in kinds.items() if holds) or None


def _kind(column: Column) -> str | None:
    kinds = {"number": column.is_number, "choice": column.is_choice}
    return " ".join(kind for kind, holds in kinds.items() if holds) or None
