import io
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ml.core.errors import ClosedError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.event_files import EventFile, file_name, record, scalar_head, scalars_event


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


def test_two_processes_of_one_instant_write_two_files(tmp_path):
    context = RunContext(tmp_path, wall_clock=lambda: 5.0)
    files = [EventFile(tmp_path, context, [b"open"]) for _ in range(2)]
    for file in files:
        file.append([b"record"])
        file.close()

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"openrecord", b"openrecord"]


def test_a_file_is_made_by_its_first_records(tmp_path):
    file = EventFile(tmp_path / "train", RunContext(tmp_path), [b"open"])
    file.sync()
    file.close()

    assert not (tmp_path / "train").exists()


def test_what_opens_a_file_is_written_once_however_often_its_making_failed(tmp_path):
    directory = tmp_path / "train"
    directory.write_text("in the way")
    file = EventFile(directory, RunContext(tmp_path), [b"open"])
    for _ in range(2):
        with pytest.raises(OSError, match="train"):
            file.append([b"lost"])

    directory.unlink()
    file.append([b"1", b"2"])
    file.append([b"3"])

    assert _only_file(directory).read_bytes() == b"open123"


def test_a_closed_file_takes_nothing(tmp_path):
    file = EventFile(tmp_path, RunContext(tmp_path), [])
    file.append([b"1"])
    file.close()
    file.close()

    with pytest.raises(ClosedError):
        file.append([b"2"])


def _only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path
