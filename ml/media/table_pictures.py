"""The pictures of a column of a table: uint8, small, and comparable with each other."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from ml.media.arrays import Array
from ml.media.grid import MAX_CELL_AREA_PX, image_grid, to_uint8_together
from ml.media.image import Pixels, channels_first, resize

if TYPE_CHECKING:
    from ml.media.table import Column

MAX_GRID_PICTURES = 64


def pictures_of(cells: Sequence[object], rest: Callable[[], None]) -> list[Pixels | None]:
    """Returns pictures in the common format, at most 256 x 256 pixels in area; smaller ones stay as they are.

    Args:
        cells: Shape (H, W), (C, H, W) or (H, W, C) each, or ``None``.
        rest: Called after every picture.

    Returns:
        Shape (C, H, W) each. Values of one dtype share one range, so pictures can be compared.
    """
    arrays = [channels_first(cast(Array, cell)) for cell in cells if cell is not None]
    pixels = iter(to_uint8_together(arrays))
    made: list[Pixels | None] = []
    for cell in cells:
        made.append(None if cell is None else small(next(pixels)))
        rest()
    return made


def small(pixels: Pixels) -> Pixels:
    """Returns a picture, shape (C, H, W), shrunk to 256 x 256 pixels in area if it is larger."""
    height, width = pixels.shape[-2:]
    return resize(pixels, max_area_px=MAX_CELL_AREA_PX) if height * width > MAX_CELL_AREA_PX else pixels


def picture_grid(columns: Sequence["Column"]) -> Pixels | None:
    """Returns the first 64 pictures of the first column that has any, on one grid; ``None`` where there are none."""
    for column in columns:
        if column.kind == "image":
            pictures = [cell for cell in column.cells if cell is not None][:MAX_GRID_PICTURES]
            if pictures:
                return image_grid(pictures)
    return None
