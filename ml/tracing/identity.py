"""Who a model is, and what an input is, by their content.

The architecture is a hash of a model's structure: of each module its name and class, of each parameter and persistent
buffer its name, shape and kind of number. Weights are no part of it, nor is the precision: a model trained in float32
and deployed in float16 is the same one. Neither are wrappers around it, nor ``torch.compile``.

An input's id is ``sha256`` of its dtype, shape and bytes, so one image has one id in every process, on every device.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ml.core.errors import LogValueError
from ml.tracing.wrapped import plain_path, unwrapped

_ID_LENGTH = 32


def architecture_of(model: nn.Module) -> str:
    """Returns the hash of a model's structure, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, module in unwrapped(model).named_modules():
        digest.update(f"{plain_path(path)}\t{type(unwrapped(module)).__qualname__}\n".encode())
        kept = {name: buffer for name, buffer in module._buffers.items() if name not in _not_kept(module)}
        for name, tensor in [*module._parameters.items(), *kept.items()]:
            if tensor is not None:
                digest.update(f"\t{name}\t{_structure(tensor)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def input_ids_of(model_input: object, count: int) -> list[str]:
    """Returns the id of each input of a call, 32 hexadecimal digits.

    Args:
        model_input: A tensor or array whose first dimension is the inputs, a sequence of inputs, or a mapping of
            arguments: of those, what has so many items belongs to the inputs one by one, all else to each of them.
        count: How many inputs there are.

    Raises:
        LogValueError: It cannot be told apart, or holds what has no content to be hashed.
    """
    return [_hashed(item) for item in _inputs(model_input, count)]


def _not_kept(module: nn.Module) -> set[str]:
    return module._non_persistent_buffers_set


def _structure(tensor: Tensor) -> str:
    if is_lazy(tensor):  # its shape is not known before the first call
        return "lazy"
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype)
    return f"{tuple(tensor.shape)} {kind}"


def _inputs(model_input: object, count: int) -> list[object]:
    if isinstance(model_input, Mapping):
        apart = {name: value for name, value in model_input.items() if _length(value) == count}
        shared = {name: value for name, value in model_input.items() if name not in apart}
        return [shared | {name: value[number] for name, value in apart.items()} for number in range(count)]
    if _length(model_input) == count:
        return [model_input[number] for number in range(count)]  # type: ignore[index]  # what has a length has items
    if count == 1:
        return [model_input]
    raise LogValueError(f"{count} inputs cannot be told apart in a {type(model_input).__name__}", "Give input_ids.")


def _length(value: object) -> int | None:
    if isinstance(value, Tensor | np.ndarray):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def _hashed(content: object) -> str:
    digest = hashlib.sha256()
    _hash(content, digest.update)
    return digest.hexdigest()[:_ID_LENGTH]


def _hash(content: object, update: Callable[[bytes | memoryview], None]) -> None:
    match content:
        case Tensor():
            tensor = content.detach().cpu()
            update(f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}".encode())
            update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
        case np.ndarray():
            if content.dtype.hasobject:
                raise LogValueError("an array of objects has no content to be hashed", "Give input_ids.")
            update(f"{content.dtype.name} {content.shape}".encode())
            update(np.ascontiguousarray(content).view(np.uint8).data if content.size else b"")
        case Mapping():
            for name in sorted(content, key=str):
                update(f"{{{name}".encode("utf-8", "surrogatepass"))
                _hash(content[name], update)
        case str() | bytes() | bool() | int() | float() | None:
            update(f"{type(content).__name__} {content!r}".encode())
        case Sequence():
            update(f"[{len(content)}".encode())
            for item in content:
                _hash(item, update)
        case _:
            array = np.asarray(content)  # a picture of PIL's, for one
            if array.dtype.hasobject:
                raise LogValueError(
                    f"a {type(content).__name__} has no content to be hashed", "Give input_ids, which name the inputs."
                )
            _hash(array, update)
