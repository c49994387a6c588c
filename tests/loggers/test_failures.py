"""What a failing backend costs, what is said of it, and what is counted."""

import errno
import json
import logging
from threading import Thread

import numpy as np
import pytest
import torch

from ml.core.errors import ClosedError, ConfigError, LogValueError, WriteError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.kinds import IMAGE, ImageOptions
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.report import Reporter
from ml.loggers.runner import Runner
from ml.loggers.stats import Tally
from ml.loggers.values import Batch, Lazy
from ml.testing import BlockingLogger, FailingLogger, FakeClock, RaisingLogger

FULL = OSError(errno.ENOSPC, "disk full")


def memory(name="memory", **settings):
    return MemoryLogger(BaseLoggerConfig(name, **settings))


def failing(error=None, **settings):
    return FailingLogger(BaseLoggerConfig("failing", **settings), error)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def start(tmp_path, clock):
    """Starts a group of backends, and closes it in the end."""
    groups = []

    def start(*backends, **settings):
        settings = {"close_timeout_s": 0.2, **settings}
        groups.append(LoggerGroup(backends, RunContext(tmp_path, clock=clock, wall_clock=clock), **settings))
        return groups[-1]

    yield start
    for group in groups:
        try:
            group.close()
        except Exception:  # noqa: BLE001, S110
            pass


component = pytest.fixture(lambda: MultiLogger("model"))


def step(group, component, number, **values):
    component.log_scalars(values or {"loss": float(number)})
    group.write([component], State(num_steps=number))


def runner_of(backend, directory, clock):
    """What calls a backend, on this thread."""
    context = RunContext(directory, clock=clock)
    backend.initialize(context)
    return Runner(backend, Tally(), Reporter(context, Redactor({}), "warn"))


def steps_of(backend):
    return [entry.step for entry in backend.entries]


# starting


def test_a_configuration_error_at_the_start_is_raised_and_closes_what_was_started(start):
    class Wrong(MemoryLogger):
        def initialize(self, context):
            raise ConfigError("no such thing")

    class Closing(MemoryLogger):
        closed = False

        def close(self):
            self.closed = True

    first = Closing(BaseLoggerConfig("first"))

    with pytest.raises(ConfigError, match="no such thing"):
        start(first, Wrong(BaseLoggerConfig("wrong")))
    assert first.closed


def test_a_backend_that_cannot_start_is_off_and_what_it_would_have_got_is_counted(start, component, caplog):
    class Off(MemoryLogger):
        def initialize(self, context):
            raise PermissionError(errno.EACCES, "Permission denied")

    off, other = Off(BaseLoggerConfig("off")), memory()
    group = start(off, other)
    for number in (1, 2):
        step(group, component, number)
    stats = group.close()

    assert steps_of(other) == [1, 2]
    assert "'off' cannot start and stays off" in caplog.text
    assert stats["off"].accepted >= 1
    assert stats["off"].failed == {"write": stats["off"].accepted}


def test_two_backends_of_one_name_are_refused(start):
    with pytest.raises(ConfigError, match="Two backends are called 'memory'"):
        start(memory(), memory())
    start(memory(), memory(id="second"))


def test_a_backend_that_was_not_prepared_is_refused_with_the_cure(start):
    class Unprepared(BaseLogger[BaseLoggerConfig]):
        def initialize(self, context):
            pass  # super().initialize(context) is forgotten

        def write(self, state):
            pass

    with pytest.raises(ConfigError, match=r"super\(\)\.initialize\(context\)"):
        start(Unprepared(BaseLoggerConfig("unprepared")))


def test_how_to_fail_is_warn_or_raise(start):
    with pytest.raises(ConfigError, match="'warn' or 'raise', got 'ignore'"):
        start(memory(), on_error="ignore")


# writing


