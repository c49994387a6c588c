"""Files that are made once, whoever else makes them; how files are replaced is in test_files.py."""

import errno
import os

import pytest

from ml.core.errors import WriteError
from ml.io.atomic import create_atomically
from ml.io.fileops import FileOps
from ml.testing import FaultyDisk
from ml.testing.power import PowerCut


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    create_atomically(tmp_path / "file", b"first", mode=0o600)
    create_atomically(tmp_path / "file", b"second")

    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_of_two_that_make_a_file_at_once_the_first_counts(tmp_path):
    class Late(FileOps):
        def sync(self, descriptor):
            create_atomically(tmp_path / "file", b"first")

    create_atomically(tmp_path / "file", b"second", ops=Late())

    assert (tmp_path / "file").read_bytes() == b"first"


def test_where_there_are_no_links_a_file_is_made_all_the_same(tmp_path):
    class Plain(FileOps):
        def link(self, source, target):
            raise OSError(errno.EPERM, "no links")

    create_atomically(tmp_path / "file", b"content", ops=Plain())

    assert (tmp_path / "file").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", range(1, 6))
def test_a_failure_at_any_call_is_said_and_leaves_no_part_of_a_file(tmp_path, call):
    calls = ("open", "write", "sync", "link", "sync_directory")
    with FaultyDisk({call}, calls=calls) as disk, pytest.raises(WriteError):
        create_atomically(tmp_path / "file", b"content")

    assert disk.calls_made == list(calls[:call])
    assert os.listdir(tmp_path) == (["file"] if call == 5 else [])


def test_a_file_that_was_made_survives_a_power_cut(tmp_path):
    (tmp_path / "run").mkdir()
    with PowerCut(tmp_path / "run") as disk:
        create_atomically(tmp_path / "run/file", b"content")
        disk.note("made")
    for call in disk.calls():
        noted = disk.crash(call, tmp_path / str(call))
        found = tmp_path / str(call) / "file"
        assert found.read_bytes() == b"content" if noted else not found.exists() or found.read_bytes() == b"content"
