"""What is used of ``pynvml``, the module of nvidia-ml-py: anything with these functions can be read in its place.

A function that fails raises an exception of the library's, whose text says why.
"""
# ruff: noqa: N802  # the names are NVML's

from collections.abc import Sequence
from typing import Protocol

Handle = object
"""A device, or an instance of one (MIG)."""


class Utilization(Protocol):
    """Of the last fraction of a second."""

    gpu: int


class Memory(Protocol):
    """Bytes."""

    used: int


class Process(Protocol):
    """Someone who uses a device."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815  # bytes


class NvmlLibrary(Protocol):
    """What is used of the module ``pynvml``, of nvidia-ml-py."""

    def nvmlInit(self) -> None:
        """Loads the driver's library."""

    def nvmlDeviceGetCount(self) -> int:
        """Returns how many devices there are."""

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Handle:
        """Returns a device."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str, /) -> Handle:
        """Returns a device, or an instance of one."""

    def nvmlDeviceGetUUID(self, handle: Handle, /) -> str:
        """Returns ``GPU-...`` or ``MIG-...``."""

    def nvmlDeviceGetIndex(self, handle: Handle, /) -> int:
        """Returns which device it is."""

    def nvmlDeviceIsMigDeviceHandle(self, handle: Handle, /) -> object:
        """Returns something true of an instance."""

    def nvmlDeviceGetMigMode(self, handle: Handle, /) -> Sequence[int]:
        """Returns whether a device is divided, now and after a reset."""

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Handle, /) -> Handle:
        """Returns the device that an instance is part of."""

    def nvmlDeviceGetUtilizationRates(self, handle: Handle, /) -> Utilization:
        """Returns percents."""

    def nvmlDeviceGetMemoryInfo(self, handle: Handle, /) -> Memory:
        """Returns bytes."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Handle, /) -> Sequence[Process]:
        """Returns who computes."""

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Handle, /) -> Sequence[Process]:
        """Returns who draws."""

    def nvmlDeviceGetPowerUsage(self, handle: Handle, /) -> int:
        """Returns milliwatts."""

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Handle, /) -> int:
        """Returns millijoules since the driver was loaded."""
