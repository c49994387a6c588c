"""The local sink: whole files, never a full disk."""

import errno
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.core.errors import WriteError
from ml.io.fileops import FileOps
from ml.predictions.config import LocalConfig
from ml.predictions.kinds import VisionModelType
from ml.predictions.layout import key_of
from ml.predictions.local import LOOK_EVERY_S, SYNC_EVERY_S, LocalSink
from ml.predictions.logged import LoggedPrediction
from ml.predictions.record import Draft, Record, encode_record
from ml.testing import FakeClock

DAY_MS = 24 * 3600 * 1000
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def record(number: int, timestamp_ms: int = 0, image: np.ndarray | None = NOISE) -> Record:
    record_id = f"{number:026d}"
    draft = Draft(
        record_id=record_id,
        run_id="",
        timestamp_ms=timestamp_ms,
        logged_at_us=0,
        model_type=VisionModelType.NONE,
        model_name="m",
        model_version="1",
        device_name="d",
        device_group="g",
        image=image,
        prediction=None,
        latency_ms=None,
        inference_device=None,
        error_message="",
        classification=(),
        detection=(),
        codec="png",
    )
    return encode_record(draft, key_of("NONE", "m", "1", "g", "d", timestamp_ms, record_id))


def sink(directory: Path, clock: FakeClock | None = None, *, min_free_bytes: int = 0, **settings: object) -> LocalSink:
    return LocalSink(LocalConfig(str(directory), **settings), min_free_bytes=min_free_bytes, clock=clock or FakeClock())


