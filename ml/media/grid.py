"""Lays a batch of images out as one picture."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array
from ml.media.image import CHANNELS, Pixels, ScalarT, channels_first, resize, to_uint8
from ml.media.text import add_label

MAX_CELL_AREA_PX = 256 * 256


def tile(images: npt.NDArray[ScalarT], *, gap_px: int = 0) -> npt.NDArray[ScalarT]:
    """Lays images out in reading order on the most nearly square grid.

    Args:
        images: Shape (B, C, H, W), B >= 1, any dtype; C is 1 (gray), 3 (RGB) or 4 (RGBA).
        gap_px: Blank pixels between neighbours, filled with zeros.

    Returns:
        Shape (C, R * H + (R - 1) * gap_px, K * W + (K - 1) * gap_px), same dtype,
        where K = ceil(sqrt(B)) columns and R = ceil(B / K) rows. Cells after the
        last image are zeros.

    Raises:
        LogValueError: ``images`` is not 4-dimensional, is empty, or C is not 1, 3 or 4;
            or ``gap_px`` is negative.
    """
    if images.ndim != 4 or images.size == 0 or images.shape[1] not in CHANNELS:
        raise LogValueError(
            f"a batch of images has shape (B, C, H, W) with 1, 3 or 4 channels, got shape {images.shape}",
            "Stack the images, channels first.",
        )
    if gap_px < 0:
        raise LogValueError(f"images are 0 or more pixels apart, got {gap_px}", "Pass a gap of 0 or more.")
    count, channels, height, width = images.shape
    columns = math.isqrt(count - 1) + 1  # ceil(sqrt(count))
    rows = -(-count // columns)
    # Every cell with the gap on its right and below it; what is beyond the last cells is cut off.
    grid = np.zeros((channels, rows, height + gap_px, columns, width + gap_px), images.dtype)
    for index, image in enumerate(images):
        grid[:, index // columns, :height, index % columns, :width] = image
    flat = grid.reshape(channels, rows * (height + gap_px), columns * (width + gap_px))
    return np.ascontiguousarray(flat[:, : flat.shape[1] - gap_px, : flat.shape[2] - gap_px])


def image_grid(
    images: Array | Sequence[object],
    *,
    texts: Sequence[str] | None = None,
    keep_resolution: bool = False,
    sep: int = 0,
    max_line_length: int | None = None,
    centered: bool = True,
) -> Pixels:
    """Lays images out on a grid, each with its label.

    Values become pixels as ``ml.media.image.to_uint8`` says, over all images of one
    dtype together, so that they stay comparable. Cells are shrunk to at most 256 x 256
    pixels of area, or enlarged, as a single image is. Images of several sizes are
    centred on cells of one size, on zeros; with gray and colour mixed all become
    colour, with any alpha all get alpha.

    Args:
        images: Shape (B, H, W), (B, C, H, W) or (B, H, W, C), C being 1, 3 or 4, or a
            sequence of images of any shape and size that a single image may have.
        texts: B labels.
        keep_resolution: Neither shrink nor enlarge.
        sep: Pixels between neighbours.
        max_line_length: Of the labels, in characters; the default fits a cell.
        centered: Centre the labels rather than start them at the left.

    Returns:
        Shape (C, H', W'), see ``tile``.

    Raises:
        LogValueError: There are no images, one has no such shape, or the number of labels differs.
    """
    cells = _cells(images)
    if texts is not None and len(texts) != len(cells):
        problem = f"every image has one label, got {len(texts)} labels for {len(cells)} images"
        raise LogValueError(problem, "Pass one an image.")
    if not keep_resolution:
        cells = [resize(cell, max_area_px=MAX_CELL_AREA_PX) for cell in cells]
    cells = _one_size(_one_mode(cells), align_top=False)
    if texts is not None:
        labeled = [
            add_label(cell, text, max_line_length=max_line_length, centered=centered)
            for cell, text in zip(cells, texts, strict=True)
        ]
        cells = _one_size(labeled, align_top=True)
    return tile(np.stack(cells), gap_px=sep)


def _cells(images: Array | Sequence[object]) -> list[Pixels]:
    """Returns each image as uint8 (C, H, W), at its own size."""
    if isinstance(images, np.ndarray):
        if images.ndim not in (3, 4) or images.size == 0:
            raise LogValueError(
                f"a batch of images has shape (B, H, W), (B, C, H, W) or (B, H, W, C), got shape {images.shape}",
                "Log a single image with log_image, and skip empty batches.",
            )
        return [channels_first(image) for image in to_uint8(as_array(images))]
    arrays = [channels_first(as_array(image)) for image in images]
    if not arrays:
        raise LogValueError("a batch of images holds at least one, got 0", "Skip empty batches.")
    return to_uint8_together(arrays)


def to_uint8_together(arrays: Sequence[Array]) -> list[Pixels]:
    """Returns all as uint8, with one range for those of one dtype."""
    together: dict[np.dtype[np.generic], list[int]] = {}
    for index, array in enumerate(arrays):
        together.setdefault(array.dtype, []).append(index)
    pixels: dict[int, Pixels] = {}
    for indices in together.values():
        flat = to_uint8(np.concatenate([arrays[index].reshape(-1) for index in indices]))
        ends = np.cumsum([arrays[index].size for index in indices])
        for index, part in zip(indices, np.split(flat, ends[:-1]), strict=True):
            pixels[index] = part.reshape(arrays[index].shape)
    return [pixels[index] for index in range(len(arrays))]


def _one_mode(cells: Sequence[Pixels]) -> list[Pixels]:
    """Returns gray cells as RGB, and opaque ones with alpha, where others are."""
    channels = max(len(cell) for cell in cells)
    unified = []
    for cell in cells:
        if len(cell) == 1 < channels:
            cell = np.repeat(cell, 3, axis=0)
        if len(cell) == 3 < channels:
            cell = np.concatenate([cell, np.full_like(cell[:1], 255)])
        unified.append(cell)
    return unified


def _one_size(cells: Sequence[Pixels], *, align_top: bool) -> list[Pixels]:
    """Returns all cells at the size of the largest, on zeros."""
    height, width = max(cell.shape[1] for cell in cells), max(cell.shape[2] for cell in cells)
    padded = []
    for cell in cells:
        blank = np.zeros((len(cell), height, width), np.uint8)
        top, left = 0 if align_top else (height - cell.shape[1]) // 2, (width - cell.shape[2]) // 2
        blank[:, top : top + cell.shape[1], left : left + cell.shape[2]] = cell
        padded.append(blank)
    return padded
