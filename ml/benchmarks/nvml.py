"""Reads NVIDIA's devices through NVML, the library of their driver: utilisation, memory, power, energy.

``open_nvml()`` gives the one of this process; ``Nvml`` takes the library, so anything with the functions of
``NvmlLibrary`` can be read. What cannot be read raises ``UnreadableError``, whose text says why, for a person.

A device is counted as CUDA counts it: with ``CUDA_VISIBLE_DEVICES=2,3`` number 0 is the machine's third. An instance of
a divided device (MIG) is named by its UUID; it has memory of its own, power and energy are those of the whole device.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from itertools import takewhile
from typing import NamedTuple, TypeVar, cast

from ml.benchmarks.counters import Counter
from ml.benchmarks.nvml_library import Handle, NvmlLibrary, Process

_log = logging.getLogger("ml")

_MIB = 2**20
_ENTRY = re.compile(r"\d+|(GPU|MIG)-.+")
_MISSING = "nvidia-ml-py is not installed: pip install 'ml-logbook[benchmarks]'"
_PART = "of the whole GPU: an instance (MIG) has no counter of its own"
_DIVIDED = "of the whole GPU, which is divided (MIG): the UUID of an instance gives what is its own"
_BUSY = "of GPUs in instances (MIG) NVML does not tell how busy they are"

T = TypeVar("T")


class UnreadableError(Exception):
    """There is no number, for the reason that is the text; nobody but this package's metrics sees it."""


class Device(NamedTuple):
    """A device, or an instance of one.

    Attributes:
        library: What is asked.
        handle: What is asked about.
        whole: The device itself: of an instance the one that it is part of.
        label: ``gpu-2``, as nvidia-smi counts.
        notes: What has to be said about its utilisation, memory and power.
    """

    library: NvmlLibrary
    handle: Handle
    whole: Handle
    label: str
    notes: "Notes"

    def utilization(self) -> float:
        """Returns how much of the last fraction of a second it was busy, 0 to 100."""
        return float(self._ask(lambda: self.library.nvmlDeviceGetUtilizationRates(self.handle).gpu))

    def memory_mib(self) -> float:
        """Returns what is taken of its memory, by whomever."""
        return self._ask(lambda: self.library.nvmlDeviceGetMemoryInfo(self.handle).used) / _MIB

    def memory_by_pid_mib(self) -> dict[int, float]:
        """Returns what each process takes that NVML lists; it may list none of those that there are."""
        taken: dict[int, float] = {}
        for processes in (self._computing, self._drawing):
            with suppress(UnreadableError):  # who draws is not told of every device
                for one in self._ask(processes):
                    if one.usedGpuMemory is not None:  # who does both is in both, with the same memory
                        taken[one.pid] = max(taken.get(one.pid, 0.0), one.usedGpuMemory / _MIB)
        return taken

    def power_w(self) -> float:
        """Returns what the whole device takes."""
        return self._ask(lambda: self.library.nvmlDeviceGetPowerUsage(self.whole)) / 1000

    def energy_uj(self) -> int:
        """Returns what the whole device has taken since its driver was loaded."""
        return self._ask(lambda: self.library.nvmlDeviceGetTotalEnergyConsumption(self.whole)) * 1000

    def _computing(self) -> Sequence[Process]:
        return self.library.nvmlDeviceGetComputeRunningProcesses(self.handle)

    def _drawing(self) -> Sequence[Process]:
        return self.library.nvmlDeviceGetGraphicsRunningProcesses(self.handle)

    def _ask(self, question: Callable[[], T]) -> T:
        return _ask(question, self.label)


class Notes(NamedTuple):
    """What has to be said about a reading of a device; empty where it is what one would think."""

    utilization: str = ""
    memory: str = ""
    power: str = ""


