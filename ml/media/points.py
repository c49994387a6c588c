"""Turns point clouds into float32 (B, N, 3) with colours, subsampled the same way every time."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array

Points: TypeAlias = npt.NDArray[np.float32]
Colors: TypeAlias = npt.NDArray[np.uint8]
Indices: TypeAlias = npt.NDArray[np.intp]

_SEED = 0


def standardize_points(
    points: object, *, max_points: int = 1000, colors: object = None
) -> tuple[Points, Colors | None]:
    """Returns point clouds in the common format.

    Points with a coordinate that is NaN, infinite or beyond float32 are left out,
    with their colours. All clouds of a batch keep the number of points of the
    fullest; the others repeat points of their own.

    Args:
        points: Shape (N, 3), (3, N) or (B, N, 3); (N, 3) where two are possible.
        max_points: At least 1. Of more points this many are drawn, the same ones
            every time, by a generator of our own.
        colors: Shape (N, 3) or (B, N, 3), or (3, N) if the points are so: uint8 or other
            integers in [0, 255], or floats in [0, 1] (beyond: clipped; NaN: 0).
            (N, 3) holds for all clouds.

    Returns:
        Points, shape (B, N', 3), and uint8 colours of the same shape, or ``None``.

    Raises:
        LogValueError: A shape differs, a cloud holds no finite point, a colour is not
            in [0, 255], or ``max_points`` is below 1.
    """
    array = as_array(points)
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        clouds = _clouds(array).astype(np.float32)
    chosen = _chosen(clouds, max_points)
    picked = np.take_along_axis(clouds, chosen[:, :, np.newaxis], axis=1)
    if colors is None:
        return picked, None
    rgb = _colors(as_array(colors), array.shape, clouds.shape)
    return picked, np.take_along_axis(rgb, chosen[:, :, np.newaxis], axis=1)


def point_axis(shape: tuple[int, ...]) -> int:
    """Returns the axis along which points of this shape are counted; 0 where the shape is none of points."""
    return 1 if len(shape) == 3 or (len(shape) == 2 and shape[1] != 3 and shape[0] == 3) else 0


def point_indices(count: int, max_points: int) -> Indices:
    """Returns the indices of the points to show of ``count``, ascending, at random but the same every time.

    Raises:
        LogValueError: ``max_points`` is below 1.
    """
    if max_points < 1:
        raise LogValueError(f"at least 1 point is kept, got max_points={max_points}", "Raise max_points.")
    if count <= max_points:
        return np.arange(count)
    return np.sort(np.random.Generator(np.random.PCG64(_SEED)).choice(count, max_points, replace=False, shuffle=False))


def _clouds(array: Array) -> Array:
    """Returns a view of points of any accepted shape as (B, N, 3)."""
    shape = array.shape
    if array.size and array.ndim == 3 and shape[2] == 3:
        return array
    if array.size and array.ndim == 2 and shape[1] == 3:
        return array[np.newaxis]
    if array.size and array.ndim == 2 and shape[0] == 3:
        return array.T[np.newaxis]
    raise LogValueError(
        f"points have shape (N, 3), (3, N) or (B, N, 3) and there is at least one, got shape {shape}",
        "Put x, y and z last, and skip empty clouds.",
    )


def _chosen(clouds: Points, max_points: int) -> Indices:
    """Returns which points of each cloud to show, shape (B, N')."""
    finite = [np.flatnonzero(np.isfinite(cloud).all(axis=1)) for cloud in clouds]
    for index, found in enumerate(finite):
        if not found.size:
            problem = f"a cloud holds at least one finite point, got none of {clouds.shape[1]} in cloud {index}"
            raise LogValueError(problem, "Check what makes them NaN or infinite.")
    kept = [found[point_indices(len(found), max_points)] for found in finite]
    count = max(map(len, kept))
    return np.stack([np.resize(indices, count) for indices in kept])


def _colors(colors: Array, given_shape: tuple[int, ...], shape: tuple[int, ...]) -> Colors:
    """Returns colours as uint8 of the shape of the clouds."""
    if colors.shape == given_shape:
        colors = _clouds(colors)
    elif colors.shape != shape[1:]:
        problem = f"colours have shape {shape[1:]} as the points of a cloud, or {given_shape}, got shape {colors.shape}"
        raise LogValueError(problem, "Pass one colour a point: red, green and blue.")
    return np.broadcast_to(_as_uint8(colors), shape)


def _as_uint8(colors: Array) -> Colors:
    if colors.dtype.kind == "f":
        floats = np.nan_to_num(colors.astype(np.float64), nan=0.0)
        return (np.clip(floats, 0, 1) * 255 + 0.5).astype(np.uint8)
    low, high = int(np.min(colors)), int(np.max(colors))
    if colors.dtype.kind == "b" or low < 0 or high > 255:
        problem = f"colours are integers in [0, 255] or floats in [0, 1], got {colors.dtype} from {low} to {high}"
        raise LogValueError(problem, "Scale them to one of these.")
    return colors.astype(np.uint8)
