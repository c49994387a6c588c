"""A file that cannot be trusted any more goes on in another one, and nothing that a sync returned from is lost."""

import errno
import logging
import os
import shutil
from contextlib import suppress
from itertools import count, product

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


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_whatever_three_calls_fail_the_file_goes_on(tmp_path, error):
    """A sync, the sync of the next file, and its removal: these are three, and other calls succeed between them."""
    gaps = list(product(range(1, 5), repeat=2))
    for first in count(1):
        failures = 0
        for gap, other_gap in gaps:
            path = tmp_path / f"{first}-{gap}-{other_gap}" / "log.jsonl"
            file = DurableFile(open_log(path))
            failing = {first, first + gap, first + gap + other_gap}
            with FaultyDisk(failing, error, calls=("write", "sync", "unlink")) as disk:
                for number, record in enumerate(RECORDS[:3], start=1):
                    for _ in range(4):
                        with suppress(WriteError):
                            file.append(record)
                            break
                    with suppress(WriteError):
                        file.sync()
                        assert read(path) == RECORDS[:number]
            file.close()
            assert read(path) == RECORDS[:3], failing
            failures += disk.failures
        if not failures:
            break
    assert first > 5


def test_a_new_file_that_failed_and_was_removed_by_somebody_is_forgotten(path, file, tmp_path):
    class Removed(FaultyDisk):
        def sync(self, descriptor):
            if len(self.calls_made) == 1:
                shutil.rmtree(path.parent)
            super().sync(descriptor)

    file.append(RECORDS[0])
    with Removed({1, 2}, errno.EIO, calls=("sync",)), pytest.raises(WriteError, match="Input/output error"):
        file.sync()
    file.append(RECORDS[1])
    file.sync()
    assert read(path) == RECORDS[:2]
    assert os.listdir(path.parent) == ["log.jsonl"], "as if it had never been"


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


@pytest.mark.parametrize("error", [errno.EIO, errno.EFBIG])
def test_after_a_write_that_failed_otherwise_the_file_is_left(path, file, error):
    file.append(RECORDS[0])
    with FaultyDisk({1}, error, calls=("write",)), pytest.raises(WriteError):
        file.append(RECORDS[1])
    file.append(RECORDS[1])
    assert [segment.path.name for segment in segments(path)] == ["log.jsonl", "log-2-0.jsonl"]
    assert read(path) == RECORDS[:2]


@pytest.mark.parametrize("begun", [0, 1])
@pytest.mark.parametrize("error", [errno.EIO, errno.EFBIG])
def test_a_record_that_no_file_takes_leaves_no_empty_ones_behind(path, file, error, begun):
    for record in RECORDS[:begun]:
        file.append(record)
        file.sync()
    with FaultyDisk(range(1, 10**9), error, calls=("write",)):
        for _ in range(5):
            with pytest.raises(WriteError):
                file.append(RECORDS[1])
        assert len(segments(path)) == 1 + begun
    file.append(RECORDS[1])
    assert read(path) == [*RECORDS[:begun], RECORDS[1]]


def test_an_empty_file_that_cannot_be_made_again_takes_what_comes_when_it_can(path, file):
    file.append(RECORDS[0])
    file.sync()
    with FaultyDisk({1, 2, 4, 5}, errno.EIO, calls=("write", "open")):  # written, written to the next; not made again
        for _ in range(4):
            with pytest.raises(WriteError):
                file.append(RECORDS[1])
    file.append(RECORDS[1])
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


# --- two that write one log -------------------------------------------------------------------------------------------


@pytest.fixture
def other(path, file):
    """A requeued run beside the old one that still runs."""
    return DurableFile(open_log(path))


def test_a_failed_write_costs_nothing_that_another_run_has_appended(path, file, other):
    file.append(RECORDS[0])
    with FaultyDisk({1}, errno.ENOSPC, calls=("write",)), pytest.raises(WriteError):
        other.append(RECORDS[1])
    other.append(RECORDS[2])
    file.append(RECORDS[3])
    assert read(path) == [RECORDS[0], *RECORDS[2:4]]
    assert path.read_bytes() == b"".join(read(path))


def test_a_cut_that_is_made_up_for_costs_nothing_that_another_run_has_appended_since(path, file, other):
    other.append(RECORDS[0])
    other.sync()
    with FaultyDisk({1, 2}, errno.ENOSPC, calls=("write", "truncate")), pytest.raises(WriteError):
        other.append(RECORDS[1])
    file.append(RECORDS[2])
    file.append(RECORDS[3])
    with pytest.raises(WriteError, match="Another process writes to it"):
        other.append(RECORDS[1])
    other.append(RECORDS[1])
    torn = RECORDS[1][: len(RECORDS[1]) // 2]
    assert path.read_bytes() == RECORDS[0] + torn + b"".join(RECORDS[2:4]), "a torn line, and no other"
    assert read(path) == [RECORDS[0], torn + RECORDS[2], RECORDS[3], RECORDS[1]]


def test_an_empty_file_that_another_run_has_begun_to_write_is_not_removed(path, file, other):
    file.append(RECORDS[0])
    with FaultyDisk({1}, errno.EIO, calls=("write",)), pytest.raises(WriteError):
        other.append(RECORDS[1])
    other.append(RECORDS[1])
    file.append(RECORDS[2])
    assert path.read_bytes() == RECORDS[0] + RECORDS[2]
    assert read(path) == [RECORDS[0], RECORDS[2], RECORDS[1]]


@pytest.mark.parametrize("order", ["file other", "other file", "other late file"])
@pytest.mark.parametrize("calls", ["write", "sync"])
def test_a_run_that_goes_on_elsewhere_hides_nothing_that_another_one_appends(path, file, other, calls, order):
    for name in order.split():
        if name == "late":
            other.sync()
            other.append(RECORDS[2])
        else:
            {"file": file, "other": other}[name].append(b"%s\n" % name.encode())
    with FaultyDisk({1}, errno.EIO, calls=(calls,)), suppress(WriteError):
        if calls == "write":
            other.append(RECORDS[3])
        other.sync()
    other.append(RECORDS[4])
    file.append(RECORDS[5])
    assert other.path != path
    assert {b"file\n", b"other\n", RECORDS[4], RECORDS[5]} <= set(read(path))


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
