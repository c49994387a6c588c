"""Copies of tensors from an accelerator, started on the training thread and waited for on a backend's.

A tensor is cloned on the current stream, so training may overwrite it next, and
copied to pinned memory on a side stream, one for each device. An accelerator
without streams of its own (MPS) copies at once: there the training thread does
wait. ``torch`` comes through ``sys.modules``: there is a tensor, so it is loaded.

Nothing here waits for a device but ``arrived``, on a backend's thread. While a
graph is captured on the current stream nothing runs here at all. A capture that
forbids CUDA calls of every thread (``capture_error_mode="global"``, which is what
``torch.cuda.graph`` does) also forbids that wait: flush before it begins.
"""

import sys
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.core.errors import LogValueError
from ml.media.histogram import Histogram, histogram

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BINS = 64

_CHUNK = 2**22


class CaptureError(LogValueError):
    """A graph is being captured, which every operator that runs now would become a part of."""

    def __init__(self) -> None:
        super().__init__("a graph is being captured, and what it needs would become a part of it", "Log outside of it.")


def is_capturing(accelerator: ModuleType) -> bool:
    """Whether a graph is captured on the current stream; ``accelerator`` is ``torch.cuda``, say."""
    if not getattr(accelerator, "is_initialized", lambda: True)():
        return False  # a build of torch without CUDA cannot even be asked
    asked = getattr(accelerator, "is_current_stream_capturing", None)
    return asked is not None and bool(asked())


def refuse_capture(device: "torch.device") -> None:
    """Raises ``CaptureError`` while the device captures a graph."""
    if is_capturing(sys.modules["torch"].get_device_module(device)):
        raise CaptureError


class DeviceTensor:
    """A tensor on its way from an accelerator.

    Raises:
        CaptureError: The device captures a graph, which allows no copies.
    """

    def __init__(self, tensor: "Tensor") -> None:
        torch = sys.modules["torch"]
        accelerator: ModuleType = torch.get_device_module(tensor.device)
        self.device = str(tensor.device)
        self.size_bytes = int(tensor.numel() * tensor.element_size())
        self._ready = None
        if not _has_streams(accelerator):
            self._host = tensor.cpu()
            return
        refuse_capture(tensor.device)
        # In C order, so that the bytes can be copied as they are. record_stream keeps the memory of the clone from
        # being used again before the side stream has read it.
        source = tensor.clone(memory_format=torch.contiguous_format)
        side = _side_stream(tensor.device)
        side.wait_stream(accelerator.current_stream(tensor.device))
        with accelerator.stream(side):
            self._host = torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=True)
            self._host.copy_(source, non_blocking=True)
            source.record_stream(side)
            # A thread that waits for a CUDA event spins, unless the event was made to be slept on.
            self._ready = accelerator.Event(blocking=True) if tensor.device.type == "cuda" else accelerator.Event()
            self._ready.record(side)

    def arrived(self) -> np.ndarray:
        """Waits for the copy, and returns it.

        Raises:
            LogValueError: The device failed; what a kernel did wrong earlier is told here, too.
        """
        try:
            if self._ready is not None:
                self._ready.synchronize()
        except RuntimeError as error:
            raise LogValueError(f"its copy from {self.device} failed: {error}") from error
        array: np.ndarray = self._host.numpy()
        return array


def on_device(indices: Sequence[int], device: "torch.device") -> "Tensor":
    """Returns indices as an int64 tensor on a device, sent without waiting for it.

    Raises:
        CaptureError: The device captures a graph.
    """
    torch = sys.modules["torch"]
    places: Tensor = torch.as_tensor(indices, dtype=torch.int64, device="cpu")
    if device.type == "cpu":
        return places
    refuse_capture(device)
    if _has_streams(torch.get_device_module(device)):
        places = torch.empty(places.shape, dtype=places.dtype, device="cpu", pin_memory=True).copy_(places)
    return places.to(device, non_blocking=True)


def accumulator(tensor: "Tensor") -> "Tensor":
    """Returns a private copy of one number on the same device, shape (), of the widest floats that it has."""
    return tensor.reshape(()).to(_widest(tensor.device), copy=True)


@cache
def _side_stream(device: "torch.device") -> "torch.Stream":
    """Returns the stream that copies of a device run on: always one, as a user's streams come from the same few."""
    stream: torch.Stream = sys.modules["torch"].get_device_module(device).Stream(device)
    return stream


def _has_streams(accelerator: ModuleType) -> bool:
    return hasattr(accelerator, "Stream") and hasattr(accelerator, "current_stream")


@cache
def _widest(device: "torch.device") -> "torch.dtype":
    """Returns float64, or float32 where the device has nothing wider."""
    torch = sys.modules["torch"]
    has_double = device.type != "mps"
    if device.type == "xpu":
        has_double = bool(getattr(torch.xpu.get_device_properties(device), "has_fp64", True))
    return torch.float64 if has_double else torch.float32  # type: ignore[no-any-return]


class DeviceScalar(NamedTuple):
    """One number of a step's batch that is on its way."""

    batch: "_Batch"
    place: int

    def arrived(self) -> float:
        """Waits for the batch, and returns the number."""
        return float(self.batch.numbers()[self.place])


