"""What trackers and ``Benchmark.log`` are given, as plain Python and as strict JSON; nothing is ever pickled.

Lists, tuples, arrays of numpy, tensors of torch, series and frames of pandas become lists; numpy's numbers become
Python's. No library is imported for it.
"""

from collections.abc import Mapping
from enum import Enum
from numbers import Integral, Real
from typing import cast

from ml.core.errors import LogValueError
from ml.core.plain import Plain
from ml.loggers.strict_json import Json, encoder, real, strict

_DEEPEST = 100
_encode = encoder((", ", ": "))


def to_json(value: Plain) -> bytes:
    """Returns a plain value as strict JSON in UTF-8.

    Raises:
        LogValueError: It holds what JSON cannot.
    """
    try:
        return _encode(_strict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise LogValueError(f"it cannot be kept as JSON ({error!s:.200})") from error


def plain(value: object, depth: int = 0) -> Plain:
    """Returns a value as plain Python; it is a copy.

    Args:
        value: None, a number, a text, an enum's member, or lists, mappings, arrays, tensors and frames of these.
        depth: How deep in another value it lies.

    Raises:
        LogValueError: It is something else, complex, or nested too deeply, as what holds itself is.
    """
    if depth > _DEEPEST:
        raise LogValueError(f"a value may be nested {_DEEPEST} deep")
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(plain(key, depth + 1)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [plain(item, depth + 1) for item in value]
    listed = _listed(value)
    if listed is None:
        raise LogValueError(
            f"a {type(value).__name__} is neither a number, a text, nor made of them",
            "Give numbers, texts, lists, arrays or mappings.",
        )
    return plain(listed[0], depth + 1)


def numbers(value: object, what: str) -> list[float]:
    """Returns the numbers of a list, a tuple, an iterator, or a one-dimensional array, tensor or series.

    Args:
        value: The numbers; a single one is a list of one.
        what: What they are called in the message: ``"losses"``.

    Raises:
        LogValueError: They are no numbers, or not in one line.
    """
    if hasattr(value, "__next__"):
        value = list(cast("list[object]", value))
    found = plain(value)
    items = []
    for position, item in enumerate(found if isinstance(found, list) else [found]):
        number = item[0] if isinstance(item, list) and len(item) == 1 else item  # a loss of shape (1,)
        if not isinstance(number, int | float):
            raise LogValueError(
                f"{what} are numbers in one line, got {item!r:.60} at position {position}",
                "Give a list of numbers, or an array of one dimension.",
            )
        items.append(real(number))
    return items


def _listed(value: object) -> tuple[object] | None:
    """Returns what an array, a tensor, a series or a frame holds, in lists; ``None``: it is none of them."""
    try:
        if hasattr(value, "to_numpy") and not hasattr(value, "tolist"):  # a frame
            value = value.to_numpy()
        if getattr(value, "is_sparse", False) and hasattr(value, "to_dense"):
            value = value.to_dense()
        return (value.tolist(),) if hasattr(value, "tolist") else None
    except Exception as error:  # foreign code: a tensor without data, or of a device that is lost
        raise LogValueError(f"a {type(value).__name__} cannot be read ({error!s:.200})") from error


def _strict(node: Plain) -> Json:
    if isinstance(node, dict):
        return {str(key): _strict(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_strict(value) for value in node]
    return strict(node) if isinstance(node, float) else node
