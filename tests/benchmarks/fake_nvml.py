"""NVML's functions over made-up devices: what ``Nvml`` takes in the place of the module ``pynvml``."""
# ruff: noqa: N802  # the names are NVML's

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import NoReturn

MIB = 2**20


class FakeNvmlError(Exception):
    """What NVML raises."""


@dataclass(eq=False)
class FakeGpu:
    """A device, or an instance of ``parent``; what is ``None`` is not supported."""

    utilization: int | None = 0
    memory_mib: int | None = 0
    power_mw: int | None = 0
    energy_mj: int | None = 0
    uuid: str = "GPU-00000000"
    processes_mib: dict[int, int | None] = field(default_factory=dict)
    drawing_mib: dict[int, int | None] | None = None
    divided: bool = False
    parent: "FakeGpu | None" = None
    lost: bool = False


class FakeNvml:
    """The library; ``instances`` are found by their UUID alone."""

    def __init__(self, gpus: Sequence[FakeGpu], instances: Sequence[FakeGpu] = (), *, driver: bool = True) -> None:
        self.gpus, self.instances, self.driver = list(gpus), list(instances), driver
        self.calls: list[str] = []

    def nvmlInit(self) -> None:
        self.calls.append("nvmlInit")
        if not self.driver:
            raise FakeNvmlError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        if not 0 <= index < len(self.gpus):
            raise FakeNvmlError("Invalid Argument")
        return self._there(self.gpus[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:
        for gpu in (*self.gpus, *self.instances):
            if gpu.uuid == uuid:
                return self._there(gpu)
        raise FakeNvmlError("Not Found")

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetIndex(self, gpu: FakeGpu) -> int:
        return self.gpus.index(gpu)

    def nvmlDeviceIsMigDeviceHandle(self, gpu: FakeGpu) -> int:
        return int(gpu.parent is not None)

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:
        return [int(gpu.divided), int(gpu.divided)]

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, gpu: FakeGpu) -> FakeGpu:
        assert gpu.parent is not None
        return gpu.parent

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._told(gpu, gpu.utilization), memory=0)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> SimpleNamespace:
        return SimpleNamespace(used=self._told(gpu, gpu.memory_mib) * MIB)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[SimpleNamespace]:
        return self._listed(gpu, gpu.processes_mib)

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: FakeGpu) -> list[SimpleNamespace]:
        if gpu.drawing_mib is None:
            self._refuse()
        return self._listed(gpu, gpu.drawing_mib)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        return self._told(gpu, gpu.power_mw)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:
        return self._told(gpu, gpu.energy_mj)

    def _listed(self, gpu: FakeGpu, processes_mib: dict[int, int | None]) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if mib is None else mib * MIB)
            for pid, mib in processes_mib.items()
        ]

    def _told(self, gpu: FakeGpu, value: int | None) -> int:
        self._there(gpu)
        return self._refuse() if value is None else value

    @staticmethod
    def _there(gpu: FakeGpu) -> FakeGpu:
        if gpu.lost:
            raise FakeNvmlError("GPU is lost")
        return gpu

    @staticmethod
    def _refuse() -> NoReturn:
        raise FakeNvmlError("Not Supported")
