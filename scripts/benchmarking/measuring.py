"""What is measured of a process, and how many measurements become one figure."""

import math
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil


def quantile(values: Sequence[float], fraction: float) -> float:
    """Returns the smallest of ``values`` that is at least as large as ``fraction`` (in 0 ... 1) of them."""
    return sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)]


def turns(count: int, repeats: int) -> Iterator[int]:
    """Yields who is next, of ``count``: each once a repeat, in an order that begins with another one every time.

    So a machine that is busy for a while slows all of them.
    """
    for number in range(repeats):
        for place in range(count):
            yield (number + place) % count


def cpu_of_tree_s() -> float:
    """Returns the CPU seconds of this process and of all that it started, those that run and those that ended."""
    total_s = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        spent = resource.getrusage(who)
        total_s += spent.ru_utime + spent.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:  # it ended just now; the next call finds it among those that ended
            continue
        total_s += times.user + times.system
    return total_s


def resident_bytes() -> int:
    """Returns the memory of this process that is in use, in bytes."""
    return psutil.Process().memory_info().rss


def bytes_on_disk(directory: Path) -> int:
    """Returns the length of all files below a directory, in bytes."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
