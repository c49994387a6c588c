"""A file that cannot be trusted any more goes on in another one, and nothing that a sync returned from is lost."""

import errno
import logging
import os
import shutil
from contextlib import suppress
from itertools import count

import pytest

from ml.core.errors import ClosedError, WriteError
from ml.io.durable import DurableFile, Opening
from ml.io.files import AppendFile
from ml.io.segments import open_log, segments, whole_lines
from ml.testing import FaultyDisk

RECORDS = [b"record %d\n" % number for number in range(8)]


def read(path) -> list[bytes]:
    return list(whole_lines(path))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "json" / "log.jsonl"


@pytest.fixture
def file(path):
    return DurableFile(open_log(path))


def test_one_file_is_the_rule(path, file):
    for record in RECORDS:
        file.append(record)
        file.sync()
    file.close()

    assert os.listdir(path.parent) == ["log.jsonl"]
    assert path.read_bytes() == b"".join(RECORDS)


def test_after_a_failed_sync_what_was_not_synced_is_on_the_disk_in_the_next_file(path, file, caplog):
    file.append(b"synced\n")
    file.sync()
    file.append(b"lost by the kernel\n")
    with FaultyDisk({1}, errno.EIO, calls=("sync",)) as disk:
        file.sync()

    assert disk.calls_made == ["sync", "sync"], "the second one is the new file's"
    assert file.path.name == "log-2-7.jsonl"
    assert file.path.read_bytes() == b"lost by the kernel\n"
    assert path.read_bytes() == b"synced\nlost by the kernel\n", "the old file stays as it was"
    file.append(b"after\n")
    assert read(path) == [b"synced\n", b"lost by the kernel\n", b"after\n"], "readers have it once"
    assert "Input/output error" in caplog.text
    assert "log-2-7.jsonl, which begins with the 19 bytes that may have been lost" in caplog.text


def test_a_sync_that_cannot_be_made_good_says_so_until_it_can(path, file):
    file.append(RECORDS[0])
    with FaultyDisk(range(1, 10**9), errno.EIO, calls=("sync", "sync_directory")):
        for _ in range(3):
            with pytest.raises(WriteError, match="Input/output error"):
                file.sync()
        with pytest.raises(WriteError):
            file.append(RECORDS[1])
    assert read(path) == [RECORDS[0]], "kept where it was, and nothing was left behind by the attempts"
    assert len(segments(path)) == 1

    file.append(RECORDS[1])
    file.sync()
    assert read(path) == RECORDS[:2]
    assert [segment.size_bytes for segment in segments(path)] == [0, None]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.ESTALE])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_whatever_call_fails_everything_is_there_once_and_in_order(tmp_path, length, error):
    """And what a sync returned from is there as soon as it returned."""
    for first in count(1):
        path = tmp_path / str(first) / "log.jsonl"
        with FaultyDisk(range(first, first + length), error, max_write_bytes=5) as disk:
            file = None
            while file is None:
                with suppress(WriteError):
                    file = DurableFile(open_log(path))
            for number, record in enumerate(RECORDS, start=1):
                while True:
                    with suppress(WriteError):
                        file.append(record)
                        break
                with suppress(WriteError):
                    file.sync()
                    assert read(path) == RECORDS[:number]
        file.sync()
        assert read(path) == RECORDS
        with suppress(WriteError):
            file.close()
        if not disk.failures:
            break
    assert first > 25


def test_memory_is_bounded_by_syncing(path):
    file = DurableFile(open_log(path), max_unsynced_bytes=30)
    with FaultyDisk((), calls=("sync",)) as disk:
        for record in RECORDS:
            file.append(record)
            assert file.unsynced_bytes <= 30
    assert len(disk.calls_made) == 2


