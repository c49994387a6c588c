r"""The first rows of a table as Markdown, for people to look at.

::

    | label | score | note |
    |---:|---:|:---|
    | 3 | 0.9871 | |
    | 5 | NaN | a &#124; b |

    2 of 12,000 rows

Nothing that a cell holds is taken for Markdown or HTML, and no control character or mark that reorders text is left.
"""

from datetime import datetime

from ml.loggers.lines import number, visible
from ml.media.table import Cell, Column, TableData

MAX_ROWS = 50
MAX_COLUMNS = 30
MAX_CELL_LENGTH = 100

_NUMBERS = {"integer", "number"}
_PRECISION = 6  # significant digits
_MEANS_NOTHING = set(" ,-.+%()")  # in a cell, in Markdown and in HTML


def markdown(table: TableData) -> str:
    """Returns the first 50 rows of the first 30 columns; what is left out is said below. Long cells are cut."""
    columns = table.columns[:MAX_COLUMNS]
    count = min(len(table), MAX_ROWS)
    rows = [[_shown(column, row) for column in columns] for row in range(count)]
    head = [_escaped(column.name) or "&nbsp;" for column in columns]
    rule = ["---:" if column.kind in _NUMBERS else ":---" for column in columns]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    left_out = []
    if count < table.total_rows:
        left_out.append(f"{count:,} of {table.total_rows:,} rows")
    if len(columns) < len(table.columns):
        left_out.append(f"{len(columns)} of {len(table.columns)} columns")
    return "\n".join([*lines, *(["", ", ".join(left_out)] if left_out else [])])


def _shown(column: Column, row: int) -> str:
    cell = column.cells[row]
    return "" if cell is None else _escaped(_plain(cell))


def _plain(cell: Cell) -> str:
    if isinstance(cell, bool | str | list):
        return str(cell)
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float):
        return number(cell, _PRECISION) if cell - cell == 0 else str(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ", timespec="seconds")
    assert cell is not None, "what holds nothing is not shown"
    _, height, width = cell.shape
    return f"{width} x {height} px"


def _escaped(text: str) -> str:
    text = visible(text[: MAX_CELL_LENGTH + 1])
    if len(text) > MAX_CELL_LENGTH:
        text = f"{text[: MAX_CELL_LENGTH - 1]}…"
    return "".join(character if _is_plain(character) else f"&#{ord(character)};" for character in text)


def _is_plain(character: str) -> bool:
    return character.isalnum() or not character.isascii() or character in _MEANS_NOTHING
