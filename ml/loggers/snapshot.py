"""Copies of what was logged, taken at the end of a step on the training thread, which never waits for a device.

A copy belongs to the logger alone, holds no graph, and is taken under ``no_grad``.
A tensor on an accelerator is copied by the accelerator: the training thread starts
the copy; ``ml.loggers.tensors.arrived`` waits for it, on the backend's thread.
"""

from collections.abc import Callable
from numbers import Number
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ml.core.errors import LogValueError
from ml.loggers.collectives import refusing_collectives
from ml.loggers.device import CaptureError, DeviceScalars, accumulator, device_histogram, is_capturing
from ml.loggers.tensors import (
    as_dense,
    as_real,
    copied,
    is_tensor,
    nbytes,
    num_elements,
    refuse_complex,
    refuse_size,
    strided,
    torch_module,
)
from ml.media.arrays import as_array
from ml.media.image import to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from ml.loggers.audit import SyncAudit
    from ml.loggers.device import DeviceScalar

_MAX_INT = 2**1023
_HISTOGRAM_ELEMENTS = 10**6
_FEW_ELEMENTS = 2**15
_MANY_BYTES = 16 * 2**20


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
        with refusing_collectives():
            return function()

    def pixels(self, value: object) -> object:
        """Returns a large batch of floats on the CPU as bytes, a quarter of its size; all else as it is.

        Raises:
            LogValueError: As bytes it would still be more than 64 MiB.
        """
        if nbytes(value) < _MANY_BYTES:
            return value
        if isinstance(value, np.ndarray) or is_tensor(value):
            refuse_size(num_elements(value))  # type: ignore[arg-type]
        if is_tensor(value):
            dense = as_dense(value)  # type: ignore[arg-type]
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
                refuse_complex()
            value = value.item()
        if isinstance(value, (bool, int)):
            return _checked_int(int(value))
        if isinstance(value, complex):
            refuse_complex()
        if isinstance(value, Number) or hasattr(value, "__float__"):
            return float(value)
        raise LogValueError(f"a scalar is a number, got {_described(value)}", "Log text with log_string.")

    def number(self, value: object) -> "int | float | Tensor":
        """Returns the number that ``value`` holds, to be accumulated: on an accelerator it stays there.

        Raises:
            LogValueError: It is not one real number.
        """
        if is_tensor(value) and value.device.type != "cpu" and value.numel() == 1:  # type: ignore[attr-defined]
            return accumulator(as_dense(value))  # type: ignore[arg-type]
        number = self.scalar(value)
        assert isinstance(number, (int, float))
        return number

    def copy(self, value: object) -> object:
        """Returns a private copy: arrays as numpy, tensors of an accelerator on their way, sequences as lists.

        Raises:
            LogValueError: It cannot be copied, or holds more than 64 MiB.
        """
        refuse_size(nbytes(value))
        return copied(value)

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
            values = as_real(value)  # type: ignore[arg-type]
            if values.layout != torch.strided or values.is_quantized:
                values = as_dense(values)
            if values.device.type != "cpu" and values.numel():
                return device_histogram(as_dense(values).reshape(-1)), values.numel(), True
        count = num_elements(values)
        # A model may log hundreds of tensors in one step; 64 bins are as true of a smaller sample.
        elements = _HISTOGRAM_ELEMENTS if self._histogram_bytes < _MANY_BYTES else _FEW_ELEMENTS
        sample = strided(values, -(-count // elements) or 1)
        self._histogram_bytes += nbytes(sample)
        return sample, count, False

    def _tensor_scalar(self, tensor: "Tensor") -> "int | float | DeviceScalar":
        if tensor.numel() != 1:
            _refuse_shape(tuple(tensor.shape))
        if tensor.is_complex():
            refuse_complex()
        if tensor.device.type == "cpu":
            # tolist keeps the interpreter lock, which .item() gives away: 0.1 us, not 50 beside a busy thread.
            try:
                number = tensor.tolist() if type(tensor).__module__ == "torch" else as_dense(tensor).tolist()
            except RuntimeError:  # sparse, quantized or without values
                number = as_dense(tensor).tolist()
            while isinstance(number, list):
                if not number:
                    raise LogValueError("the shard of it on this rank is empty", "Log it where it is whole.")
                number = number[0]
            return int(number) if isinstance(number, bool) else number
        return self._scalars.add(as_dense(tensor))


def _refuse_shape(shape: tuple[int, ...]) -> NoReturn:
    raise LogValueError(f"a scalar holds 1 number, got shape {shape}", "Reduce it first, e.g. with .mean().")


def _checked_int(number: int) -> int:
    if -_MAX_INT < number < _MAX_INT:
        return number
    raise LogValueError(f"an integer of {number.bit_length()} bits is beyond every number format", "Log its logarithm.")


def _described(value: object) -> str:
    text = repr(value) if value is None or isinstance(value, (str, bytes)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
