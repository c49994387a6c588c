"""What is given up when room, time or the disk is short, in which order, and how it is counted."""

import errno
from threading import Thread

import numpy as np
import pytest

from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import IMAGE, ImageOptions
from ml.loggers.memory import MemoryLogger
from ml.loggers.report import Reporter
from ml.loggers.runner import SYNC_EVERY_S, Runner
from ml.loggers.stats import Tally
from ml.loggers.values import Batch, Lazy
from ml.testing import BlockingLogger
from tests.loggers.helpers import failing, memory, step, steps_of

FULL = OSError(errno.ENOSPC, "disk full")


def runner_of(backend, directory, clock):
    """What calls a backend, on this thread."""
    context = RunContext(directory, clock=clock)
    backend.initialize(context)
    return Runner(backend, Tally(), Reporter(context, Redactor({}), "warn"))


# dropping


def test_media_go_before_scalars_and_the_oldest_go_first(start, component):
    blocking = BlockingLogger(
        BaseLoggerConfig("blocking", max_queue_bytes=7000, write_every_n_seconds=0, write_media_every_n_seconds=0)
    )
    group = start(blocking, close_timeout_s=30)
    step(group, component, 1)
    blocking.gate.wait_for_arrival()
    for number in range(2, 8):
        component.log_image("image", np.zeros((40, 40), np.uint8))  # 1600 bytes
        step(group, component, number)
    blocking.gate.open()
    stats = group.close()["blocking"]

    assert [entry.step for entry in blocking.entries if entry.key == "image"] == [5, 6, 7]
    assert [entry.step for entry in blocking.entries if entry.key == "loss"] == list(range(1, 8))
    assert stats.dropped == {"queue_full": 3}


def test_scalars_are_dropped_oldest_first_when_no_media_are_left(start, component):
    blocking = BlockingLogger(BaseLoggerConfig("blocking", max_queue_bytes=500, write_every_n_seconds=0))
    group = start(blocking, close_timeout_s=30)
    step(group, component, 1)
    blocking.gate.wait_for_arrival()
    for number in range(2, 10):
        step(group, component, number)
    blocking.gate.open()
    stats = group.close()["blocking"]

    kept = steps_of(blocking)
    assert kept == [1, *range(12 - len(kept) - 1, 10)]
    assert 1 < len(kept) < 9
    assert stats.dropped == {"queue_full": 9 - len(kept)}


def test_what_is_pending_counts_for_the_bound_too(start, component):
    slow = memory(max_queue_bytes=5000, write_every_n_seconds=1000)
    group = start(slow, close_timeout_s=30)
    step(group, component, 1)
    for number in range(2, 8):
        component.log_image(f"image{number}", np.zeros((40, 40), np.uint8))
        step(group, component, number, **{f"loss{number}": 1.0})
    stats = group.close()["memory"]

    assert [entry.step for entry in slow.entries if entry.key.startswith("image")] == [6, 7]
    assert [entry.step for entry in slow.entries if entry.key.startswith("loss")] == list(range(1, 8))
    assert stats.dropped == {"queue_full": 4}


def test_an_evaluation_script_may_wait_instead(start, component):
    waiting = BlockingLogger(BaseLoggerConfig("waiting", max_queue_bytes=400, write_every_n_seconds=0, on_full="wait"))
    group = start(waiting, close_timeout_s=30)
    loop = Thread(target=lambda: [step(group, component, number) for number in range(1, 51)])
    loop.start()
    waiting.gate.wait_for_arrival()
    waiting.gate.open()
    loop.join(30)
    stats = group.close()["waiting"]

    assert steps_of(waiting) == list(range(1, 51))
    assert (stats.written, stats.dropped) == (50, {})


def test_media_stop_at_their_budget_and_scalars_go_on(start, component, caplog):
    backend = memory(max_media_bytes=10_000, write_media_every_n_seconds=0)
    group = start(backend)
    for number in range(1, 7):
        component.log_image("image", np.zeros((80, 80), np.uint8))
        step(group, component, number)
        group.flush()
    stats = group.close()["memory"]

    assert [entry.step for entry in backend.entries if entry.key == "image"] == [1, 2]
    assert [entry.step for entry in backend.entries if entry.key == "loss"] == list(range(1, 7))
    assert stats.dropped == {"media_budget": 4}
    assert caplog.text.count("max_media_bytes is 10000") == 1


def resumed(backend, directory, clock):
    """Handles one picture of a second attempt; returns what calls the backend."""
    context = RunContext(directory, attempt=2, clock=clock)
    backend.initialize(context)
    runner = Runner(backend, Tally(), Reporter(context, Redactor({}), "warn"))
    picture = Lazy(IMAGE, [np.zeros((4, 4)), None, None, None], ImageOptions(), path="a/b", origin="", size_bytes=128)
    runner.handle([Batch(State(), [(IMAGE, "a", "b", picture)], 128)])
    backend.close()
    return runner


