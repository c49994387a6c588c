import errno
import io
import itertools
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ml.core.errors import ClosedError, WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import event_files
from ml.loggers.event_files import EventFile, file_name, record, scalar_head, scalars_event
from ml.testing import FaultyDisk


def test_a_record_is_its_length_and_two_masked_checksums():
    assert record(b"hello").hex() == "0500000000000000" + "eab2043e" + b"hello".hex() + "bb1f1c19"


@pytest.mark.parametrize("size_bytes", [0, 1, 7, 300, 70_000])
def test_a_record_is_framed_as_tensorboard_frames_it(size_bytes):
    data, expected = bytes(i % 251 for i in range(size_bytes)), io.BytesIO()
    RecordWriter(expected).write(data)

    assert record(data) == expected.getvalue()


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 2**40, -1])
@pytest.mark.parametrize("tag", ["loss", "task/" + "long " * 100, "aufgabe/größe-损失"])
def test_scalars_are_encoded_as_the_protocol_buffer_classes_encode_them(tag, step):
    values = [scalar_head(tag) + b"\x00\x00\x80\x3e", scalar_head("b") + b"\x00\x00\xc0\x7f"]
    written = Event.FromString(scalars_event(State(num_steps=step, time_s=1767323045.678901), values))

    expected = Event(
        wall_time=1767323045.678901,
        step=step,
        summary=Summary(
            value=[Summary.Value(tag=tag, simple_value=0.25), Summary.Value(tag="b", simple_value=float("nan"))]
        ),
    )
    assert written.SerializeToString() == expected.SerializeToString()


def test_a_later_attempt_has_the_later_name_also_when_its_clock_is_behind(tmp_path):
    for attempt, now_s in enumerate([2000.5, 1000.0, 2000.9], start=1):
        context = RunContext(tmp_path, attempt=attempt, wall_clock=lambda now_s=now_s: now_s)
        (tmp_path / file_name(tmp_path, context)).touch()

    attempts = [path.name.split(".")[4] for path in sorted(tmp_path.iterdir())]
    assert attempts == ["0001", "0002", "0003"]


def test_a_file_of_another_writer_is_left_behind_in_the_order_whatever_its_name(tmp_path):
    for name in ("events.out.tfevents.3000.host.1.0", "events.out.tfevents.4000", "events.out.tfevents.x.y"):
        (tmp_path / name).touch()
    name = file_name(tmp_path, RunContext(tmp_path, wall_clock=lambda: 5.0))
    assert name.split(".")[3:5] == ["0000004000", "0001"]


def test_two_processes_of_one_instant_write_two_files(tmp_path):
    context = RunContext(tmp_path, wall_clock=lambda: 5.0)
    files = [EventFile(tmp_path, context, first_records, 0) for _ in range(2)]
    for file in files:
        file.append([(1, b"record")])
        file.close()

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"<0>record", b"<0>record"]


def test_a_file_is_made_by_its_first_records(tmp_path):
    file = EventFile(tmp_path / "train", RunContext(tmp_path), first_records, 0)
    file.sync()
    file.close()

    assert not (tmp_path / "train").exists()


def test_what_opens_a_file_is_written_once_however_often_its_making_failed(tmp_path):
    directory = tmp_path / "train"
    directory.write_text("in the way")
    file = EventFile(directory, RunContext(tmp_path), first_records, 0)
    for _ in range(2):
        with pytest.raises(WriteError, match="train"):
            file.append([(1, b"lost")])

    directory.unlink()
    file.append([(1, b"1"), (2, b"2")])
    file.append([(3, b"3")])

    assert _files(directory) == [b"<0>123"]


def test_a_closed_file_takes_nothing(tmp_path):
    file = EventFile(tmp_path, RunContext(tmp_path), first_records, 0)
    file.append([(1, b"1")])
    file.close()
    file.close()

    with pytest.raises(ClosedError):
        file.append([(2, b"2")])


def test_after_a_failed_sync_the_next_file_has_what_was_lost_and_the_file_before_no_longer_has_it(started, tmp_path):
    started.append([(1, b"1")])
    started.sync()
    started.append([(2, b"2"), (3, b"3")])
    with FaultyDisk({1}, errno.EIO, calls=("sync",)):
        started.sync()
    started.append([(4, b"4")])

    assert _files(tmp_path) == [b"<0>1", b"<2>234"]