def test_what_cannot_be_kept_in_memory_is_not_taken(path):
    file = DurableFile(open_log(path), max_unsynced_bytes=30)
    with FaultyDisk(range(1, 100), errno.EIO, calls=("sync",)):
        for record in RECORDS[:3]:
            file.append(record)
        for _ in range(3):
            with pytest.raises(WriteError):
                file.append(RECORDS[3])
    file.append(RECORDS[3])
    file.sync()
    assert read(path) == RECORDS[:4]


def test_a_record_larger_than_the_memory_is_written_all_the_same(path):
    file = DurableFile(open_log(path), max_unsynced_bytes=30)
    file.append(b"x" * 1000 + b"\n")
    file.append(RECORDS[0])
    assert [len(line) for line in read(path)] == [1001, len(RECORDS[0])]
    assert file.unsynced_bytes == len(RECORDS[0])


def test_a_full_disk_is_no_reason_to_leave_the_file(path, file):
    file.append(RECORDS[0])
    for error in (errno.ENOSPC, errno.EDQUOT):
        with FaultyDisk(range(1, 5), error, calls=("write",)), pytest.raises(WriteError):
            file.append(RECORDS[1])
    file.append(RECORDS[1])
    assert path.read_bytes() == b"".join(RECORDS[:2])
    assert len(segments(path)) == 1


def test_on_a_network_file_system_a_full_disk_may_have_taken_earlier_records_and_they_are_written_again(path, file):
    class Remote(FaultyDisk):
        def is_remote(self, path):
            return True

    file.append(RECORDS[0])
    with Remote({1}, errno.EDQUOT, calls=("write",)), pytest.raises(WriteError):
        file.append(RECORDS[1])
    file.sync()
    assert file.path.read_bytes() == RECORDS[0]
    assert file.path.name == "log-2-0.jsonl"
    assert read(path) == RECORDS[:1]


def test_after_a_write_that_failed_otherwise_the_file_is_left(path, file):
    file.append(RECORDS[0])
    with FaultyDisk({1}, errno.EIO, calls=("write",)), pytest.raises(WriteError):
        file.append(RECORDS[1])
    file.append(RECORDS[1])
    assert [segment.path.name for segment in segments(path)] == ["log.jsonl", "log-2-0.jsonl"]
    assert read(path) == RECORDS[:2]


# --- removed, renamed, replaced ---------------------------------------------------------------------------------------


def test_a_file_that_was_removed_is_made_again_at_its_place_with_what_was_not_synced(path, file, caplog):
    file.append(b"gone for good\n")
    file.sync()
    file.append(b"kept in memory\n")
    path.unlink()
    file.append(b"new\n")

    assert read(path) == [b"kept in memory\n", b"new\n"]
    assert os.listdir(path.parent) == ["log.jsonl"]
    assert f"{path} was removed or renamed while in use" in caplog.text
    assert "Of the file before, the first 14 bytes were on the disk" in caplog.text


def test_a_removal_is_seen_by_a_sync_as_well(path, file):
    file.append(RECORDS[0])
    shutil.rmtree(path.parent)
    file.sync()
    assert read(path) == RECORDS[:1]


def test_a_renamed_directory_keeps_its_file_and_a_new_one_begins_with_what_was_not_synced(path, file, tmp_path):
    file.append(RECORDS[0])
    file.sync()
    file.append(RECORDS[1])
    path.parent.rename(tmp_path / "moved")
    file.append(RECORDS[2])
    file.close()

    assert read(path) == RECORDS[1:3]
    assert read(tmp_path / "moved" / "log.jsonl") == RECORDS[:2]


def test_a_file_that_somebody_put_in_its_place_is_not_written_to(path, file, tmp_path):
    """An editor that saves does that."""
    file.append(RECORDS[0])
    file.sync()
    file.append(RECORDS[1])
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.rename(path)
    file.append(RECORDS[2])

    assert path.read_bytes() == b"".join(RECORDS[:2])
    assert read(path) == RECORDS[:3]


