"""What is read of a result that somebody may have written: numbers and lists of JSON, each checked for what it is.

What is something else is a ``TypeError`` or ``ValueError``, for ``ml.loggers.strict_json.parsing``.
"""

import math

import numpy as np
import numpy.typing as npt

from ml.loggers.strict_json import Json

Vector = npt.NDArray[np.float64]


def mapping(value: Json) -> dict[str, Json]:
    """Returns a mapping."""
    if not isinstance(value, dict):
        raise TypeError(f"no mapping: {value!r:.60}")
    return value


def listed(value: Json) -> list[Json]:
    """Returns a list."""
    if not isinstance(value, list):
        raise TypeError(f"no list: {value!r:.60}")
    return value


def real(value: Json) -> float:
    """Returns a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"no finite number: {value!r:.60}")
    return float(value)


def count(value: Json) -> int:
    """Returns a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"no count: {value!r:.60}")
    return value


def whole(value: Json) -> int:
    """Returns a whole number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise TypeError(f"no whole number: {value!r:.60}")
    return value


def vector(value: Json, size: int | None = None) -> Vector:
    """Returns finite numbers, shape (size,); ``None``: however many there are."""
    items = listed(value)
    if size is not None and len(items) != size:
        raise ValueError(f"{size} numbers are wanted, got {len(items)}")
    return np.array([real(item) for item in items], np.float64)


def flag(value: Json) -> bool:
    """Returns what is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"neither true nor false: {value!r:.60}")
    return value