def test_while_nothing_can_be_synced_the_file_before_keeps_everything(started, tmp_path):
    started.append([(1, b"1")])
    with FaultyDisk(range(1, 100), errno.EIO, calls=("sync",)), pytest.raises(WriteError):
        started.sync()
    assert _files(tmp_path) == [b"<0>1"]
    started.sync()
    assert _files(tmp_path) == [b"<0>", b"<1>1"]


def test_also_where_the_next_file_failed_at_once_and_stays_no_value_is_there_twice(started, tmp_path):
    started.append([(1, b"1")])
    started.sync()
    started.append([(2, b"2")])
    with FaultyDisk({1, 2, 3}, errno.EIO, calls=("sync", "unlink")), pytest.raises(WriteError):
        started.sync()
    started.sync()
    started.append([(3, b"3")])
    started.close()

    assert _files(tmp_path) == [b"<0>1", b"<2>", b"<2>23"]


def test_a_step_of_which_a_part_is_on_the_disk_is_not_dropped_by_the_file_that_has_the_rest(started, tmp_path):
    started.append([(1, b"1"), (2, b"2")])
    started.sync()
    started.append([(2, b"text of 2")])
    with FaultyDisk({1}, errno.EIO, calls=("sync",)):
        started.sync()

    assert _files(tmp_path) == [b"<0>12", b"<3>text of 2"]


def test_a_file_that_was_removed_is_made_again_and_says_from_where(started, tmp_path):
    started.append([(1, b"1")])
    started.sync()
    started.append([(2, b"2")])
    shutil.rmtree(tmp_path)
    started.append([(3, b"3")])

    assert _files(tmp_path) == [b"<2>23"]


def test_a_file_that_somebody_put_in_its_place_is_not_cut(started, tmp_path):
    started.append([(1, b"1")])
    (path,) = tmp_path.iterdir()
    copy = tmp_path.parent / "copy"
    copy.write_bytes(b"theirs, and long")
    copy.rename(path)
    started.append([(2, b"2")])
    started.close()

    assert _files(tmp_path) == [b"theirs, and long", b"<1>12"]


def test_a_large_file_goes_on_in_another_one_that_drops_nothing(started, tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "MAX_FILE_BYTES", 10)
    for step in range(1, 7):
        started.append([(step, b"%04d" % step)])
    started.close()

    assert _files(tmp_path) == [b"<0>00010002", b"<3>00030004", b"<5>00050006"]
    assert len({path.name for path in tmp_path.iterdir()}) == 3


@pytest.mark.parametrize("gaps", [(), (1,), (3,), (1, 1), (1, 2), (2, 1), (4, 1)], ids=str)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_whatever_calls_fail_every_record_is_there_once(tmp_path, error, gaps):
    """One, or more with others between them that succeed."""
    records = [(step, b"|%d" % step) for step in range(1, 6)]
    for call in itertools.count(1):
        directory = tmp_path / str(call)
        file = EventFile(directory, RunContext(tmp_path), first_records, 1)
        failing = set(itertools.accumulate(gaps, initial=call))
        with FaultyDisk(failing, error, max_write_bytes=1) as disk:
            for record in records:
                while True:
                    with suppress(WriteError):
                        file.append([record])
                        break
                with suppress(WriteError):
                    file.sync()
        file.close()
        assert re.sub(rb"<[0-9]>", b"", b"".join(_files(directory))) == b"|1|2|3|4|5"
        if not disk.failures:
            break
    assert call > 20


def test_event_files_are_private(started, tmp_path):
    started.append([(1, b"1")])
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def first_records(step: int) -> bytes:
    return b"<%d>" % step


@pytest.fixture
def started(tmp_path):
    """Returns an event file in ``tmp_path`` whose values begin at step 0."""
    return EventFile(tmp_path, RunContext(tmp_path, wall_clock=lambda: 5.0), first_records, 0)


def _files(directory: Path) -> list[bytes]:
    """Returns the contents of a directory's files, in the order in which TensorBoard reads them."""
    return [path.read_bytes() for path in sorted(directory.iterdir())]
