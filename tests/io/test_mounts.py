import os

import pytest

from ml.io.mounts import is_remote


@pytest.mark.parametrize(
    ("kind", "expected"), [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False), ("tmpfs", False)]
)
def test_a_network_file_system_is_known_by_its_type(tmp_path, kind, expected):
    device = tmp_path.stat().st_dev
    (tmp_path / "mounts").write_text(
        "21 1 0:999 / /proc rw,nosuid shared:5 - nfs4 proc rw\n"
        f"36 35 {os.major(device)}:{os.minor(device)} / /data rw,noatime master:1 shared:2 - {kind} server:/data rw\n"
    )
    assert is_remote(tmp_path, tmp_path / "mounts") is expected


def test_without_a_list_of_mounts_every_file_system_is_a_local_one(tmp_path):
    assert is_remote(tmp_path, tmp_path / "absent") is False
    assert is_remote(tmp_path) is False, "as the kernel of this machine lists it"