def test_a_later_file_that_was_removed_is_made_again_at_its_own_place(path, file):
    file.append(RECORDS[0])
    file.sync()
    file.append(RECORDS[1])
    with FaultyDisk({1}, errno.EIO, calls=("sync",)):
        file.sync()
    file.path.unlink()
    file.append(RECORDS[2])
    assert [segment.path.name for segment in segments(path)] == ["log.jsonl", "log-2-9.jsonl"]
    assert read(path) == [RECORDS[0], RECORDS[2]], "what was on the disk in the file that was removed went with it"


def test_a_stale_handle_of_a_network_file_system_is_a_file_that_went(path, file):
    file.append(RECORDS[0])
    with FaultyDisk({1}, errno.ESTALE, calls=("write",)), pytest.raises(WriteError):
        file.append(RECORDS[1])
    file.append(RECORDS[1])
    assert read(path) == RECORDS[:2]


def test_a_file_system_that_numbers_files_anew_at_every_look_is_not_taken_for_one_that_replaces_them(path):
    class Unstable(FaultyDisk):
        def __init__(self):
            super().__init__(())
            self.numbers = count()

        def identity(self, file):
            device, _ = super().identity(file)
            return device, next(self.numbers)

    with Unstable():
        file = DurableFile(open_log(path))
        for record in RECORDS:
            file.append(record)
    assert len(segments(path)) == 1
    path.unlink()
    file.append(b"new\n")
    assert read(path)[-1] == b"new\n", "that it is gone is still seen"


# --- the rest of its life ---------------------------------------------------------------------------------------------


def test_rotating_makes_the_old_file_durable_and_begins_the_next(tmp_path):
    openings: list[Opening] = []

    def open_next(opening):
        openings.append(opening)
        return AppendFile(tmp_path / str(opening.number), exclusive=True)

    file = DurableFile(open_next)
    file.append(RECORDS[0])
    with FaultyDisk((), calls=("sync", "open", "close")) as disk:
        file.rotate()
    file.append(RECORDS[1])

    assert disk.calls_made == ["sync", "open", "close"]
    assert openings == [Opening(1, None, 0), Opening(2, tmp_path / "1", len(RECORDS[0]))]
    assert [(tmp_path / name).read_bytes() for name in ("1", "2")] == RECORDS[:2]


def test_when_there_is_no_next_file_rotating_leaves_it_where_it_was(path, file):
    file.append(RECORDS[0])
    with FaultyDisk({1}, calls=("open",)), pytest.raises(WriteError):
        file.rotate()
    file.append(RECORDS[1])
    assert read(path) == RECORDS[:2]
    assert len(segments(path)) == 1


def test_closing_syncs_once_more_and_nothing_is_taken_after(path, file):
    file.append(RECORDS[0])
    with FaultyDisk((), calls=("sync",)) as disk:
        file.close()
        file.close()
    assert disk.calls_made
    for call in (lambda: file.append(b"late\n"), file.sync, file.rotate):
        with pytest.raises(ClosedError, match="is closed"):
            call()


def test_closing_on_a_disk_that_is_gone_says_so_and_leaves_no_descriptor(path, file):
    file.append(RECORDS[0])
    before = len(os.listdir("/dev/fd"))
    with FaultyDisk(range(1, 100), errno.EIO, calls=("sync",)), pytest.raises(WriteError):
        file.close()
    assert len(os.listdir("/dev/fd")) == before - 1


def test_a_forked_child_writes_nothing_even_when_the_file_went(path, file):
    file.append(RECORDS[0])
    path.unlink()
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: file.append(b"child\n"), file.sync, file.rotate):
            try:
                call()
            except ClosedError:
                refused += 1
        file.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert not path.exists()
    file.sync()
    assert read(path) == RECORDS[:1]


def test_a_notice_can_go_elsewhere_than_to_the_log(path, caplog):
    notices: list[str] = []
    file = DurableFile(open_log(path), notice=notices.append)
    path.unlink()
    with caplog.at_level(logging.WARNING):
        file.append(RECORDS[0])
    assert len(notices) == 1
    assert not caplog.records
