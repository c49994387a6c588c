"""The control group that a process lies in, both versions of them: what a container's processes use, and may use."""

from collections.abc import Iterator
from pathlib import Path

ROOT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

_UNLIMITED_BYTES = 2**60  # version 1 has a number where it means none: what fits in its pages


class Cgroup:
    """Reads one control group. Where its own directory cannot be seen, as in a container, the root's is the group's.

    Args:
        root: Where control groups are mounted.
        membership: Which groups a process lies in, one line a hierarchy.
    """

    def __init__(self, root: Path = ROOT, membership: Path = MEMBERSHIP) -> None:
        self._root, self._groups = root, dict(_memberships(membership))

    def cpu_s(self) -> float:
        """Returns the CPU time of all its processes.

        Raises:
            OSError: There is no such group, or it does not count.
        """
        if (text := self._second("cpu.stat")) is not None:
            fields = dict(line.split() for line in text.splitlines())
            return int(fields["usage_usec"]) / 1e6
        return int(self._first("cpuacct", "cpuacct.usage")) / 1e9

    def cores(self) -> float | None:
        """Returns the cores that it may use, e.g. 1.5; ``None``: all there are.

        Raises:
            OSError: There is no such group.
        """
        if (text := self._second("cpu.max")) is not None:
            quota, period = text.split()
            return None if quota == "max" else int(quota) / int(period)
        quota_us = int(self._first("cpu", "cpu.cfs_quota_us"))
        return None if quota_us < 0 else quota_us / int(self._first("cpu", "cpu.cfs_period_us"))

    def memory_bytes(self) -> int:
        """Returns the memory of all its processes, files that the kernel has cached for them included.

        Raises:
            OSError: There is no such group, or it does not count.
        """
        text = self._second("memory.current")
        return int(self._first("memory", "memory.usage_in_bytes") if text is None else text)

    def peak_memory_bytes(self) -> int | None:
        """Returns the most it ever used; ``None`` where the kernel is too old to say."""
        try:
            text = self._second("memory.peak")
            return int(self._first("memory", "memory.max_usage_in_bytes") if text is None else text)
        except OSError:
            return None

    def memory_limit_bytes(self) -> int | None:
        """Returns the memory that it may use; ``None``: all there is.

        Raises:
            OSError: There is no such group.
        """
        text = self._second("memory.max")
        if text is not None:
            return None if text.strip() == "max" else int(text)
        limit = int(self._first("memory", "memory.limit_in_bytes"))
        return None if limit >= _UNLIMITED_BYTES else limit

    def _second(self, name: str) -> str | None:
        """A file of version 2; ``None`` where there is none, as the root has no usage of its own, or version 1."""
        group = self._groups.get("")
        for directory in _directories(self._root, group) if group is not None else ():
            try:
                return (directory / name).read_text("ascii")
            except OSError:
                continue
        return None

    def _first(self, controller: str, name: str) -> str:
        group = self._groups.get(controller)
        if group is None:
            raise OSError(f"this process lies in no control group that has {name}")
        for directory in _directories(self._root / controller, group):
            try:
                return (directory / name).read_text("ascii")
            except FileNotFoundError:
                continue
        raise OSError(f"there is no {name} below {self._root / controller}")


def _memberships(path: Path) -> Iterator[tuple[str, str]]:
    """Each controller and the group it has the process in; version 2 has one hierarchy for all, ``""``."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, is_whole, group = rest.partition(":")
        for controller in controllers.split(",") if is_whole else ():
            yield controller, group


def _directories(root: Path, group: str) -> list[Path]:
    own = root / group.lstrip("/")
    return [own] if own == root else [own, root]
