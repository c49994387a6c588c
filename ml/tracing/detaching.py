"""What a module returned, with its tensors replaced: tensors, and lists, tuples and mappings of them."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def with_tensors(value: object, replaced: Callable[[Tensor], Tensor]) -> object:
    """Returns a value with each of its tensors replaced; containers are new ones of the same type.

    Args:
        value: Nested as it likes. What is neither a tensor nor a list, tuple or mapping stays as it is.
        replaced: Is given a tensor.
    """
    match value:
        case Tensor():
            return replaced(value)
        case tuple():
            items: list[Any] = [with_tensors(item, replaced) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        case list():
            return [with_tensors(item, replaced) for item in value]
        case Mapping():
            return _mapping(value, replaced)
        case _:
            return value


def _mapping(value: Mapping[object, object], replaced: Callable[[Tensor], Tensor]) -> object:
    items = {name: with_tensors(item, replaced) for name, item in value.items()}
    if type(value) is dict:
        return items
    rebuilt = copy.copy(value)  # an output of transformers, whose attributes are its items too
    try:
        for name, item in items.items():
            rebuilt[name] = item  # type: ignore[index]
    except TypeError:  # it is frozen
        return items
    return rebuilt
