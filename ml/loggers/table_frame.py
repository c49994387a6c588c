"""A table as a pandas frame."""

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from ml.media.image import to_pil
from ml.media.table import Column, TableData

if TYPE_CHECKING:
    from pandas import DataFrame

_DTYPES = {"integer": "int64", "number": "float64", "boolean": "bool", "string": "str"}
_DTYPES_WITH_NONE = {"integer": "Int64", "boolean": "boolean"}


def frame_of(table: TableData) -> "DataFrame":
    """Returns a table as a frame: pictures are PIL images, arrays lists. Needs pandas."""
    import pandas as pd

    return pd.DataFrame({column.name: pd.Series(_cells(column), dtype=_dtype(column)) for column in table.columns})


def _cells(column: Column) -> list[object]:
    return [to_pil(cell) if isinstance(cell, np.ndarray) else cell for cell in column.cells]


def _dtype(column: Column) -> str:
    if column.kind == "timestamp":
        has_zone = any(isinstance(cell, datetime) and cell.tzinfo is not None for cell in column.cells)
        return "datetime64[us, UTC]" if has_zone else "datetime64[us]"
    if column.kind in _DTYPES_WITH_NONE and None in column.cells:
        return _DTYPES_WITH_NONE[column.kind]
    return _DTYPES.get(column.kind, "object")