class Nvml:
    """The devices that this process may use.

    Args:
        library: The module ``pynvml``, or what has its functions; ``None``: it is not installed.
        visible: ``CUDA_VISIBLE_DEVICES``; ``None`` where it is not set, which means all.

    Attributes:
        problem: Why no device can be read at all; empty if that is not so.
    """

    def __init__(self, library: NvmlLibrary | None, visible: str | None = None) -> None:
        self.problem = "" if library is not None else _MISSING
        self._library, self._visible = library, visible
        self._told: set[str] = set()
        self._count = 0
        if library is not None:
            try:
                library.nvmlInit()
                self._count = library.nvmlDeviceGetCount()
            except Exception as error:  # what it raises is its own
                self.problem = f"No NVIDIA driver can be asked ({error})"

    def device(self, number: int | str) -> Device:
        """Returns the device with this number, or this UUID.

        Raises:
            UnreadableError: There is none.
        """
        if isinstance(number, str):
            return self.open(number)
        self._ready()
        entries = self.entries()
        if number >= len(entries):
            hidden = f" (CUDA_VISIBLE_DEVICES={self._visible})" if self._visible is not None else ""
            raise UnreadableError(f"There is no GPU {number}: this process has {len(entries)}{hidden}")
        return self.open(entries[number])

    def entries(self) -> list[str]:
        """Returns what stands for each device in ``CUDA_VISIBLE_DEVICES``; without a driver to ask, nothing."""
        if self.problem:
            return []
        if self._visible is None:
            return [str(index) for index in range(self._count)]
        # What comes after a wrong one CUDA hides, too.
        return list(takewhile(_ENTRY.fullmatch, map(str.strip, self._visible.split(","))))

    def open(self, entry: str) -> Device:
        """Returns the device that one of ``entries`` stands for.

        Raises:
            UnreadableError: There is none.
        """
        library = self._ready()
        handle = (
            _ask(lambda: library.nvmlDeviceGetHandleByIndex(int(entry))) if entry.isdecimal() else self._by_uuid(entry)
        )
        return _device(library, handle)

    def tell(self, reason: str) -> None:
        """Says once in this process that a device cannot be read."""
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("The GPU is not measured: %s. Its values are 'unavailable'.", reason)

    def _ready(self) -> NvmlLibrary:
        if self._library is None or self.problem:
            raise UnreadableError(self.problem)
        return self._library

    def _by_uuid(self, uuid: str) -> Handle:
        library = self._ready()
        try:
            return _ask(lambda: library.nvmlDeviceGetHandleByUUID(uuid))
        except UnreadableError:  # CUDA takes the beginning of one, too
            for index in range(self._count):
                handle, known = _ask(partial(_handle_and_uuid, library, index))
                if known.startswith(uuid):
                    return handle
            raise


def open_nvml() -> Nvml:
    """Returns NVML as it is in this process: opened once, and again after a fork."""
    return _opened(os.getpid())


@cache
def _opened(pid: int) -> Nvml:
    try:
        library = cast(NvmlLibrary, import_module("pynvml"))
    except ImportError:
        return Nvml(None)
    return Nvml(library, os.environ.get("CUDA_VISIBLE_DEVICES"))


class GpuMeter:
    """Counts what the devices take that this process may use, from when it is made; see ``counters.Meter``.

    Args:
        nvml: Whose devices.
        clock: Monotonic seconds.
    """

    source = "nvml"

    def __init__(self, nvml: Nvml, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml, self._clock = nvml, clock
        self._devices: dict[str, Device] = {}
        self._counters: dict[str, Counter] = {}
        for entry in nvml.entries():
            self._open(entry)
        self.read()

    def _open(self, entry: str) -> None:
        try:
            device = self._nvml.open(entry)
        except UnreadableError as error:
            self._counters[entry] = Counter(f"gpu-{entry}")
            self._counters[entry].note(str(error))
            return
        self._devices[device.label] = device  # by the label of the whole: of two instances it is counted once
        counter = self._counters[device.label] = Counter(device.label)
        if device.notes.power:
            counter.note(device.notes.power)

    def read(self) -> None:
        for label, device in self._devices.items():
            try:
                self._counters[label].advance(device.energy_uj(), self._clock())
            except UnreadableError as error:
                self._counters[label].note(str(error))

    def counters(self) -> Sequence[Counter]:
        return list(self._counters.values())

    def problem(self) -> str:
        if any(counter.measured for counter in self.counters()):
            return ""
        return (
            "; ".join(counter.notes for counter in self.counters() if counter.notes) or self._nvml.problem or "no GPU"
        )


def _device(library: NvmlLibrary, handle: Handle) -> Device:
    whole, notes = handle, Notes()
    if _says_yes(lambda: library.nvmlDeviceIsMigDeviceHandle(handle)):
        whole = _ask(lambda: library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
        notes = Notes(utilization=_BUSY, power=_PART)
    elif _says_yes(lambda: library.nvmlDeviceGetMigMode(handle)[0]):
        notes = Notes(utilization=_BUSY, memory=_DIVIDED)
    return Device(library, handle, whole, f"gpu-{_ask(lambda: library.nvmlDeviceGetIndex(whole))}", notes)


def _handle_and_uuid(library: NvmlLibrary, index: int) -> tuple[Handle, str]:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    return handle, library.nvmlDeviceGetUUID(handle)


def _says_yes(question: Callable[[], object]) -> bool:
    try:
        return bool(_ask(question))
    except UnreadableError:  # older than instances are, so it has none
        return False


def _ask(question: Callable[[], T], label: str = "GPU") -> T:
    try:
        return question()
    except Exception as error:  # what the library raises is its own; one that is old lacks functions
        raise UnreadableError(f"{label}: NVML says '{error}'") from error
