"""``mlog predictions tail`` as a process of its own, with a publisher in this one."""

import json
import os
import select
import signal
import subprocess
import time

import pytest

from ml.cli.predictions_tail import records_of
from ml.predictions.publishing import StreamConfig, StreamSink
from ml.predictions.record import Record
from tests.cli.conftest import LIMIT_S, MLOG
from tests.predictions.records import HOSTILE, Records, box


class Tail:
    """The command, once it has subscribed."""

    def __init__(self, sink, *arguments):
        self._sink = sink
        self.process = subprocess.Popen(
            [MLOG, "predictions", "tail", f"127.0.0.1:{sink.port}", "camera", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        )
        end_s = time.monotonic() + LIMIT_S
        while sink.publisher.subscriptions < 1:
            assert time.monotonic() < end_s
            assert self.process.poll() is None, self.process.stderr.read()
            select.select([], [], [], sink.idle())

    def line(self):
        """The next line that it prints."""
        return self.process.stdout.readline().decode().rstrip("\n")

    def rest(self):
        """Its exit status, and what it said until then."""
        out, err = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
def sink():
    sink = StreamSink(StreamConfig(), "camera")
    yield sink
    sink.close()


@pytest.fixture
def tail(sink):
    """Follows the stream; killed in the end, whatever it does."""
    started = []

    def tail(*arguments):
        started.append(Tail(sink, *arguments))
        return started[-1]

    yield tail
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def record(tmp_path):
    """Makes records."""
    records = Records(tmp_path)

    def record(ms, *boxes, **fields):
        key = records.detection(ms, *boxes, **fields)
        return Record("", key, (records.root / key).read_bytes())

    return record


def test_a_line_is_printed_for_each_record_as_it_comes(sink, tail, record):
    following = tail("--count", "2")

    sink.write([record(1, box("face", 0.75), box("face", 0.5))])
    assert following.line() == "2026-01-02 12:00:00.001  factory/camera  yolo 1.0  2 face  0.750  12.50 ms"
    sink.write([record(2, error_message=HOSTILE, latency_ms=None)])

    status, out, err = following.rest()
    assert (status, err) == (0, "")
    assert out.startswith("2026-01-02 12:00:00.002  factory/camera  yolo 1.0  error: ")
    assert len(out.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(out)


def test_ctrl_c_ends_it_in_order(sink, tail, record):
    following = tail("--json")
    sink.write([record(1, box("face", 0.75))])

    assert json.loads(following.line())["detection"][0]["confidence"] == 0.75
    following.process.send_signal(signal.SIGINT)

    assert following.rest() == (0, "", "")


class Quiet:
    """A subscriber to which nothing comes; closed when it was listened to three times."""

    history = ()

    def __init__(self, refused):
        self.refused, self.listened = refused, 0

    @property
    def is_closed(self):
        return self.listened >= 3

    def __iter__(self):
        self.listened += 1
        return iter(())


@pytest.mark.parametrize(("refused", "why"), [(0, "topics are exact"), (4, "4 attempts to connect failed")])
def test_who_waits_for_nothing_is_told_so_once(caplog, refused, why):
    quiet = Quiet(refused)

    assert list(records_of(quiet, "camrea", "127.0.0.1:7777")) == []

    assert quiet.listened == 3
    assert len(caplog.records) == 1
    assert "No record of 'camrea' from 127.0.0.1:7777 yet" in caplog.text
    assert why in caplog.text


def test_a_gap_is_told(sink, tail, record):
    following = tail("--count", "2")

    sink.write([record(1)])
    following.line()
    sink._sequence += 5  # as if they had found the queue full
    sink.write([record(2)])

    status, _, err = following.rest()
    assert (status, err) == (0, "mlog: 5 records before this one were lost.\n")
