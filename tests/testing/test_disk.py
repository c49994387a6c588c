import errno

import pytest

from ml.core.errors import WriteError
from ml.io.files import AppendFile
from ml.testing import FaultyDisk


def test_the_named_call_fails_and_the_others_do_not(tmp_path):
    with FaultyDisk({4}) as disk:
        file = AppendFile(tmp_path / "file")  # opens, and syncs the directory
        file.append(b"one")
        with pytest.raises(WriteError, match="No space left"):
            file.append(b"two")
        file.append(b"three")

    assert disk.failures == 1
    assert (tmp_path / "file").read_bytes() == b"onethree"


def test_a_disk_is_well_again_when_it_is_left(tmp_path):
    file = AppendFile(tmp_path / "file")
    with FaultyDisk({1}), pytest.raises(WriteError):
        file.append(b"one")
    file.append(b"two")

    assert (tmp_path / "file").read_bytes() == b"two"


def test_an_error_can_be_chosen_and_the_calls_that_are_counted(tmp_path):
    file = AppendFile(tmp_path / "file")
    with FaultyDisk({2}, errno.EIO, calls=("sync",)) as disk:
        file.append(b"one")
        file.sync()
        with pytest.raises(WriteError, match="Input/output error"):
            file.sync()

    assert disk.calls_made == ["sync", "sync"]
    assert disk.failures == 1


def test_writes_can_be_short(tmp_path):
    with FaultyDisk((), calls=("write",), max_write_bytes=2) as disk, AppendFile(tmp_path / "file") as file:
        file.append(b"hello")

    assert disk.calls_made == ["write"] * 3
    assert (tmp_path / "file").read_bytes() == b"hello"
