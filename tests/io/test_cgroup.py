"""Control groups of both versions, from trees as the kernel lays them out."""

from pathlib import Path

import pytest

from ml.io.cgroup import Cgroup

SECOND = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    "cpu.max": "150000 100000\n",
    "memory.current": "1048576\n",
    "memory.peak": "3145728\n",
    "memory.max": "2097152\n",
}
FIRST = {
    "cpuacct/cpuacct.usage": "2500000000\n",
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "memory/memory.usage_in_bytes": "1048576\n",
    "memory/memory.max_usage_in_bytes": "3145728\n",
    "memory/memory.limit_in_bytes": "2097152\n",
}


def second(directory: Path, group: str = "", seen_as: str | None = None, **files: str) -> Cgroup:
    place = directory / "root" / group.lstrip("/")
    place.mkdir(parents=True)
    for name, text in (SECOND | files).items():
        (place / name).write_text(text)
    (directory / "membership").write_text(f"0::{group or '/' if seen_as is None else seen_as}\n")
    return Cgroup(directory / "root", directory / "membership")


def first(directory: Path, group: str = "", seen_as: str | None = None, **files: str) -> Cgroup:
    shown = group or "/" if seen_as is None else seen_as
    for name, text in (FIRST | files).items():
        controller, file = name.split("/")
        place = directory / "root" / controller / group.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(text)
    (directory / "membership").write_text(f"9:name=systemd:/\n4:memory:{shown}\n2:cpu,cpuacct:{shown}\n0::/\n")
    return Cgroup(directory / "root", directory / "membership")


@pytest.mark.parametrize("make", [first, second])
@pytest.mark.parametrize(
    ("group", "seen_as"),
    [("/docker/abc", None), ("", None), ("", "/docker/abc")],
    ids=["own", "root", "container_whose_own_is_mounted_as_the_root"],
)
def test_usage_and_limits_are_those_of_the_group(tmp_path, make, group, seen_as):
    cgroup = make(tmp_path, group, seen_as)

    assert cgroup.cpu_s() == 2.5
    assert cgroup.cores() == 1.5
    assert (cgroup.memory_bytes(), cgroup.peak_memory_bytes(), cgroup.memory_limit_bytes()) == (2**20, 3 * 2**20, 2**21)


def test_a_group_without_limits_has_none(tmp_path):
    group = second(tmp_path / "2", **{"cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert (group.cores(), group.memory_limit_bytes()) == (None, None)

    no_limit = {"cpu/cpu.cfs_quota_us": "-1\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"}
    group = first(tmp_path / "1", **no_limit)
    assert (group.cores(), group.memory_limit_bytes()) == (None, None)


def test_a_kernel_that_keeps_no_peak_says_none(tmp_path):
    group = second(tmp_path)
    (tmp_path / "root" / "memory.peak").unlink()

    assert group.peak_memory_bytes() is None


@pytest.mark.parametrize("membership", [None, "", "0::/\n"])
def test_without_control_groups_every_reading_says_so(tmp_path, membership):
    if membership is not None:
        (tmp_path / "membership").write_text(membership)
    group = Cgroup(tmp_path / "root", tmp_path / "membership")

    for read in (group.cpu_s, group.cores, group.memory_bytes, group.memory_limit_bytes):
        with pytest.raises(OSError, match="control group"):
            read()
    assert group.peak_memory_bytes() is None


def test_a_line_that_is_none_of_a_membership_is_left_out(tmp_path):
    group = second(tmp_path)
    path = tmp_path / "membership"
    path.write_text(f"\nodd\n1:odd\n{path.read_text()}")

    assert Cgroup(tmp_path / "root", path).memory_bytes() == group.memory_bytes()
