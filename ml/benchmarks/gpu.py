"""What a call makes NVIDIA's GPUs do: utilisation, memory and power through NVML, and time through CUDA's events.

Without nvidia-ml-py, a driver or the device there is one notice, and no value: its source is ``unavailable``, and its
reason says what is missing. A device is counted as CUDA counts it, see ``ml.benchmarks.nvml``.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from ml.benchmarks.energy import positive
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.nvml import Device, Nvml, UnreadableError, open_nvml
from ml.benchmarks.series import Series
from ml.core.errors import ConfigError
from ml.io.process import Family

_CAPTURING = "a CUDA graph was being recorded, which allows no waiting"
_WHOLE_DEVICE = "of the whole device: NVML does not list this process, nor its children"


class GPUMetric(Metric):
    """Measures how busy a GPU is, in percent: the mean of what NVML says about the last fraction of a second.

    Args:
        description: What its measurements are called in the database.
        interval: Seconds between two readings.
        id: Which device, as CUDA counts them, or a UUID (``"GPU-..."``, ``"MIG-..."``).
        nvml: The GPUs; by default those that this process may use.

    Raises:
        ConfigError: ``interval`` or ``id`` is none.
    """

    type, unit = "gpu", "%"

    def __init__(self, description: str, interval: float = 1, id: int | str = 0, *, nvml: Nvml | None = None) -> None:
        super().__init__(description)
        self._target = _Target(interval, id, nvml)

    def begin(self) -> Probe:
        return self._target.probe(
            lambda device: _Readings(self._target.interval_s, device.utilization, device.notes.utilization)
        )


class GPUPowerMetric(Metric):
    """Measures what a GPU takes, in watts: the mean of NVML's readings; of an instance (MIG) that of the whole device.

    Args:
        description: As of ``GPUMetric``; so are the others.
        interval: See there.
        id: See there.
        nvml: See there.

    Raises:
        ConfigError: ``interval`` or ``id`` is none.
    """

    type, unit = "gpu_power", "W"

    def __init__(self, description: str, interval: float = 1, id: int | str = 0, *, nvml: Nvml | None = None) -> None:
        super().__init__(description)
        self._target = _Target(interval, id, nvml)

    def begin(self) -> Probe:
        return self._target.probe(lambda device: _Readings(self._target.interval_s, device.power_w, device.notes.power))


class GPUMemoryMetric(Metric):
    """Measures memory of a GPU, in MiB, at its highest: what this process and its children take.

    Where NVML does not list them (in most containers), it is what everyone takes, and ``reason`` says so.

    Args:
        description: As of ``GPUMetric``; so are the others.
        interval: See there.
        id: See there.
        nvml: See there.

    Raises:
        ConfigError: ``interval`` or ``id`` is none.
    """

    type, unit = "gpu_memory", "MiB"

    def __init__(self, description: str, interval: float = 1, id: int | str = 0, *, nvml: Nvml | None = None) -> None:
        super().__init__(description)
        self._target = _Target(interval, id, nvml)

    def begin(self) -> Probe:
        return self._target.probe(lambda device: _MemoryReadings(self._target.interval_s, device))


class Event(Protocol):
    """A place in a stream: ``torch.cuda.Event``."""

    def record(self, stream: object) -> None:
        """Is put behind what the stream has to do so far."""

    def synchronize(self) -> None:
        """Waits until the stream has come here."""

    def elapsed_time(self, end: "Event") -> float:
        """Returns milliseconds until another one."""


class Cuda(Protocol):
    """What is used of ``torch.cuda``."""

    def is_initialized(self) -> bool:
        """Whether this process has used CUDA."""

    def is_current_stream_capturing(self) -> bool:
        """Whether a graph is recorded, which allows no waiting."""

    def current_stream(self) -> object:
        """Returns where work goes."""

    def Event(self, *, enable_timing: bool) -> Event:  # noqa: N802  # the name is torch's
        """Makes an event."""


class GPUTimeMetric(Metric):
    """Measures how long the current CUDA stream is at a call's work, in seconds, through two events of torch.

    At the end of a call it waits for that work, once, and never before; so the call takes as long as its kernels do,
    which a call that only hands them over does not. It never starts CUDA itself: where the program has not used it
    before the call there is no value.

    Args:
        description: What its measurements are called in the database.
        cuda: ``torch.cuda``; by default that of the torch that the program has loaded.
    """

    type, unit = "gpu_time", "s"

    def __init__(self, description: str, *, cuda: Cuda | None = None) -> None:
        super().__init__(description)
        self._cuda = cuda

    def begin(self) -> Probe:
        cuda = self._cuda or getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is None:
            return _nothing("the program does not use torch, whose events are needed")
        known = cast(Cuda, cuda)
        if not known.is_initialized():
            return _nothing("the program had not used CUDA when the call began")
        return _Nothing(_CAPTURING) if known.is_current_stream_capturing() else _Events(known)


class _Target:
    """Which device is read, and how often."""

    def __init__(self, interval: float, number: int | str, nvml: Nvml | None) -> None:
        self.interval_s = positive("interval", interval)
        is_number = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        if not is_number and not (isinstance(number, str) and number):
            raise ConfigError(f"'id' must be the number of a GPU, from 0, or its UUID, got {number!r}.")
        self._number, self._nvml = number, nvml
        self.probe(lambda device: _Nothing(""))  # what is missing is told when the metric is made

    def probe(self, make: Callable[[Device], Probe]) -> Probe:
        nvml = open_nvml() if self._nvml is None else self._nvml  # anew, as a fork may lie between
        try:
            return make(nvml.device(self._number))
        except UnreadableError as error:
            nvml.tell(str(error))
            return _Nothing(str(error))


class _Nothing(Probe):
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def end(self, duration_s: float) -> Sequence[Finding]:
        return [Finding(None, "unavailable", self._reason)]


def _nothing(reason: str) -> Probe:
    nvml = open_nvml()
    if nvml.problem:
        nvml.tell(nvml.problem)
    return _Nothing("; ".join(filter(None, (reason, nvml.problem))))


class _Readings(Probe):
    """The mean of what a device says."""

    series: Series

    def __init__(self, interval_s: float, read: Callable[[], float], note: str = "") -> None:
        self.interval_s = interval_s
        self.series = Series()
        self._read = read
        self._notes = {note: None} if note else {}

    def sample(self, at_s: float) -> None:
        try:
            self.series.add(at_s, self._read())
        except UnreadableError as error:
            self._notes[str(error)] = None

    def end(self, duration_s: float) -> Sequence[Finding]:
        reason = "; ".join(self._notes)
        if not self.series.added:
            return [Finding(None, "unavailable", reason)]
        return [Finding(self.series.total / self.series.added, "nvml", reason, samples=self.series)]


class _MemoryReadings(Probe):
    """The highest share of this process and its children; of everyone, if it was never listed."""

    def __init__(self, interval_s: float, device: Device) -> None:
        self.interval_s = interval_s
        self._device, self._family = device, Family()
        self._all, self._own = Series(), Series()
        self._is_listed = False
        self._notes = {device.notes.memory: None} if device.notes.memory else {}

    def sample(self, at_s: float) -> None:
        self._family.find()
        pids = [os.getpid(), *(member.pid for member in self._family.members())]
        try:
            self._all.add(at_s, self._device.memory_mib())
        except UnreadableError as error:
            self._notes[str(error)] = None
            return
        taken_mib = self._device.memory_by_pid_mib()
        own_mib = [taken_mib[pid] for pid in pids if pid in taken_mib]
        self._is_listed = self._is_listed or bool(own_mib)
        self._own.add(at_s, sum(own_mib))  # who is not listed yet, or any more, takes nothing

    def end(self, duration_s: float) -> Sequence[Finding]:
        if not self._all:
            return [Finding(None, "unavailable", "; ".join(self._notes))]
        taken = self._own if self._is_listed else self._all
        reason = "; ".join(self._notes if self._is_listed else {_WHOLE_DEVICE: None, **self._notes})
        return [Finding(taken.highest, "nvml", reason, samples=taken)]


class _Events(Probe):
    """Two events on the stream that was current when the call began."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._stream = cuda, cuda.current_stream()
        self._began, self._ended = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self._began.record(self._stream)

    def end(self, duration_s: float) -> Sequence[Finding]:
        if self._cuda.is_current_stream_capturing():
            return [Finding(None, "unavailable", _CAPTURING)]
        try:
            self._ended.record(self._stream)
            self._ended.synchronize()
            return [Finding(self._began.elapsed_time(self._ended) / 1000, "cuda")]
        except RuntimeError as error:  # what a kernel did wrong is told here, too
            return [Finding(None, "unavailable", f"CUDA says '{str(error).splitlines()[0]}'")]