class _Batch:
    """The device scalars of one step and device: one copy for all of them."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._copy: DeviceTensor | None = None
        self._error: Exception | None = None
        self._numbers: list[float] | None = None

    def launch(self) -> None:
        """Starts the copy. What fails is kept for those who ask: the training thread is to go on."""
        torch = sys.modules["torch"]
        tensors, self.tensors = self.tensors, []
        try:
            widest = _widest(tensors[0].device)
            self._copy = DeviceTensor(torch.stack([tensor.reshape(()).to(widest) for tensor in tensors]))
        except Exception as error:
            self._error = error

    def numbers(self) -> list[float]:
        """Waits for the copy, and returns the numbers.

        Raises:
            LogValueError: There is no copy.
        """
        if self._numbers is None:
            if self._copy is None:
                problem = self._error or "its step was interrupted"
                raise LogValueError(f"its copy was not made: {problem}") from self._error
            self._numbers = self._copy.arrived().tolist()
        return self._numbers


class DeviceScalars:
    """Gathers the device scalars of a step, so that each device makes one copy a step."""

    def __init__(self) -> None:
        self._batches: dict[object, _Batch] = {}

    def add(self, tensor: "Tensor") -> DeviceScalar:
        """Takes a tensor with one element, which must not be changed until the step ends."""
        batch = self._batches.setdefault(tensor.device, _Batch())
        batch.tensors.append(tensor)
        return DeviceScalar(batch, len(batch.tensors) - 1)

    def launch(self) -> None:
        """Starts the copies: the step has ended. Never raises for what a device does."""
        batches, self._batches = self._batches, {}
        for batch in batches.values():
            batch.launch()


def device_histogram(values: "Tensor", bins: int = BINS) -> DeviceTensor:
    """Bins values where they lie, without waiting for a result, and in parts, so that little memory is taken.

    Args:
        values: Shape (N,), N >= 1, any real dtype.
        bins: How many bins between the least and the greatest finite value.

    Returns:
        A copy of floats (bins + 8,): the counts, then count, min, max, mean, standard
        deviation of the finite values, and how many were NaN, +inf and -inf.
    """
    torch = sys.modules["torch"]
    widest = _widest(values.device)
    parts: Sequence[Tensor] = torch.split(values, _CHUNK)
    count, low, high, total, nan, pos_inf, neg_inf = _summed([_summary(part.to(widest)) for part in parts])
    mean = total / count
    span = torch.where(high > low, high - low, 1.0)
    # One more bin, for what is not finite.
    counts, squares = values.new_zeros(bins + 1, dtype=widest), values.new_zeros((), dtype=widest)
    for part in parts:
        numbers = part.to(widest)
        finite = numbers.isfinite()
        inside = torch.where(finite, numbers, low)
        squares += torch.where(finite, inside - mean, 0.0).square().sum()
        places = ((inside - low) / span * bins).clamp(0, bins - 1).nan_to_num(0)
        places = torch.where(finite, places, float(bins)).to(torch.int64)
        counts.index_add_(0, places, torch.ones_like(numbers))
    rest = [count, low, high, mean, (squares / count).sqrt(), nan, pos_inf, neg_inf]
    return DeviceTensor(torch.cat([counts[:bins], torch.stack(rest)]))


def _summary(numbers: "Tensor") -> "list[Tensor]":
    """Returns count, min, max and sum of the finite numbers, and how many are NaN, +inf and -inf."""
    torch = sys.modules["torch"]
    finite = numbers.isfinite()
    return [
        finite.sum().to(numbers.dtype),
        torch.where(finite, numbers, float("inf")).amin(),
        torch.where(finite, numbers, float("-inf")).amax(),
        torch.where(finite, numbers, 0.0).sum(),
        *(found.sum().to(numbers.dtype) for found in (numbers.isnan(), numbers.isposinf(), numbers.isneginf())),
    ]


def _summed(summaries: "list[list[Tensor]]") -> "list[Tensor]":
    """Returns the summary of all parts together."""
    torch = sys.modules["torch"]
    count, low, high, *rest = (torch.stack(numbers) for numbers in zip(*summaries, strict=True))
    return [count.sum(), low.amin(), high.amax(), *(numbers.sum() for numbers in rest)]


def binned(numbers: np.ndarray) -> "Histogram":
    """Returns the histogram that ``device_histogram`` made, once its copy has arrived."""
    counts, (count, low, high, mean, std, nan, pos_inf, neg_inf) = numbers[:-8], numbers[-8:].tolist()
    if not low < high:  # equal values, or no finite one: nothing that has a range
        few = histogram(np.array([low]), total=int(count) or 1, bins=len(counts))
        return few._replace(nan=int(nan), pos_inf=int(pos_inf), neg_inf=int(neg_inf))
    return Histogram(
        counts=counts.astype(np.int64),
        edges=np.linspace(low, high, len(counts) + 1),
        count=int(count),
        min=low,
        max=high,
        mean=mean,
        std=std,
        nan=int(nan),
        pos_inf=int(pos_inf),
        neg_inf=int(neg_inf),
    )
