"""What a process with its children, its container, its machine and the machine's GPUs do.

By name, with units::

    {"process_cpu_percent": 187.5, "process_memory_mib": 1304.2, "host_cpu_percent": 51.0, "gpu0_power_w": 311.0, ...}

``process_*`` is this process with all that it started. 100 of ``process_cpu_percent`` is one core, of
``host_cpu_percent`` all of them. What is counted up by the system (CPU time, bytes read and sent) is a rate since the
reading before.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator

import psutil

from ml.benchmarks.cpu import FamilyCPU
from ml.benchmarks.nvml import Device, Nvml, UnreadableError
from ml.io.cgroup import Cgroup
from ml.io.process import (
    Family,
    ThisProcess,
    own_io_bytes,
    system_cpu_s,
    system_io_bytes,
    system_memory_bytes,
    system_network_bytes,
)
from ml.io.sampler import process_sampler

MIB = 2**20

Readings = Iterator[tuple[str, float]]

_log = logging.getLogger("ml")


class Rates:
    """What totals have grown a second.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._totals: dict[str, tuple[float, float]] = {}

    def of(self, name: str, total: float, factor: float = 1.0) -> Readings:
        """Yields the name and ``factor`` times the growth a second.

        Nothing the first time; 0 where the total has fallen, as a process has ended and took its share with it.
        """
        now_s = self._clock()
        before = self._totals.get(name)
        self._totals[name] = total, now_s
        if before is not None and now_s > before[1]:
            yield name, max(0.0, factor * (total - before[0]) / (now_s - before[1]))


class SystemReader:
    """Reads everything there is. To be made and read on the sampler's thread, as it takes milliseconds.

    What cannot be read is left out, and told once. Making it is the first reading, which rates count from.

    Args:
        nvml: Whose GPUs are read; ``None``: no GPU is.
        clock: Monotonic seconds.
    """

    def __init__(self, nvml: Nvml | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = Rates(clock)
        self._family, self._process, self._group = Family(), ThisProcess(), Cgroup()
        self._cpu = FamilyCPU(self._family, with_parent=True)
        self._cores = psutil.cpu_count() or 1
        self._memory_limit = _limit(self._group)
        self._told: set[str] = set()
        self._sources: list[Callable[[], Readings]] = [
            self._read_cpu, self._read_memory, self._read_process_disks, self._read_disks, self._read_network
        ]  # fmt: skip
        if self._memory_limit is not None:
            self._sources.append(self._read_group)
        self._sources += [self._read_gpu(number, device) for number, device in enumerate(_gpus(nvml))]
        self.read()

    def read(self) -> dict[str, float]:
        """Returns what is known now, by name."""
        values: dict[str, float] = {}
        for source in self._sources:
            try:
                values.update(source())
            except Exception as error:  # of psutil, of a driver; the others are read all the same
                if (text := f"{type(error).__name__}: {error}") not in self._told:
                    self._told.add(text)
                    _log.warning("A part of the system cannot be read, and is not logged: %s", text)
        return values

    def _read_cpu(self) -> Readings:
        yield from self._rates.of("process_cpu_percent", self._cpu(), 100)
        yield from self._rates.of("host_cpu_percent", system_cpu_s(), 100 / self._cores)
        yield from self._rates.of("sampling_cpu_percent", process_sampler().cost_s, 100)

    def _read_memory(self) -> Readings:
        yield "process_memory_mib", (self._process.rss_bytes() + self._family.memory_bytes("rss")) / MIB
        yield "process_children", len(self._family)
        yield "host_memory_mib", system_memory_bytes() / MIB

    def _read_group(self) -> Readings:
        assert self._memory_limit is not None
        yield "cgroup_memory_percent", 100 * self._group.memory_bytes() / self._memory_limit

    def _read_process_disks(self) -> Readings:
        own, others = own_io_bytes(), self._family.io_bytes()
        yield from self._rates.of("process_disk_read_mib_s", own[0] + others[0], 1 / MIB)
        yield from self._rates.of("process_disk_write_mib_s", own[1] + others[1], 1 / MIB)

    def _read_disks(self) -> Readings:
        read, written = system_io_bytes()
        yield from self._rates.of("host_disk_read_mib_s", read, 1 / MIB)
        yield from self._rates.of("host_disk_write_mib_s", written, 1 / MIB)

    def _read_network(self) -> Readings:
        received, sent = system_network_bytes()
        yield from self._rates.of("host_network_receive_mib_s", received, 1 / MIB)
        yield from self._rates.of("host_network_send_mib_s", sent, 1 / MIB)

    def _read_gpu(self, number: int, device: Device) -> Callable[[], Readings]:
        def read() -> Readings:
            yield f"gpu{number}_percent", device.utilization()
            yield f"gpu{number}_memory_mib", device.memory_mib()
            yield f"gpu{number}_power_w", device.power_w()

        return read


def _limit(group: Cgroup) -> int | None:
    """The memory that the container may use; ``None`` where there is none, or where it may use all."""
    try:
        return group.memory_limit_bytes()
    except (OSError, ValueError):
        return None


def _gpus(nvml: Nvml | None) -> Iterator[Device]:
    if nvml is None:
        return
    if nvml.problem and os.path.exists("/dev/nvidia0"):  # elsewhere nobody expects a GPU
        nvml.tell(nvml.problem)
    for entry in nvml.entries():
        try:
            yield nvml.open(entry)
        except UnreadableError as error:
            nvml.tell(str(error))