@pytest.mark.parametrize("error", [FULL, OSError(errno.EIO, "I/O error"), WriteError("not now"), BlockingIOError()], ids=repr)
def test_what_cannot_be_written_now_is_offered_again_in_order_and_once(start, component, error):
    bad, other = failing(error), memory()
    group = start(bad, other)
    for number in (1, 2, 3):
        step(group, component, number)
    assert not group.flush(timeout_s=0.01)
    assert group.stats()["failing"].pending == 3

    bad.error = None
    assert group.flush()

    assert steps_of(bad) == steps_of(other) == [1, 2, 3]
    assert group.stats()["failing"].written == 3
    assert bad.attempts == len(bad.states) + 1 or bad.attempts >= 4


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ClosedError("closed"), KeyError("key")], ids=repr)
def test_any_other_error_of_a_write_fails_that_batch_alone(start, component, error):
    bad = failing(error)
    group = start(bad)
    step(group, component, 1, a=1.0, b=2.0)
    group.flush()
    bad.error = None
    step(group, component, 2)
    group.close()

    assert steps_of(bad) == [2]
    stats = group.stats()["failing"]
    assert (stats.accepted, stats.written, stats.failed) == (3, 1, {"write": 2})


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.ENOSPC, "disk full")], ids=repr)
def test_an_error_that_takes_a_value_fails_that_value_alone(start, component, error):
    class Picky(MemoryLogger):
        def log_scalar(self, key, value, state, namespace):
            if key == "bad":
                raise error
            super().log_scalar(key, value, state, namespace)

    picky = Picky(BaseLoggerConfig("picky"))
    group = start(picky)
    step(group, component, 1, a=1.0, bad=2.0, b=3.0)
    group.close()

    assert [entry.key for entry in picky.entries] == ["a", "b"]
    assert group.stats()["picky"].failed == {"write": 1}


def test_a_backend_that_raises_everywhere_costs_nothing_but_itself(start, component):
    bad, other = RaisingLogger(BaseLoggerConfig("raising")), memory()
    group = start(bad, other)
    group.log_config({"lr": 0.1})
    for number in range(1, 6):
        step(group, component, number)
    group.flush()
    stats = group.close()

    assert steps_of(other) == [1, 2, 3, 4, 5]
    assert other.config_logged == {"lr": 0.1}
    assert stats["raising"].failed == {"write": stats["raising"].accepted}
    assert stats["raising"].pending == 0


def test_a_backend_that_blocks_for_ever_costs_nothing_but_itself(start, component):
    blocking, other = BlockingLogger(BaseLoggerConfig("blocking")), memory()
    group = start(blocking, other)
    for number in (1, 2, 3):
        step(group, component, number)
    stats = group.close(timeout_s=0.05)
    blocking.gate.open()

    assert steps_of(other) == [1, 2, 3]
    assert stats["blocking"].dropped == {"deadline": 3}
    assert stats["blocking"].pending == 0
    assert group.stats()["blocking"] == stats["blocking"]