@pytest.mark.parametrize(("name", "refusal"), [("log.jsonl", None), ("media/image/a.png", "media_budget")])
def test_earlier_media_count_on_a_resume_and_earlier_scalars_do_not(tmp_path, clock, name, refusal):
    file = tmp_path / "json" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b" " * 9_999 + b"\n")

    runner = resumed(JsonLogger(JsonLoggerConfig("json", max_media_bytes=10_000)), tmp_path, clock)
    assert runner.media.refusal == refusal


def test_every_file_counts_on_a_resume_where_media_have_none_of_their_own(tmp_path, clock):
    (tmp_path / "memory" / "train").mkdir(parents=True)
    (tmp_path / "memory" / "train" / "events").write_bytes(b" " * 10_000)

    assert resumed(memory(max_media_bytes=10_000), tmp_path, clock).media.refusal == "media_budget"


def test_the_first_media_of_a_resume_count_once(tmp_path, clock):
    backend = JsonLogger(JsonLoggerConfig("json"))
    resumed(backend, tmp_path / "a", clock)
    size_bytes = backend.media_bytes_on_disk()

    assert size_bytes > 0
    config = JsonLoggerConfig("json", max_media_bytes=size_bytes + 1)
    assert resumed(JsonLogger(config), tmp_path / "b", clock).media.refusal is None


def test_media_that_cannot_be_counted_stop_nothing(tmp_path, clock, caplog):
    class Unreadable(MemoryLogger):
        def media_bytes_on_disk(self):
            raise PermissionError("no way in")

    backend = Unreadable(BaseLoggerConfig("memory"))
    assert resumed(backend, tmp_path, clock).media.refusal is None
    assert len(backend.entries) == 1
    assert "'memory' cannot count the media on disk: no way in" in caplog.text


def test_media_stop_while_the_disk_is_low_and_scalars_go_on(start, component, caplog):
    backend = memory(min_free_bytes=2**62, write_media_every_n_seconds=0)
    group = start(backend)
    backend.log_directory.mkdir()
    for number in (1, 2, 3):
        component.log_image("image", np.zeros((4, 4), np.uint8))
        step(group, component, number)
        group.flush()
    stats = group.close()["memory"]

    assert [entry.step for entry in backend.entries if entry.key == "image"] == [1]
    assert [entry.step for entry in backend.entries if entry.key == "loss"] == [1, 2, 3]
    assert stats.dropped == {"disk_low": 2}
    assert caplog.text.count(f"min_free_bytes is {2**62}") == 1


def test_media_come_back_when_the_disk_has_room_again(tmp_path, clock):
    backend = memory(min_free_bytes=2**62)
    runner = runner_of(backend, tmp_path, clock)
    backend.log_directory.mkdir()
    picture = Lazy(IMAGE, [np.zeros((4, 4)), None, None, None], ImageOptions(), path="a/b", origin="", size_bytes=128)
    assert runner.handle([Batch(State(), [(IMAGE, "a", "b", picture)], 128)]) is None
    assert runner.media.refusal == "disk_low"

    backend.config.min_free_bytes = 0
    clock.advance(5)
    runner.idle()

    assert runner.media.refusal is None


def test_a_disk_that_does_not_say_what_room_it_has_stops_nothing(tmp_path, clock):
    backend = memory()
    runner = runner_of(backend, tmp_path, clock)
    backend.log_directory = tmp_path / ("x" * 300)  # no file system takes such a name: asking about it fails
    picture = Lazy(IMAGE, [np.zeros((4, 4)), None, None, None], ImageOptions(), path="a/b", origin="", size_bytes=128)

    assert runner.handle([Batch(State(), [(IMAGE, "a", "b", picture)], 128)]) is None
    assert runner.media.refusal is None
    assert runner.idle() == SYNC_EVERY_S, "it is made durable in time"


def test_what_is_logged_after_close_is_counted_as_closed(start, component):
    backend = memory()
    group = start(backend)
    step(group, component, 1)
    group.close()
    step(group, component, 2, a=1.0, b=2.0)

    assert steps_of(backend) == [1]
    assert group.stats()["memory"].dropped == {"closed": 2}


def test_what_is_not_written_by_the_deadline_is_counted(start, component):
    bad = failing()
    group = start(bad)
    step(group, component, 1, a=1.0, b=2.0)
    stats = group.close(timeout_s=0.01)["failing"]

    assert (stats.accepted, stats.dropped, stats.pending) == (2, {"deadline": 2}, 0)
