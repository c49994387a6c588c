"""The pictures of a column of a table: uint8, small, and comparable with each other."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.media.arrays import Array
from ml.media.boxes import draw_boxes
from ml.media.grid import MAX_CELL_AREA_PX, image_grid, to_uint8_together
from ml.media.image import Pixels, resize
from ml.media.table_boxes import CellBoxes

if TYPE_CHECKING:
    from ml.media.table import Column

MAX_GRID_PICTURES = 64


class Decoded(NamedTuple):
    """A picture as it was found in a cell.

    Attributes:
        pixels: Shape (C, H, W) of any dtype; if uint8, already small.
        size_px: The height and width that it had.
    """

    pixels: Array
    size_px: tuple[int, int]


def pictures_of(cells: Sequence[Decoded | None], rest: Callable[[], None]) -> list[Pixels | None]:
    """Returns pictures in the common format, at most 256 x 256 pixels in area; smaller ones stay as they are.

    Args:
        cells: The pictures.
        rest: Called after every picture.

    Returns:
        Shape (C, H, W) each. Values of one dtype share one range, so pictures can be compared.
    """
    pixels = iter(to_uint8_together([cell.pixels for cell in cells if cell is not None]))
    made: list[Pixels | None] = []
    for cell in cells:
        made.append(None if cell is None else small(next(pixels)))
        rest()
    return made


def small(pixels: Pixels) -> Pixels:
    """Returns a picture, shape (C, H, W), shrunk to 256 x 256 pixels in area if it is larger."""
    height, width = pixels.shape[-2:]
    return resize(pixels, max_area_px=MAX_CELL_AREA_PX) if height * width > MAX_CELL_AREA_PX else pixels


def shown_sizes_px(cells: Sequence[Decoded | None]) -> dict[int, tuple[int, int]]:
    """Returns the height and width of the pictures that a grid shows, by row."""
    found = ((row, cell.size_px) for row, cell in enumerate(cells) if cell is not None)
    return dict(islice(found, MAX_GRID_PICTURES))


def picture_grid(columns: Sequence["Column"]) -> Pixels | None:
    """Returns the first 64 pictures of the first column that has any, with their boxes, on one grid.

    Where there are none it is ``None``.
    """
    for column in columns:
        if column.kind == "image":
            pictures = [(row, cell) for row, cell in enumerate(column.cells) if isinstance(cell, np.ndarray)]
            if pictures:
                return image_grid(
                    [_drawn(cell, column.boxes.get(row, ())) for row, cell in pictures[:MAX_GRID_PICTURES]]
                )
    return None


def _drawn(picture: Pixels, boxes: Sequence[CellBoxes]) -> Pixels:
    if not boxes:
        return picture
    picture = resize(picture, max_area_px=MAX_CELL_AREA_PX)  # as the grid has it, so that lines stay sharp
    for some in boxes:
        picture = draw_boxes(picture, some.corners, source_size_px=(1, 1), labels=some.labels, scores=some.scores)
    return picture