@pytest.mark.parametrize(
    ("error", "delays"),
    [
        (OSError(errno.EIO, "I/O error"), [1, 2, 4, 8, 16, 32, 60, 60]),
        (OSError(errno.ENOSPC, "disk full"), [2, 2, 2, 2, 2, 2, 2, 2]),
        (OSError(errno.EDQUOT, "quota"), [2, 2, 2, 2, 2, 2, 2, 2]),
    ],
    ids=["other", "full", "quota"],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_values_are_offered_again_after_1_s_doubling_to_60_s_and_every_2_s_while_a_disk_is_full(
    tmp_path, clock, error, delays, wrapped
):
    raised = error
    if wrapped:
        raised = WriteError("cannot append")
        raised.__cause__ = error
    bad = failing(raised)
    runner = runner_of(bad, tmp_path, clock)
    run = [Batch(State(), [], 0)]

    assert [runner.handle(run) for _ in delays] == delays
    bad.error = None
    assert runner.handle(run) is None
    bad.error = raised
    assert runner.handle(run) == delays[0]


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
    waiting = BlockingLogger(
        BaseLoggerConfig("waiting", max_queue_bytes=400, write_every_n_seconds=0, on_full="wait")
    )
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
    assert runner.media_refusal == "disk_low"

    backend.config.min_free_bytes = 0
    clock.advance(5)
    runner.idle()

    assert runner.media_refusal is None


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


def test_closing_twice_is_closing_once(start, component):
    class Counting(MemoryLogger):
        closed = flushed = 0

        def flush(self):
            self.flushed += 1

        def close(self):
            assert self.flushed
            self.closed += 1

    backend = Counting(BaseLoggerConfig("counting"))
    group = start(backend)
    step(group, component, 1)

    assert group.close() == group.close() == group.stats()
    assert backend.closed == 1


def test_a_backend_that_cannot_flush_or_close_is_reported(start, component, caplog):
    class Bad(MemoryLogger):
        def flush(self):
            raise OSError(errno.EIO, "cannot flush")

        def close(self):
            raise WriteError("cannot close")

    group = start(Bad(BaseLoggerConfig("bad")))
    step(group, component, 1)
    assert not group.flush()
    group.close()

    assert "'bad' cannot flush" in caplog.text
    assert "'bad' failed to close" in caplog.text


def test_flush_is_true_only_when_all_is_durable(start, component):
    bad, blocking = failing(), BlockingLogger(BaseLoggerConfig("blocking"))
    group = start(bad, blocking)
    assert group.flush()

    step(group, component, 1)
    assert not group.flush(timeout_s=0.01)
    bad.error = None
    assert not group.flush(timeout_s=0.01)
    blocking.gate.open()
    assert group.flush()


# saying


def test_the_first_failure_is_told_in_full_and_the_next_are_counted(start, component, caplog):
    def broken():
        raise ZeroDivisionError("a bug in a metric")

    group = start(memory())
    for number in range(1, 6):
        step(group, component, number, bad=broken)
    group.close()

    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("in broken") == 1
    assert "Cannot log 'model/bad': its value raised ZeroDivisionError" in caplog.text
    assert "test_failures.py:" in caplog.text
    assert "values: 4 more failures like those reported above." in caplog.text


def test_failures_of_another_key_backend_or_type_are_told_in_full_too(start, component, caplog):
    group = start(memory())
    step(group, component, 1, a=lambda: 1 / 0, b=lambda: 1 / 0)
    step(group, component, 2, a=lambda: {}["key"])
    group.close()

    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 3


def test_a_summary_comes_at_most_once_a_minute(start, component, caplog, clock):
    group = start(memory())
    for number in range(1, 121):
        step(group, component, number, bad=lambda: 1 / 0)
        clock.advance(1)

    assert caplog.text.count("more failures like those") == 1
    assert "values: 60 more failures" in caplog.text
    group.close()
    assert "values: 59 more failures" in caplog.text


def test_errors_are_kept_as_strict_json_lines(start, component, tmp_path, clock):
    clock.advance(86400)
    group = start(failing(OSError(errno.EIO, "I/O error")))
    step(group, component, 1, loss=1.0, bad=lambda: 1 / 0)
    group.close()

    lines = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert [(line["source"], line["about"]) for line in lines] == [("values", "model/bad"), ("failing", "")]
    assert lines[0]["time"].startswith("1970-01-02T00:00:00")
    assert "ZeroDivisionError" in lines[0]["traceback"]
    assert "I/O error" in lines[1]["message"]


def test_no_secret_is_in_what_is_told(start, component, tmp_path, monkeypatch, caplog):
    secret = "hunter2-canary-0123456789"
    monkeypatch.setenv("SERVICE_TOKEN", secret)

    def leaking():
        raise ConnectionError(f"https://user:{secret}@host refused, password='other-canary-77'")

    group = start(failing(RuntimeError(f"cannot log in with {secret}")))
    step(group, component, 1, loss=1.0, bad=leaking)
    group.log_config({"password": "third-canary-77", "lr": 0.1, "note": secret})
    group.close()

    told = (tmp_path / "errors.jsonl").read_text() + caplog.text
    assert "cannot log in with ***" in told
    assert "canary" not in told


def test_a_configuration_reaches_backends_without_its_secrets(start, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "hunter2-canary-0123456789")
    backend = memory()
    group = start(backend)
    group.log_config({"password": "third-canary-77", "lr": 0.1, "note": "hunter2-canary-0123456789"})
    group.close()

    assert backend.config_logged["lr"] == 0.1
    assert "canary" not in str(backend.config_logged)


def test_without_a_directory_no_file_is_made(tmp_path, component, caplog):
    with LoggerGroup([memory()], RunContext(tmp_path / "none")) as group:
        step(group, component, 1, bad=lambda: 1 / 0)

    assert "ZeroDivisionError" in caplog.text
    assert not (tmp_path / "none").exists()


# raising


def test_the_first_failure_is_raised_by_the_next_call_once(start, component):
    backend = memory()
    group = start(backend, on_error="raise")
    step(group, component, 1, bad=lambda: 1 / 0, worse=lambda: {}["key"])

    with pytest.raises(ZeroDivisionError):
        step(group, component, 2)
    step(group, component, 3, c=1.0)
    group.close()

    assert [entry.key for entry in backend.entries] == ["loss", "c"]


def test_a_bad_value_is_raised_with_its_key_and_line(start, component):
    group = start(memory(), on_error="raise")
    step(group, component, 1, bad=torch.zeros(2, 3))

    with pytest.raises(LogValueError) as raised:
        group.flush()
    error = raised.value
    assert (error.path, error.problem, error.fix) == (
        "model/bad",
        "a scalar holds 1 number, got shape (2, 3)",
        "Reduce it first, e.g. with .mean().",
    )
    assert error.origin.startswith("test_failures.py:")


def test_a_failing_backend_is_raised_by_close_at_the_latest(start, component):
    group = start(failing(RuntimeError("a bug")), on_error="raise")
    step(group, component, 1)

    with pytest.raises(RuntimeError, match="a bug"):
        group.close()
    group.close()


def test_an_error_of_the_loop_is_not_hidden_by_one_of_its_logging(start, component):
    group = start(memory(), on_error="raise")
    with pytest.raises(KeyboardInterrupt), group:
        step(group, component, 1, bad=lambda: 1 / 0)
        raise KeyboardInterrupt


# mutated values


@pytest.mark.parametrize(
    ("log", "make"),
    [
        ("log_scalar", lambda: torch.zeros(())),
        ("log_histogram", lambda: torch.zeros(4)),
        ("log_image", lambda: torch.zeros(4, 4)),
        ("log_images", lambda: [torch.zeros(4, 4)]),
        ("log_labeled_image", lambda: (torch.zeros(4, 4), "text")),
    ],
    ids=["scalar", "histogram", "image", "sequence", "pair"],
)
def test_a_tensor_that_was_changed_in_place_before_the_step_ended_is_refused_with_the_cure(
    start, component, log, make, caplog
):
    backend, value = memory(), make()
    group = start(backend)
    getattr(component, log)("key", value)
    (value[0] if isinstance(value, (list, tuple)) else value).add_(1)
    component.log_scalar("good", 1.0)
    group.write([component], State(num_steps=1))
    group.close()

    assert [entry.key for entry in backend.entries] == ["good"]
    assert group.stats()["memory"].failed == {"mutated": 1}
    assert "it was changed in place before the step ended. Log a callable, or a copy: .clone()." in caplog.text
    assert "Logged at test_failures.py:" in caplog.text


def test_a_tensor_that_is_changed_after_the_step_was_logged_as_it_was(start, component):
    backend, value = memory(), torch.zeros(4)
    array = np.zeros(4)
    group = start(backend)
    component.log_histogram("tensor", value)
    component.log_histogram("array", array)
    group.write([component], State(num_steps=1))
    value.add_(1)
    array += 1
    group.close()

    assert [entry.value.tolist() for entry in backend.entries] == [[0] * 4, [0] * 4]


def test_a_callable_sees_what_was_changed_in_place(start, component):
    backend, value = memory(), torch.zeros(())
    group = start(backend)
    component.log_scalar("key", lambda: value)
    value.add_(1)
    group.write([component], State(num_steps=1))
    group.close()

    assert [entry.value for entry in backend.entries] == [1.0]
