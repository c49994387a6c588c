"""Private copies of what was logged: the only code that knows tensors, and it never imports torch.

torch is used if the program has loaded it: a value that is a tensor proves that
it has. A copy belongs to the logger alone, holds no graph, and is taken under
``no_grad``. A tensor on an accelerator is copied by the accelerator: the training
thread starts the copy and never waits for it; ``arrived`` does, on the backend's thread.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from numbers import Number
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ml.core.errors import LogValueError
from ml.loggers.device import (
    CaptureError,
    DeviceScalars,
    DeviceTensor,
    accumulator,
    device_histogram,
    is_capturing,
    on_device,
    refuse_capture,
)
from ml.media.arrays import as_array
from ml.media.image import to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from ml.loggers.audit import SyncAudit
    from ml.loggers.device import DeviceScalar

MAX_BYTES = 64 * 2**20
_MAX_INT = 2**1023


class CollectiveError(LogValueError):
    """A callable called a collective, which one rank alone cannot."""


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


class Snapshots:
    """Takes copies of values, on the training thread: ``with snapshots:`` is the end of one step.

    Args:
        world_size: Where it is above 1, a callable that calls a collective is
            stopped before it starts: it would run on one rank alone and hang the job.

    Attributes:
        audit: Watches the callables for what makes the training thread wait for an accelerator; ``None``: no one does.
    """

    def __init__(self, world_size: int = 1) -> None:
        self._guarded = world_size > 1
        self.audit: SyncAudit | None = None
        self._captures = False
        self._scalars = DeviceScalars()
        self._histogram_bytes = 0
        self._graph_mode: bool | None = None

    def __enter__(self) -> None:
        """Begins a step: until it ends, no graph is recorded."""
        self._histogram_bytes = 0
        torch = torch_module()
        if torch is not None:
            self._captures = is_capturing(torch.cuda)
            self._graph_mode = torch.is_grad_enabled()
            torch.set_grad_enabled(False)

    def __exit__(self, *exception: object) -> None:
        """Ends the step: copies from accelerators start."""
        try:
            self.launch()
        finally:
            self.restore()

    def launch(self) -> None:
        """Starts the copies of the scalars so far, one for each device: before anyone may wait for them."""
        self._scalars.launch()

    def restore(self) -> None:
        """Records graphs again, if they were before the step; again does nothing.

        For whoever opened a step: a Ctrl-C that comes while the step begins or ends passes by ``__exit__``.
        """
        torch = torch_module()
        if self._graph_mode is not None and torch is not None:
            torch.set_grad_enabled(self._graph_mode)
            self._graph_mode = None

    def compute(self, function: Callable[[], object]) -> object:
        """Calls what was logged.

        Raises:
            CollectiveError: It called a collective.
            CaptureError: A CUDA graph is being captured, so it was not called.
        """
        if self._captures:
            raise CaptureError
        if (self.audit is None and not self._guarded) or torch_module() is None:
            return function()
        if self.audit is not None:
            function = self.audit.watched(function)
        if not self._guarded:
            return function()
        with _guard()():
            return function()

    def pixels(self, value: object) -> object:
        """Returns a large batch of floats on the CPU as bytes, a quarter of its size; all else as it is.

        Raises:
            LogValueError: As bytes it would still be more than 64 MiB.
        """
        if nbytes(value) < _MANY_BYTES:
            return value
        if isinstance(value, np.ndarray) or is_tensor(value):
            _refuse_size(_count(value))  # type: ignore[arg-type]
        if is_tensor(value):
            dense = _dense(value)  # type: ignore[arg-type]
            if dense.device.type != "cpu":
                return value
            value = dense.numpy()
        return to_uint8(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

    def scalar(self, value: object, options: object = None) -> "int | float | DeviceScalar":
        """Returns the number that ``value`` holds: read at once on the CPU, on its way on an accelerator.

        Raises:
            LogValueError: It is not one real number.
        """
        kind = type(value)
        if kind is float:
            return value  # type: ignore[return-value]
        if isinstance(value, int):
            return _checked_int(int(value))
        if is_tensor(value):
            return self._tensor_scalar(value)  # type: ignore[arg-type]
        if isinstance(value, (np.ndarray, np.generic)):
            if value.size != 1:
                _refuse_shape(tuple(value.shape))
            if np.iscomplexobj(value):
                _refuse_complex()
            value = value.item()
        if isinstance(value, (bool, int)):
            return _checked_int(int(value))
        if isinstance(value, complex):
            _refuse_complex()
        if isinstance(value, Number) or hasattr(value, "__float__"):
            return float(value)
        raise LogValueError(f"a scalar is a number, got {_described(value)}", "Log text with log_string.")

    def number(self, value: object) -> "int | float | Tensor":
        """Returns the number that ``value`` holds, to be accumulated: on an accelerator it stays there.

        Raises:
            LogValueError: It is not one real number.
        """
        if is_tensor(value) and value.device.type != "cpu" and value.numel() == 1:  # type: ignore[attr-defined]
            return accumulator(_dense(value))  # type: ignore[arg-type]
        number = self.scalar(value)
        assert isinstance(number, (int, float))
        return number

    def copy(self, value: object) -> object:
        """Returns a private copy: arrays as numpy, tensors of an accelerator on their way, sequences as lists.

        Raises:
            LogValueError: It cannot be copied, or holds more than 64 MiB.
        """
        _refuse_size(nbytes(value))
        return _copied(value)

    def histogram(self, value: object) -> tuple[object, int, bool]:
        """Returns what a histogram of ``value`` is made of.

        Returns:
            On the CPU at most 10^6 elements, evenly strided (fewer once those of a step take
            16 MiB), how many they stand for, and False; on an accelerator the finished bins on their way, and True.
        """
        torch = torch_module()
        values: Tensor | np.ndarray
        if torch is None or not is_tensor(value):
            values = as_array(value)
        else:
            values = _real(value)  # type: ignore[arg-type]
            if values.layout != torch.strided or values.is_quantized:
                values = _dense(values)
            if values.device.type != "cpu" and values.numel():
                return device_histogram(_dense(values).reshape(-1)), values.numel(), True
        count = _count(values)
        # A model may log hundreds of tensors in one step; 64 bins are as true of a smaller sample.
        elements = _HISTOGRAM_ELEMENTS if self._histogram_bytes < _MANY_BYTES else _FEW_ELEMENTS
        sample = _strided(values, -(-count // elements) or 1)
        self._histogram_bytes += nbytes(sample)
        return sample, count, False

    def _tensor_scalar(self, tensor: "Tensor") -> "int | float | DeviceScalar":
        if tensor.numel() != 1:
            _refuse_shape(tuple(tensor.shape))
        if tensor.is_complex():
            _refuse_complex()
        if tensor.device.type == "cpu":
            # tolist keeps the interpreter lock, which .item() gives away: 0.1 us, not 50 beside a busy thread.
            try:
                number = tensor.tolist() if type(tensor).__module__ == "torch" else _dense(tensor).tolist()
            except RuntimeError:  # sparse, quantized or without values
                number = _dense(tensor).tolist()
            while isinstance(number, list):
                if not number:
                    raise LogValueError("the shard of it on this rank is empty", "Log it where it is whole.")
                number = number[0]
            return int(number) if isinstance(number, bool) else number
        return self._scalars.add(_dense(tensor))


_VERSIONS = 8  # of a long list, these stand for the others: each is asked at every call
_HISTOGRAM_ELEMENTS = 10**6
_FEW_ELEMENTS = 2**15
_MANY_BYTES = 16 * 2**20


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
        _refuse_size(value.size // value.shape[axis] * len(indices))
        # Not np.take, which first copies the whole of an array that is not contiguous.
        return value[(slice(None),) * axis + (list(indices),)]
    if is_tensor(value):
        found: Tensor = value  # type: ignore[assignment]
        _refuse_size(found.numel() // found.shape[axis] * len(indices))
        return found.index_select(axis, on_device(indices, found.device))
    return [value[index] for index in indices]  # type: ignore[index]


def tensor(array: np.ndarray, *, scale: float = 1.0) -> "Tensor":
    """Returns a CPU tensor; where ``scale`` is not 1, float32 multiplied by it."""
    import torch  # a backend asked for a tensor; one that takes ``array()`` needs no torch

    made = torch.from_numpy(array)
    return made if scale == 1.0 else made.to(torch.float32) * scale


def _copied(value: object) -> object:
    if is_tensor(value):
        dense = _dense(value)  # type: ignore[arg-type]
        if dense.device.type != "cpu":
            return DeviceTensor(dense)
        is_private = dense.dtype != value.dtype  # type: ignore[attr-defined]  # what was converted is a copy already
        return dense.numpy() if is_private else np.array(dense.numpy())
    if isinstance(value, np.ndarray):
        return np.array(value)
    if isinstance(value, (list, tuple)):
        return as_array(value) if _holds_numbers(value) else [_copied(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return as_array(value)


def _real(tensor: "Tensor") -> "Tensor":
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
        _refuse_complex()
    if tensor.layout == torch.strided and tensor.numel() and not tensor.untyped_storage().nbytes():
        raise LogValueError("its memory was given back, as FSDP does after a layer", "Log it while the layer runs.")
    return tensor


def _dense(tensor: "Tensor") -> "Tensor":
    """Returns a plain tensor without a graph, of a dtype that numpy has."""
    torch = torch_module()
    assert torch is not None
    tensor = _real(tensor)
    if tensor.layout != torch.strided:
        _refuse_size(nbytes(tensor))
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return (tensor.to(torch.float32) if _lacks_numpy(tensor) else tensor).resolve_neg()


def _lacks_numpy(tensor: "Tensor") -> bool:
    """Whether numpy has no such floats, as bfloat16, so that they become float32."""
    torch = torch_module()
    assert torch is not None
    return tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64)


def _count(value: "Tensor | np.ndarray") -> int:
    """Returns how many elements there are."""
    return value.size if isinstance(value, np.ndarray) else value.numel()


def _strided(values: "Tensor | np.ndarray", step: int) -> "Tensor | np.ndarray":
    """Returns every ``step``-th element, shape (N,); what is not returned is not copied."""
    in_order = values.flags.c_contiguous if isinstance(values, np.ndarray) else values.is_contiguous()
    if step == 1 or in_order:
        return values.reshape(-1)[::step]
    places = np.unravel_index(np.arange(0, _count(values), step), tuple(values.shape))
    if isinstance(values, np.ndarray):
        return values[places]
    torch = torch_module()
    assert torch is not None
    return values[tuple(torch.from_numpy(place) for place in places)]


def _holds_numbers(values: Sequence[object]) -> bool:
    """Whether a list is one of plain numbers; the first one tells, as such a list may be long."""
    return bool(values) and isinstance(values[0], (int, float))


def _refuse_size(size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise LogValueError(
            f"it holds {size_bytes / 2**20:.0f} MiB, and more than {MAX_BYTES // 2**20} MiB is refused",
            "Log a part of it, or shrink it first.",
        )


def _refuse_shape(shape: tuple[int, ...]) -> NoReturn:
    raise LogValueError(f"a scalar holds 1 number, got shape {shape}", "Reduce it first, e.g. with .mean().")


def _refuse_complex() -> NoReturn:
    raise LogValueError("it is complex", "Log its real and imaginary part, or .abs().")


def _checked_int(number: int) -> int:
    if -_MAX_INT < number < _MAX_INT:
        return number
    raise LogValueError(f"an integer of {number.bit_length()} bits is beyond every number format", "Log its logarithm.")


def _described(value: object) -> str:
    text = repr(value) if value is None or isinstance(value, (str, bytes)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _guard() -> Callable[[], AbstractContextManager[object]]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class RefuseCollectives(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Stops every collective operator before it starts, wherever it is called from."""

        def __torch_dispatch__(
            self, func: object, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
        ) -> object:
            if func.namespace.startswith(("c10d", "_c10d")):  # type: ignore[attr-defined]
                raise CollectiveError(
                    f"its callable calls the collective {func}, which would wait for the other ranks for ever",
                    "Call it on every rank, and log its result.",
                )
            return func(*args, **(kwargs or {}))  # type: ignore[operator]

    return RefuseCollectives
