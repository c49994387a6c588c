"""What the operating system says about this process, about the processes it started, and about the whole machine.

Reading this process is cheap, a few microseconds, and may be done around every call. Finding the processes that it
started is not: that is for the sampler's thread, see ``Family.find``. CPU time is in seconds, of all threads;
memory in bytes. Everything is a total; what happened in between is the difference of two readings.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ml.core.errors import ConfigError
from ml.io.lifetime import tell_after_fork

try:
    import psutil
except ImportError as error:
    raise ConfigError(
        "Reading processes needs psutil, of the extra 'benchmarks': pip install 'ml-logbook[benchmarks]'."
    ) from error

MemoryKind = Literal["rss", "uss", "pss"]
MEMORY_KINDS: tuple[MemoryKind, ...] = get_args(MemoryKind)
"""Resident, pages that others may share included; unique, without those; proportional, with a share of those."""

_PROC = Path("/proc")
_PAGE_BYTES, _TICKS = resource.getpagesize(), os.sysconf("SC_CLK_TCK")
_HWM = b"\nVmHWM:"
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class ThisProcess:
    """Reads this process. Where there is ``/proc``, its files stay open: a reading is one system call."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._knows_own_peak = False
        tell_after_fork(self)

    @staticmethod
    def cpu_s() -> float:
        """Returns the CPU time of all threads, also of those that have ended."""
        return time.process_time()

    def rss_bytes(self) -> int:
        """Returns the memory that is resident."""
        text = self._read("statm")
        return int(text.split()[1]) * _PAGE_BYTES if text else int(psutil.Process().memory_info().rss)

    def peak_rss_bytes(self) -> int:
        """Returns the most that was ever resident. It can tell nothing about a time in which it did not grow."""
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
        if self._knows_own_peak:
            return highest
        # On Linux a program inherits that of who started it; it is its own from when it has grown beyond.
        text = self._read("status")
        start = text.find(_HWM)
        own = int(text[start + len(_HWM) :].split(maxsplit=1)[0]) * 1024 if start >= 0 else highest
        self._knows_own_peak = own >= highest
        return own

    def memory_bytes(self, kind: MemoryKind) -> int:
        """Returns the memory of one kind; all but ``rss`` take a millisecond a gigabyte.

        Raises:
            OSError: This system does not tell that kind.
        """
        return self.rss_bytes() if kind == "rss" else _memory_of(psutil.Process(), kind)

    def after_fork_in_child(self) -> None:
        """Opens the files anew: those are the parent's."""
        self._knows_own_peak = False
        files, self._files = self._files, {}
        for file in files.values():
            with suppress(OSError):
                os.close(file)

    def _read(self, name: str) -> bytes:
        try:
            file = self._files.get(name)
            if file is None:
                file = self._files.setdefault(name, os.open(f"/proc/self/{name}", os.O_RDONLY))
            return os.pread(file, 8192, 0)
        except OSError:
            return b""


def now_s() -> float:
    """Returns the time on the clock that says when processes were started: on Linux since boot, not to be set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.time()


class Member(NamedTuple):
    """A process of a family, when it was read.

    Attributes:
        pid: Its number.
        started_s: When it was started, to a hundredth of a second, on the clock of ``now_s``.
        cpu_s: CPU time; on Linux with that of its own children that have ended and were waited for.
    """

    pid: int
    started_s: float
    cpu_s: float


class Family:
    """The processes that a process started, and those that they started, and so on; itself not.

    Args:
        pid: Whose; by default this one's.
    """

    def __init__(self, pid: int | None = None) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._known: dict[int, psutil.Process] = {}

    def find(self) -> None:
        """Looks for them: milliseconds. One whose parent has ended stays known while it lives."""
        found: dict[int, psutil.Process] = {}
        for pid in _descendants(self.pid):
            with suppress(psutil.Error):
                found[pid] = psutil.Process(pid)
        for pid, process in list(self._known.items()):
            if found.get(pid, process) == process and process.is_running():
                found[pid] = process  # the same, with what it has cached
        self._known = found

    def members(self) -> list[Member]:
        """Reads those that were found, 20 us each; one that has ended is left out."""
        members = []
        for process in list(self._known.values()):
            with suppress(psutil.Error, OSError):
                members.append(_member(process))
        return members

    def memory_bytes(self, kind: MemoryKind) -> int:
        """Returns the memory of those that were found, added up: ``rss`` counts a shared page for each of them."""
        total = 0
        for process in list(self._known.values()):
            with suppress(psutil.Error):
                total += _memory_of(process, kind)
        return total

    def io_bytes(self) -> tuple[int, int]:
        """Returns what those that were found have read from and written to disks.

        Raises:
            OSError: This system does not tell.
        """
        read = written = 0
        for process in list(self._known.values()):
            with suppress(psutil.Error):
                counts = _io_counts(process)
                read, written = read + counts[0], written + counts[1]
        return read, written

    def __len__(self) -> int:
        """How many were found."""
        return len(self._known)


def waited_for_cpu_s() -> float:
    """Returns the CPU time of the children that have ended and were waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def own_io_bytes() -> tuple[int, int]:
    """Returns what this process has read from and written to disks.

    Raises:
        OSError: This system does not tell.
    """
    return _io_counts(psutil.Process())


def system_cpu_s() -> float:
    """Returns the CPU time that all cores together were busy, since the machine was started."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted as user time too
    return float(sum(times) - idle_s - guests_s)


def system_memory_bytes() -> int:
    """Returns the memory of the machine that is in use and could not be had by somebody else."""
    memory = psutil.virtual_memory()
    return int(memory.total - memory.available)


def system_io_bytes() -> tuple[int, int]:
    """Returns what all disks of the machine have read and written.

    Raises:
        OSError: This system does not tell.
    """
    counts = psutil.disk_io_counters()
    if counts is None:
        raise OSError("this system tells nothing of its disks")
    return counts.read_bytes, counts.write_bytes


def system_network_bytes() -> tuple[int, int]:
    """Returns what all network devices of the machine have received and sent, ``lo`` left out."""
    devices = psutil.net_io_counters(pernic=True)
    others = [counts for name, counts in devices.items() if name not in ("lo", "lo0")]
    return sum(counts.bytes_recv for counts in others), sum(counts.bytes_sent for counts in others)


def _member(process: psutil.Process) -> Member:
    if sys.platform != "linux":
        times = process.cpu_times()
        return Member(process.pid, process.create_time(), times.user + times.system)
    # psutil's start is on the wall clock, as of a whole second: too coarse to tell who was there first.
    fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
    return Member(process.pid, int(fields[19]) / _TICKS, sum(map(int, fields[11:15])) / _TICKS)


def _memory_of(process: psutil.Process, kind: MemoryKind) -> int:
    if kind == "rss":
        return int(process.memory_info().rss)
    memory = process.memory_full_info()
    if not hasattr(memory, kind):
        raise OSError(f"{sys.platform} does not tell the {kind} of a process")
    return int(getattr(memory, kind))


def _io_counts(process: psutil.Process) -> tuple[int, int]:
    if not hasattr(process, "io_counters"):
        raise OSError(f"{sys.platform} does not tell what a process reads and writes")
    counts = process.io_counters()
    return counts.read_bytes, counts.write_bytes


def _descendants(pid: int) -> Iterator[int]:
    """Every process below one. Linux keeps lists of children; elsewhere all processes are looked at."""
    if not (_PROC / str(pid) / "task" / str(pid) / "children").exists():
        with suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
        return
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for child in _children(parent):
            yield child
            waiting.append(child)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
    return children
