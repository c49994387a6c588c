"""Tensors and arrays as the loggers need them: how large they are, parts of them, and private copies.

torch is used if the program has loaded it, and is never imported but for a backend
that asks for a tensor: a value that is a tensor proves that it is loaded. What lies
on an accelerator, ``ml.loggers.device`` copies.
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ml.core.errors import LogValueError
from ml.loggers.device import DeviceTensor, on_device, refuse_capture
from ml.media.arrays import as_array

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 64 * 2**20
"""What one value may hold."""

_VERSIONS = 8  # of a long list, these stand for the others: each is asked at every call


def torch_module() -> ModuleType | None:
    """Returns torch if the program has loaded it, to its end: another thread may be about to."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "no_grad") and hasattr(torch, "nn") else None


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor."""
    tensor_type = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor_type is not None and isinstance(value, tensor_type)


def version(value: object) -> object:
    """Returns what changes when a held tensor is changed in place; ``None`` where that cannot be seen."""
    if isinstance(value, (list, tuple)):
        return tuple(version(item) for item in value[:_VERSIONS])
    if not is_tensor(value):
        return None
    try:
        return None if value.is_inference() else value._version  # type: ignore[attr-defined]
    except Exception:  # a subclass may run foreign code even for that, and a log call never raises
        return None


def local(value: object) -> object:
    """Returns the shard of a ``DTensor`` that this rank holds, also in a sequence; everything else as it is.

    The whole would need a collective, and so would picking elements of it.
    """
    if is_tensor(value):
        return value.to_local() if hasattr(value, "to_local") else value
    if isinstance(value, (list, tuple)) and any(hasattr(item, "to_local") for item in value):
        return [local(item) for item in value]
    return value


def nbytes(value: object) -> int:
    """Returns roughly what a copy of ``value`` takes, in bytes."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if is_tensor(value):
        tensor: Tensor = value  # type: ignore[assignment]
        return tensor.numel() * (4 if _lacks_numpy(tensor) else tensor.element_size())
    if isinstance(value, (list, tuple)):
        return (8 * len(value) if _holds_numbers(value) else sum(nbytes(item) for item in value)) + 16
    if isinstance(value, (str, bytes)):
        return len(value)
    size = getattr(value, "nbytes", None)  # an array of another library
    if isinstance(size, int):
        return size
    size = getattr(value, "size", None)  # a PIL image
    if isinstance(size, tuple) and len(size) == 2:
        return int(size[0]) * int(size[1]) * 4
    return 64


def copy_bytes(copied: object) -> int:
    """Returns what a copy that ``Snapshots.copy`` made takes while it waits, in bytes."""
    if isinstance(copied, DeviceTensor):
        return copied.size_bytes
    if isinstance(copied, list):
        return sum(copy_bytes(item) for item in copied)
    return nbytes(copied)


def arrived(copied: object) -> object:
    """Returns the copy with everything on the CPU; waits for what is still on its way."""
    if isinstance(copied, DeviceTensor):
        return copied.arrived()
    if isinstance(copied, list):
        return [arrived(item) for item in copied]
    return copied


