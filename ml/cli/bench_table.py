"""A table of ``mlog bench`` as text, as CSV, or as JSON: the same numbers in each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ml.benchmarks.export import csv_lines, json_value
from ml.cli.numbers import compact
from ml.cli.output import Column, Output, printable


class Field(NamedTuple):
    """A column.

    Attributes:
        name: In CSV and JSON.
        header: In text; ``""``: it is not shown there.
        is_number: Whether its cells are numbers.
    """

    name: str
    header: str
    is_number: bool = False


def write_table(fields: Sequence[Field], rows: Sequence[Mapping[str, object]], to: str, output: Output) -> None:
    """Prints rows.

    Args:
        fields: From left to right.
        rows: Each with all fields.
        to: ``text``, ``csv`` or ``json``.
        output: Where they go.
    """
    if to == "json":
        output.json([{field.name: json_value(row[field.name]) for field in fields} for row in rows])
    elif to == "csv":
        write_lines(csv_lines([field.name for field in fields], rows), output)
    elif rows:
        shown = [field for field in fields if field.header]
        cells = {field.name: [_text(row[field.name]) for row in rows] for field in shown}
        used = [field for field in shown if any(text != "-" for text in cells[field.name])]
        output.table([Column(field.header, cells[field.name], field.is_number) for field in used])


def write_lines(lines: Iterable[str], output: Output) -> None:
    """Prints lines that programs read: as they are, unless a terminal shows them."""
    for line in lines:
        output.write(printable(line.rstrip("\n")) + "\n" if output.is_terminal else line)


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float | int) and not isinstance(value, bool):
        return compact(value)
    return printable(value)
