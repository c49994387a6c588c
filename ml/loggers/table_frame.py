"""A table as a pandas frame."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from ml.media.image import to_pil
from ml.media.table import Column, TableData

if TYPE_CHECKING:
    from pandas import DataFrame

NULLABLE_DTYPES = {"integer": "Int64", "boolean": "boolean"}
"""Of columns with missing cells, so that no integer is changed."""

_DTYPES = {"integer": "int64", "number": "float64", "boolean": "bool", "string": "str"}
_MOMENTS, _MOMENTS_UTC = "datetime64[us]", "datetime64[us, UTC]"


def frame_of(table: TableData) -> "DataFrame":
    """Returns a table as a frame: pictures are PIL images, arrays lists. Needs pandas."""
    import pandas as pd

    return pd.DataFrame({column.name: pd.Series(_cells(column), dtype=_dtype(column)) for column in table.columns})


def dtype_of(kind: str | None, cells: Sequence[object]) -> str:
    """Returns the dtype of a column of a frame; times are in UTC.

    Args:
        kind: Of the cells.
        cells: Whatever is missing is ``None``; in a column of numbers that becomes NaN.
    """
    if kind == "timestamp":
        return _MOMENTS_UTC
    if kind in NULLABLE_DTYPES and any(cell is None for cell in cells):
        return NULLABLE_DTYPES[kind]
    return "object" if kind is None else _DTYPES.get(kind, "object")


def _cells(column: Column) -> list[object]:
    return [to_pil(cell) if isinstance(cell, np.ndarray) else cell for cell in column.cells]


def _dtype(column: Column) -> str:
    has_zone = any(isinstance(cell, datetime) and cell.tzinfo is not None for cell in column.cells)
    return _MOMENTS if column.kind == "timestamp" and not has_zone else dtype_of(column.kind, column.cells)
