import pytest

from ml.core.errors import WriteError
from ml.io.files import AppendFile
from ml.testing import FaultyDisk


def test_the_named_call_fails_and_the_others_do_not(tmp_path):
    with FaultyDisk({4}) as disk:
        file = AppendFile(tmp_path / "file")  # opens, and syncs the directory
        file.append(b"one")
        with pytest.raises(WriteError, match="disk full"):
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