def names_in(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_a_record_lies_under_its_key_and_nothing_else_is_left(tmp_path):
    records = [record(1), record(2, DAY_MS)]

    outcomes = sink(tmp_path).write(records)

    assert [outcome.path for outcome in outcomes] == [str(tmp_path / one.key) for one in records]
    assert names_in(tmp_path) == [one.key for one in records]
    assert Path(outcomes[0].path).read_bytes() == records[0].data


def test_a_record_can_have_a_directory_of_its_own(tmp_path):
    elsewhere = Record("1", "NONE/key.bin", b"data", tmp_path / "elsewhere")

    sink(tmp_path / "here").write([elsewhere])

    assert names_in(tmp_path) == ["elsewhere/NONE/key.bin"]


def test_past_its_budget_images_are_left_out_and_results_are_kept(tmp_path, caplog):
    local = sink(tmp_path, max_local_bytes=3 * len(record(0).data))

    with caplog.at_level(logging.WARNING, "ml"):
        paths = [outcome.path for outcome in local.write([record(n) for n in range(6)])]

    omitted = [LoggedPrediction.from_path(path).omitted for path in paths]
    assert omitted == ["", "", "", "local_budget", "local_budget", "local_budget"]
    assert LoggedPrediction.from_path(paths[5]).record_id == record(5).record_id
    assert local.images_left_out == {"local_budget": 3}
    assert caplog.text.count("Images are left out") == 1


def test_what_was_there_before_counts_for_the_budget(tmp_path):
    sink(tmp_path).write([record(n) for n in range(3)])

    path = sink(tmp_path, max_local_bytes=3 * len(record(0).data)).write([record(3)])[0].path

    assert LoggedPrediction.from_path(path).omitted == "local_budget"


def test_what_other_processes_write_counts_after_a_minute(tmp_path):
    clock = FakeClock()
    local = sink(tmp_path, clock, max_local_bytes=3 * len(record(0).data))
    local.write([record(0)])
    sink(tmp_path).write([record(n) for n in range(1, 4)])

    before = local.write([record(4)])[0].path
    clock.advance(60)
    after = local.write([record(5)])[0].path

    assert [LoggedPrediction.from_path(path).omitted for path in (before, after)] == ["", "local_budget"]


def test_on_a_full_disk_images_are_left_out_and_results_are_kept(tmp_path):
    path = sink(tmp_path, min_free_bytes=2**62).write([record(1)])[0].path

    assert LoggedPrediction.from_path(path).omitted == "disk_low"
    assert LoggedPrediction.from_path(path).image is None


def test_records_without_images_are_not_counted_as_left_out(tmp_path):
    local = sink(tmp_path, min_free_bytes=2**62)

    local.write([record(1, image=None)])

    assert not local.images_left_out


def test_the_oldest_are_deleted_only_where_that_is_asked_for_and_nothing_that_is_no_record(tmp_path):
    size = len(record(0).data)
    other = tmp_path / "notes.bin"
    other.write_bytes(b"x" * size)
    local = sink(tmp_path, max_local_bytes=10 * size, retention="oldest_first")

    for number in range(25):
        local.write([record(number, number * DAY_MS)])

    left = sorted(path.name for path in tmp_path.rglob("19*.bin"))
    assert 8 <= len(left) <= 10
    assert left == [Path(record(n, n * DAY_MS).key).name for n in range(25 - len(left), 25)]
    assert other.exists()
    assert not any(path.is_dir() and not any(path.iterdir()) for path in tmp_path.rglob("*"))


class WatchedDisk(FileOps):
    """Counts the files that were synced, and is full for more than a few bytes if it is told so."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.synced, self.is_full = 0, is_full

    def sync(self, descriptor: int) -> None:
        self.synced += 1

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.is_full:
            if len(data) <= 100:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[:100]
        return super().write(descriptor, data)


def test_nothing_is_synced_before_its_time_and_everything_then_once(tmp_path):
    clock, disk = FakeClock(), WatchedDisk()
    local = LocalSink(LocalConfig(str(tmp_path)), min_free_bytes=0, clock=clock, ops=disk)
    local.write([record(1), record(2)])

    assert local.idle() == SYNC_EVERY_S
    assert disk.synced == 0
    clock.advance(SYNC_EVERY_S)
    assert local.idle() is None
    assert disk.synced == 2
    local.flush()
    assert disk.synced == 2


def test_what_is_removed_before_it_was_synced_is_no_failure(tmp_path):
    local = sink(tmp_path)
    path = Path(local.write([record(1)])[0].path)
    path.unlink()
    path.parent.rmdir()

    local.flush()


def test_a_full_disk_leaves_no_half_written_file_and_takes_the_record_later(tmp_path):
    disk = WatchedDisk(is_full=True)
    local = LocalSink(LocalConfig(str(tmp_path)), min_free_bytes=0, clock=FakeClock(), ops=disk)

    with pytest.raises(WriteError, match="No space left"):
        local.write([record(1)])
    assert names_in(tmp_path) == []

    disk.is_full = False
    assert local.write([record(1)])[0].is_written


def test_a_directory_that_is_removed_is_made_again_at_once(tmp_path):
    local = sink(tmp_path / "babylog", min_free_bytes=1)
    local.write([record(1)])
    shutil.rmtree(tmp_path / "babylog")

    assert [outcome.is_written for outcome in local.write([record(2)])] == [True]
    assert len(names_in(tmp_path)) == 1


@pytest.mark.parametrize("place", ["file/below", "nul\0byte", "link", "n" * 300])
def test_a_directory_of_its_own_that_cannot_be_costs_that_record_alone(tmp_path, place, caplog):
    (tmp_path / "file").write_text("no directory")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    lost = replace(record(2), directory=tmp_path / place)

    outcomes = sink(tmp_path / "babylog").write([record(1), lost, record(3)])

    assert [outcome.is_written for outcome in outcomes] == [True, False, True]
    assert len(names_in(tmp_path / "babylog")) == 2
    assert "is not kept" in caplog.text


def test_the_oldest_make_room_also_where_every_record_takes_most_of_the_budget(tmp_path):
    size_bytes = len(record(1).data)
    local = sink(tmp_path, max_local_bytes=size_bytes * 3 // 2, retention="oldest_first")

    for number in range(1, 5):
        assert local.write([record(number)])[0].is_written

    assert [name.endswith(f"{4:026d}.bin") for name in names_in(tmp_path)] == [True]


def test_what_another_one_made_room_with_is_no_failure(tmp_path):
    local = sink(tmp_path)
    path = Path(local.write([record(1)])[0].path)
    path.unlink()
    path.parent.rmdir()  # as the retention of another process does

    assert local.write([record(2)])[0].is_written


def test_files_go_where_the_directory_was_when_the_sink_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = sink(Path("babylog"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    local.write([record(1)])

    assert len(names_in(tmp_path / "babylog")) == 1


def test_a_path_that_leads_elsewhere_by_now_is_nothing_to_be_synced(tmp_path):
    local = sink(tmp_path / "babylog")
    day = Path(local.write([record(1)])[0].path).parent
    shutil.rmtree(day)
    day.write_text("a file")

    local.flush()


def test_a_disk_that_has_room_again_is_seen_after_a_second(tmp_path, monkeypatch):
    clock = FakeClock()
    local = sink(tmp_path, clock, min_free_bytes=2**62)
    paths = [local.write([record(1)])[0].path]
    monkeypatch.setattr(local, "_min_free_bytes", 1)
    paths.append(local.write([record(2)])[0].path)
    clock.advance(LOOK_EVERY_S)
    paths.append(local.write([record(3)])[0].path)

    assert [LoggedPrediction.from_path(path).omitted for path in paths] == ["disk_low", "disk_low", ""]
