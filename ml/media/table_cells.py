"""What the cells of a table are: one by one, and what the column is that holds them."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from numbers import Real
from typing import Literal, NoReturn, cast

import numpy as np

from ml.core.errors import LogValueError
from ml.media.arrays import Array, as_array
from ml.media.image import CHANNELS, Pixels, channels_first
from ml.media.table_pictures import Decoded, small

CellKind = Literal["integer", "number", "string", "boolean", "timestamp", "array", "image"]

MAX_ARRAY_ELEMENTS = 4096
MAX_TABLE_BYTES = 64 * 2**20
"""What the cells of a table may take, as text and as pixels."""

_MIN_PICTURE_PX = 8  # of an array of two axes; a smaller one is a matrix, as boxes (N, 4) are
_MAX_EXACT = 2**53
_CELLS_AT_ONCE = 256
_CHANNELS = frozenset(CHANNELS)
_PLAIN: dict[type, CellKind] = {bool: "boolean", int: "integer", float: "number"}
_OF_DTYPE: dict[str, CellKind] = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}
_NOTHING = {"NAType", "NaTType"}  # of pandas

Found = tuple[CellKind, object]


def no_rest() -> None:
    """Does not rest."""


def refuse_table() -> NoReturn:
    """Raises ``LogValueError``: the cells take too much."""
    raise LogValueError(
        f"a table holds at most {MAX_TABLE_BYTES // 2**20} MiB, got more up to here",
        "Log fewer rows with max_rows=, or fewer columns.",
    )


def kinds_and_cells(
    values: Sequence[object] | np.ndarray, rest: Callable[[], None]
) -> tuple[set[CellKind], list[object]]:
    """Returns which kinds of cells there are beside ``None``, and the cells; pictures are ``Decoded``.

    Args:
        values: A cell each; of an array each element of its first axis.
        rest: Called every few hundred cells.

    Raises:
        LogValueError: An array has too many elements, or pictures are far too many.
    """
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in _OF_DTYPE:
        cells: list[object] = values.astype(np.float64 if values.dtype.kind == "f" else values.dtype).tolist()
        return ({_OF_DTYPE[values.dtype.kind]} if cells else set()), cells
    kinds: set[CellKind] = set()
    cells, pictures_bytes = [], 0
    for number, value in enumerate(values):
        if not number % _CELLS_AT_ONCE:
            rest()
        found = _cell(value)
        cells.append(None if found is None else found[1])
        if found is None:
            continue
        kinds.add(found[0])
        if isinstance(found[1], Decoded):
            rest()
            pictures_bytes += found[1].pixels.size  # already here, as each may be decoded only now
            if pictures_bytes > MAX_TABLE_BYTES:
                refuse_table()
    return kinds, cells


def one_kind(kinds: set[CellKind], cells: list[object]) -> tuple[CellKind, list[object]]:
    """Returns what a column is, and its cells as that; pictures are ``Decoded`` yet.

    Raises:
        LogValueError: There are pictures, and other things.
    """
    if "image" in kinds:
        if len(kinds) > 1:
            others = ", ".join(sorted(kinds - {"image"}))
            raise LogValueError(f"there are pictures in it and other kinds: {others}", "Give them a column each.")
        return "image", cells
    if kinds == {"array"}:
        return "array", cells
    if kinds == {"boolean"}:
        return "boolean", cells
    if kinds == {"timestamp"}:
        zones = {cell.tzinfo is None for cell in cells if isinstance(cell, datetime)}
        if len(zones) == 1:
            return "timestamp", cells
    if kinds and kinds <= {"boolean", "integer", "number"}:
        whole = [cell for cell in cells if isinstance(cell, int)]
        if not whole or (min(whole) >= -_MAX_EXACT and max(whole) <= _MAX_EXACT):
            if "number" in kinds:
                return "number", [float(cell) if isinstance(cell, int | float) else None for cell in cells]
            return "integer", [int(cell) if isinstance(cell, int) else None for cell in cells]
    return "string", [None if cell is None else _text(cell) for cell in cells]


def _cell(value: object) -> Found | None:
    """Returns what a cell is, and its plain value; ``None`` where it holds nothing."""
    kind = _PLAIN.get(type(value))
    if kind is not None:
        return kind, value
    if value is None or type(value).__name__ in _NOTHING:
        return None
    if isinstance(value, str | bytes):
        return "string", _text(value)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else ("timestamp", value.astype("datetime64[us]").item())
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _cell(value[()])
    if isinstance(value, bool | np.bool_):
        return "boolean", bool(value)
    if isinstance(value, int | np.integer):
        return "integer", int(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC)
        return "timestamp", datetime.combine(moment.date(), moment.time(), moment.tzinfo)  # not one of pandas
    if isinstance(value, date):
        return "timestamp", datetime.combine(value, time())
    if isinstance(value, Real | Decimal):
        return "number", float(value)
    return _array_cell(value)


def _array_cell(value: object) -> Found:
    maker = getattr(value, "array", None)
    try:
        array = as_array(maker() if callable(maker) else value)
    except LogValueError:
        return "string", _text(value)
    is_said = callable(maker) or not isinstance(value, np.ndarray | list | tuple)  # a PIL image, a figure
    if _is_picture(array, min_px=1 if is_said else _MIN_PICTURE_PX):
        first = channels_first(array)
        small_now = small(cast(Pixels, first)) if array.dtype == np.uint8 else first
        return "image", Decoded(small_now, (first.shape[1], first.shape[2]))
    if callable(maker):
        return "string", _text(value)  # such as a sound
    if array.size > MAX_ARRAY_ELEMENTS:
        raise LogValueError(
            f"an array in a table has at most {MAX_ARRAY_ELEMENTS} elements, got shape {array.shape}",
            "Log a part of it, or its histogram.",
        )
    return "array", array.tolist()


def _is_picture(array: Array, *, min_px: int) -> bool:
    if array.ndim == 2:
        return min(map(int, array.shape)) >= min_px
    return array.ndim == 3 and array.size > 0 and not _CHANNELS.isdisjoint((array.shape[0], array.shape[2]))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    # A lone surrogate has no UTF-8, so no file could hold it.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
