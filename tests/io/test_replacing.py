"""Large files that replace others: whole or not at all, and nothing is left of those that failed."""

import errno
import os
import subprocess
import sys

import pytest

from ml.core.errors import WriteError
from ml.io.replacing import replacing
from ml.testing import FaultyDisk


def test_the_file_is_in_its_place_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "new" / "a.zip"
    with replacing(path) as file:
        file.write(b"hello")
        assert not path.exists()

    assert path.read_bytes() == b"hello"
    assert os.listdir(path.parent) == ["a.zip"]


def test_a_file_has_the_rights_of_any_other_new_one(tmp_path):
    (tmp_path / "other").touch()
    with replacing(tmp_path / "a"):
        pass

    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_old_content_stays_and_nothing_else_when_the_block_raises(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(bytes(1 // 0))

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_left_goes_with_the_next_one_and_not_what_a_living_one_writes(tmp_path):
    program = "import sys\nfrom pathlib import Path\nfrom ml.io.replacing import replacing\n"
    program += "with replacing(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    file.flush()\n"
    program += "    print('written', flush=True)\n    sys.stdin.read()\n"
    path = tmp_path / "a"
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "written\n"
        with replacing(path) as file:
            file.write(b"first")
        left = set(os.listdir(tmp_path)) - {"a"}
        assert len(left) == 1
        process.kill()
    assert set(os.listdir(tmp_path)) == {"a", *left}
    with replacing(path) as file:
        file.write(b"second")

    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"second"


@pytest.mark.parametrize("call", ["sync", "rename", "open"])
def test_a_disk_that_fails_leaves_the_old_content(tmp_path, call):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    disk = FaultyDisk(range(1, 10**9), errno.ENOSPC, calls={call})
    with pytest.raises(WriteError), replacing(path, ops=disk) as file:
        file.write(b"new")

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