def take(value: object, indices: Sequence[int], axis: int = 0) -> object:
    """Returns these elements along an axis, where they lie.

    Raises:
        LogValueError: As bytes they would be more than 64 MiB.
    """
    if isinstance(value, np.ndarray):
        refuse_size(value.size // value.shape[axis] * len(indices))
        # Not np.take, which first copies the whole of an array that is not contiguous.
        return value[(slice(None),) * axis + (list(indices),)]
    if is_tensor(value):
        found: Tensor = value  # type: ignore[assignment]
        refuse_size(found.numel() // found.shape[axis] * len(indices))
        return found.index_select(axis, on_device(indices, found.device))
    return [value[index] for index in indices]  # type: ignore[index]


def tensor(array: np.ndarray, *, scale: float = 1.0) -> "Tensor":
    """Returns a CPU tensor; where ``scale`` is not 1, float32 multiplied by it."""
    import torch  # a backend asked for a tensor; one that takes ``array()`` needs no torch

    made = torch.from_numpy(array)
    return made if scale == 1.0 else made.to(torch.float32) * scale


def copied(value: object) -> object:
    """Returns a private copy: arrays as numpy, tensors of an accelerator on their way, sequences as lists.

    Raises:
        LogValueError: It cannot be copied.
    """
    if is_tensor(value):
        dense = as_dense(value)  # type: ignore[arg-type]
        if dense.device.type != "cpu":
            return DeviceTensor(dense)
        is_private = dense.dtype != value.dtype  # type: ignore[attr-defined]  # what was converted is a copy already
        return dense.numpy() if is_private else np.array(dense.numpy())
    if isinstance(value, np.ndarray):
        return np.array(value)
    if isinstance(value, (list, tuple)):
        return as_array(value) if _holds_numbers(value) else [copied(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return as_array(value)


def as_real(tensor: "Tensor") -> "Tensor":
    """Returns a tensor without a graph, of this rank alone, that holds real numbers.

    Raises:
        LogValueError: It does not.
    """
    torch = torch_module()
    assert torch is not None
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise LogValueError("it lives inside of torch.func (vmap, grad)", "Return it from there, and log the result.")
    if tensor.device.type not in ("cpu", "meta"):
        refuse_capture(tensor.device)
    tensor = local(tensor.detach())  # type: ignore[assignment]
    if tensor.is_nested:
        raise LogValueError("it is a nested tensor, which has no one shape", "Log its parts, or .values().")
    if tensor.device.type == "meta" or type(tensor).__name__ == "FakeTensor":
        raise LogValueError(f"a tensor on {tensor.device} holds no values (shape {tuple(tensor.shape)})")
    if tensor.is_complex():
        refuse_complex()
    if tensor.layout == torch.strided and tensor.numel() and not tensor.untyped_storage().nbytes():
        raise LogValueError("its memory was given back, as FSDP does after a layer", "Log it while the layer runs.")
    return tensor


def as_dense(tensor: "Tensor") -> "Tensor":
    """Returns a plain tensor without a graph, of a dtype that numpy has.

    Raises:
        LogValueError: It holds no real numbers, or would be larger than ``MAX_BYTES``.
    """
    torch = torch_module()
    assert torch is not None
    tensor = as_real(tensor)
    if tensor.layout != torch.strided:
        refuse_size(nbytes(tensor))
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return (tensor.to(torch.float32) if _lacks_numpy(tensor) else tensor).resolve_neg()


def _lacks_numpy(tensor: "Tensor") -> bool:
    """Whether numpy has no such floats, as bfloat16, so that they become float32."""
    torch = torch_module()
    assert torch is not None
    return tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64)


def num_elements(value: "Tensor | np.ndarray") -> int:
    """Returns how many elements there are."""
    return value.size if isinstance(value, np.ndarray) else value.numel()


def strided(values: "Tensor | np.ndarray", step: int) -> "Tensor | np.ndarray":
    """Returns every ``step``-th element, shape (N,); what is not returned is not copied."""
    in_order = values.flags.c_contiguous if isinstance(values, np.ndarray) else values.is_contiguous()
    if step == 1 or in_order:
        return values.reshape(-1)[::step]
    places = np.unravel_index(np.arange(0, num_elements(values), step), tuple(values.shape))
    if isinstance(values, np.ndarray):
        return values[places]
    torch = torch_module()
    assert torch is not None
    return values[tuple(torch.from_numpy(place) for place in places)]


def _holds_numbers(values: Sequence[object]) -> bool:
    """Whether a list is one of plain numbers; the first one tells, as such a list may be long."""
    return bool(values) and isinstance(values[0], (int, float))


def refuse_size(size_bytes: int) -> None:
    """Raises ``LogValueError`` for what holds more than ``MAX_BYTES``."""
    if size_bytes > MAX_BYTES:
        raise LogValueError(
            f"it holds {size_bytes / 2**20:.0f} MiB, and more than {MAX_BYTES // 2**20} MiB is refused",
            "Log a part of it, or shrink it first.",
        )


def refuse_complex() -> NoReturn:
    """Raises ``LogValueError``: the value is complex."""
    raise LogValueError("it is complex", "Log its real and imaginary part, or .abs().")
