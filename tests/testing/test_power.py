"""A power cut takes what was not synced, and only that."""

import os
from contextlib import nullcontext
from random import Random

import pytest

from ml.core.errors import WriteError
from ml.io.atomic import write_atomically
from ml.io.files import AppendFile, make_directories
from ml.testing import PowerCut


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def found(disk, tmp_path, *, chance=None, call=None):
    """Returns what is found after the last call: the content of every file."""
    into = tmp_path / f"found-{len(os.listdir(tmp_path))}"
    disk.crash(disk.calls()[-1] if call is None else call, into, chance)
    return {str(path.relative_to(into)): path.read_bytes() for path in sorted(into.rglob("*")) if path.is_file()}


def test_what_was_synced_is_found_and_what_was_not_is_lost(root, tmp_path):
    with PowerCut(root) as disk:
        file = AppendFile(root / "log")
        file.append(b"one ")
        file.sync()
        disk.note("one")
        file.append(b"two")

    assert (root / "log").read_bytes() == b"one two", "nothing fails while it records"
    assert found(disk, tmp_path) == {"log": b"one "}
    assert found(disk, tmp_path, call=0) == {}
    notes = [disk.crash(call, tmp_path / f"call-{call}") for call in disk.calls()]
    assert notes[0] == []
    assert notes[-1] == ["one"]


def test_by_chance_any_part_of_what_was_not_synced_is_found_as_well(root, tmp_path):
    with PowerCut(root) as disk:
        file = AppendFile(root / "log")
        file.append(b"one ")
        file.sync()
        file.append(b"two")
    outcomes = {found(disk, tmp_path, chance=Random(seed))["log"] for seed in range(30)}

    assert {b"one ", b"one two", b"one \0\0\0", b"one t"} <= outcomes
    assert all(content.startswith(b"one ") for content in outcomes)


def test_a_name_is_lost_unless_its_directory_was_synced_and_so_is_what_lies_below(root, tmp_path):
    with PowerCut(root) as disk:
        os.mkdir(root / "theirs")  # not by our files: nothing of it is promised
        make_directories(root / "ours")
        for directory in ("theirs", "ours"):
            write_atomically(root / directory / "file", b"content")
    assert found(disk, tmp_path) == {"ours/file": b"content"}


def test_a_rename_that_was_not_synced_leaves_the_old_content(root, tmp_path):
    (root / "file").write_bytes(b"old")
    with PowerCut(root) as disk:
        write_atomically(root / "file", b"new")
    contents = [found(disk, tmp_path, call=call)["file"] for call in disk.calls()]
    assert contents[0] == b"old"
    assert contents[-1] == b"new"
    assert set(contents) == {b"old", b"new"}


def test_what_a_failed_sync_should_have_written_is_lost_although_the_next_one_succeeds(root, tmp_path):
    with PowerCut(root, failing_syncs={2}) as disk:
        descriptor = disk.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        disk.sync_directory(root)
        for data in (b"one ", b"two ", b"three"):
            disk.write(descriptor, memoryview(data))
            with pytest.raises(OSError, match="Input/output") if data == b"two " else nullcontext():
                disk.sync(descriptor)
        disk.close(descriptor)
    assert found(disk, tmp_path) == {"log": b"one \0\0\0\0three"}


def test_a_cut_that_was_not_synced_may_not_have_happened(root, tmp_path):
    (root / "log").write_bytes(b"whole torn")
    with PowerCut(root) as disk:
        descriptor = disk.open(root / "log", os.O_RDWR, 0)
        disk.truncate(descriptor, 5)
        disk.close(descriptor)
    assert found(disk, tmp_path) == {"log": b"whole torn"}
    assert {found(disk, tmp_path, chance=Random(seed))["log"] for seed in range(20)} == {b"whole torn", b"whole"}


def test_a_failed_sync_is_an_error_of_the_file(root):
    with PowerCut(root, failing_syncs={1}):
        file = AppendFile(root / "log")
        with pytest.raises(WriteError, match="Input/output error"):
            file.sync()
