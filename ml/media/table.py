"""A small table in its common format: named columns of one kind each, pictures as uint8.

What a table is made of is up to whoever has one: ``TableLike`` is all that is asked. Whatever the cells are, they
become numbers, texts, truth values, times, small arrays or pictures, the same in every cell of a column.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeAlias, cast

import numpy as np

from ml.core.errors import LogValueError
from ml.media.image import Pixels
from ml.media.table_boxes import CellBoxes, boxes_of_pictures
from ml.media.table_cells import MAX_TABLE_BYTES, CellKind, kinds_and_cells, no_rest, one_kind, refuse_table
from ml.media.table_pictures import Decoded, pictures_of, shown_sizes_px

_NUMBER_CHARACTERS = 24  # that a number takes as text, at most about

Cell: TypeAlias = bool | int | float | str | datetime | list[object] | Pixels | None


class TableLike(Protocol):
    """What gives its rows in batches. If it has a length, that is how many rows there are."""

    @property
    def column_names(self) -> Sequence[str]:
        """The columns, in their order."""

    def iter_batches(self) -> Iterator[Mapping[str, Sequence[object]]]:
        """Yields the rows in their order, some at a time: for each column as many cells."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table.

    Attributes:
        name: What it is called.
        kind: What every cell of it is that is not ``None``.
        cells: By row. An ``integer`` is within 2^53 of 0, a ``number`` may be NaN or infinite, a ``timestamp`` is a
            ``datetime``, all of a column with a time zone or all without; an ``array`` is numbers in nested lists,
            an ``image`` is uint8 (C, H, W) of at most 256 x 256 pixels.
        boxes: By row: what is drawn on a picture where pictures are shown; the cells are without. Files do not keep it.
    """

    name: str
    kind: CellKind
    cells: Sequence[Cell]
    boxes: Mapping[int, Sequence[CellBoxes]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TableData:
    """A table in its common format, which is a ``TableLike`` itself.

    Attributes:
        columns: At least one, no two of one name, all of one length.
        total_rows: How many rows there were; the first of them are here.
    """

    columns: tuple[Column, ...]
    total_rows: int

    def __len__(self) -> int:
        return len(self.columns[0].cells)

    @property
    def column_names(self) -> list[str]:
        """The columns, in their order."""
        return [column.name for column in self.columns]

    def iter_batches(self) -> Iterator[Mapping[str, Sequence[Cell]]]:
        """Yields all rows at once."""
        yield {column.name: column.cells for column in self.columns}


def standardize_table(
    columns: Mapping[str, Sequence[object] | np.ndarray], *, total_rows: int, rest: Callable[[], None] = no_rest
) -> TableData:
    """Returns a table in its common format.

    A cell is a number, a text, a truth value, ``None``, a time, or what ``as_array`` takes: an array of two axes of at
    least 8 each, one with a channel axis, a PIL image, and whatever has a method ``array()`` that gives one is a
    picture; any other array is kept as numbers, in up to 4,096 elements. What is none of these is its text. Where
    integers and floats meet they are numbers, where other kinds meet they are texts, as are integers beyond 2^53,
    which few programs read exactly. A picture above 256 x 256 pixels is shrunk; floats of a column share one range.
    Boxes are texts; those that belong to a picture, as ``ml.media.table_boxes`` says, are kept beside it, too.

    Args:
        columns: By name, each with as many cells. An array has them along its first axis.
        total_rows: How many rows there were.
        rest: Called every few hundred cells, so that other threads go on.

    Raises:
        LogValueError: An array is too long or a picture has no pixels, a column holds pictures and other things, or
            the cells take more than 64 MiB.
    """
    made, size_bytes, sizes_px = [], 0, {}
    for name, values in columns.items():
        try:
            kind, cells = one_kind(*kinds_and_cells(values, rest))
            if kind == "image":
                decoded = cast(list[Decoded | None], cells)
                sizes_px[name], cells = shown_sizes_px(decoded), list[object](pictures_of(decoded, rest))
            column = Column(name, kind, cast(list[Cell], cells))
            size_bytes += _size_bytes(column)
            if size_bytes > MAX_TABLE_BYTES:
                refuse_table()
        except LogValueError as error:
            raise LogValueError(f"column {name!r}: {error.problem}", error.fix) from error
        made.append(column)
    maybe = {column.name: columns[column.name] for column in made if column.kind in ("image", "string")}
    boxes = boxes_of_pictures(maybe, sizes_px, rest)
    return TableData(tuple(replace(one, boxes=boxes.get(one.name, {})) for one in made), total_rows)


def _size_bytes(column: Column) -> int:
    cells = column.cells
    if column.kind == "string":
        return sum(len(cell) for cell in cells if isinstance(cell, str))
    if column.kind == "image":
        return sum(cell.nbytes for cell in cells if isinstance(cell, np.ndarray))
    if column.kind == "array":
        return _NUMBER_CHARACTERS * sum(map(_elements, cells))
    return _NUMBER_CHARACTERS * len(cells)


def _elements(cell: object) -> int:
    """Returns how many numbers there are in nested lists, of which those of one level are of one length."""
    count = 1
    while isinstance(cell, list):
        count *= len(cell)
        cell = cell[0] if cell else None
    return count
