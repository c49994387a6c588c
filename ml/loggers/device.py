"""Copies of tensors from an accelerator, started on the training thread and waited for on a backend's.

A tensor is cloned on its own stream, so training may overwrite it next, and
copied to pinned memory on a side stream. An accelerator without streams copies
at once. ``torch`` comes through ``sys.modules``: there is a tensor, so it is loaded.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.core.errors import LogValueError
from ml.media.histogram import Histogram, histogram

if TYPE_CHECKING:
    from torch import Tensor

BINS = 64


class DeviceTensor:
    """A tensor on its way from an accelerator."""

    def __init__(self, tensor: "Tensor") -> None:
        torch = sys.modules["torch"]
        accelerator: ModuleType = torch.get_device_module(tensor.device)
        self.size_bytes = int(tensor.numel() * tensor.element_size())
        self._ready = None
        if not hasattr(accelerator, "Stream") or not hasattr(accelerator, "current_stream"):
            self._host = tensor.cpu()
            return
        if getattr(accelerator, "is_current_stream_capturing", lambda: False)():
            raise LogValueError("its graph is being captured, which allows no copies", "Log outside of the capture.")
        source = tensor.clone()
        side = accelerator.Stream(tensor.device)
        side.wait_stream(accelerator.current_stream(tensor.device))
        with accelerator.stream(side):
            self._host = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
            self._host.copy_(source, non_blocking=True)
            source.record_stream(side)
            self._ready = accelerator.Event()
            self._ready.record(side)

    def arrived(self) -> np.ndarray:
        """Waits for the copy, and returns it."""
        if self._ready is not None:
            self._ready.synchronize()
        array: np.ndarray = self._host.numpy()
        return array


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
        self._numbers: list[float] | None = None

    def launch(self) -> None:
        torch = sys.modules["torch"]
        wide = torch.float32 if self.tensors[0].device.type == "mps" else torch.float64
        self._copy = DeviceTensor(torch.stack([tensor.reshape(()).to(wide) for tensor in self.tensors]))
        self.tensors = []

    def numbers(self) -> list[float]:
        if self._numbers is None:
            assert self._copy is not None, "a scalar was read before its step ended"
            self._numbers = self._copy.arrived().tolist()
        return self._numbers


class DeviceScalars:
    """Gathers the device scalars of a step, so that each device makes one copy a step."""

    def __init__(self) -> None:
        self._batches: dict[object, _Batch] = {}

    def add(self, tensor: "Tensor") -> DeviceScalar:
        """Takes a tensor with one element."""
        batch = self._batches.setdefault(tensor.device, _Batch())
        batch.tensors.append(tensor)
        return DeviceScalar(batch, len(batch.tensors) - 1)

    def launch(self) -> None:
        """Starts the copies: the step has ended."""
        batches, self._batches = self._batches, {}
        for batch in batches.values():
            batch.launch()


def device_histogram(values: "Tensor", bins: int = BINS) -> DeviceTensor:
    """Bins values where they lie, without waiting for a result.

    Args:
        values: Shape (N,), N >= 1, any real dtype.
        bins: How many bins between the least and the greatest finite value.

    Returns:
        A copy of float64 (bins + 8,): the counts, then count, min, max, mean, standard
        deviation of the finite values, and how many were NaN, +inf and -inf.
    """
    torch = sys.modules["torch"]
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    values = values.to(wide)
    finite = values.isfinite()
    count = finite.sum()
    low = torch.where(finite, values, float("inf")).amin()
    high = torch.where(finite, values, float("-inf")).amax()
    inside = torch.where(finite, values, 0.0)
    mean = inside.sum() / count
    std = (torch.where(finite, inside - mean, 0.0).square().sum() / count).sqrt()
    span = torch.where(high > low, high - low, 1.0)
    places = ((inside - low) / span * bins).clamp(0, bins - 1).nan_to_num(0)
    places = torch.where(finite, places, float(bins)).to(torch.int64)
    counts = values.new_zeros(bins + 1).index_add_(0, places, torch.ones_like(values))[:bins]
    rest = [count, low, high, mean, std, values.isnan().sum(), values.isposinf().sum(), values.isneginf().sum()]
    return DeviceTensor(torch.cat([counts, torch.stack([number.to(wide) for number in rest])]))


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
