"""A series is one thing, whoever logs to it: its values are counted as what became of them."""

import logging

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.worker import Event
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger, FailingLogger
from tests.loggers.helpers import memory


@pytest.fixture
def kept():
    return memory()


@pytest.fixture
def logs(kept, tmp_path):
    with LoggerGroup([kept], RunContext(tmp_path / "run")) as group:
        yield group


def values(kept):
    return [(entry.step, entry.key, entry.value) for entry in kept.entries]


def test_a_key_that_two_components_log_in_one_step_is_written_once(kept, logs):
    first, second = MultiLogger("m"), MultiLogger("")
    first.log_scalar("loss", 1.0)
    second.log_scalar("m/loss", 2.0)
    logs.write([first, second], State(num_steps=1))
    logs.close()

    assert values(kept) == [(1, "loss", 2.0)]
    assert (logs.stats()["memory"].accepted, first.overwritten, second.overwritten) == (1, 1, 0)


def test_one_key_is_not_reduced_and_plain(kept, logs, caplog):
    component = MultiLogger("m")
    component.log_scalar("loss", 1.0, reduce="mean")
    logs.write([component], State(num_steps=1))
    component.log_scalar("loss", 5.0)
    logs.write([component], State(num_steps=2))
    logs.close()

    assert values(kept) == [(1, "loss", 1.0)]
    assert logs.stats()["memory"].failed == {"value": 1}
    assert "logged with reduce elsewhere" in caplog.text


def test_two_reductions_of_one_key_in_a_window_are_refused(kept, logs):
    component = MultiLogger("m")
    component.log_scalar("loss", 1.0, reduce="mean")
    component.log_scalar("loss", 5.0, reduce="max")
    logs.write([component], State(num_steps=1))
    logs.close()

    assert values(kept) == [(1, "loss", 1.0)]
    assert logs.stats()["memory"].failed == {"value": 1}


@pytest.mark.parametrize("weight", [None, "2", [1.0, 2.0], -1.0, float("nan")], ids=repr)
def test_a_weight_that_is_none_costs_its_value(kept, logs, weight):
    component = MultiLogger("m")
    component.log_scalar("loss", 1.0, reduce="mean", weight=weight)
    component.log_scalar("other", 1.0)
    logs.write([component], State(num_steps=1))
    logs.close()

    assert values(kept) == [(1, "other", 1.0)]
    assert logs.stats()["memory"].failed == {"value": 1}


def test_a_weight_may_be_a_tensor(kept, logs):
    torch = pytest.importorskip("torch")
    component = MultiLogger("m")
    component.log_scalar("loss", 1.0, reduce="mean", weight=torch.tensor(1))
    component.log_scalar("loss", 4.0, reduce="mean", weight=torch.tensor([2.0]))
    logs.write([component], State(num_steps=1))
    logs.close()

    assert values(kept) == [(1, "loss", 3.0)]


def test_a_pass_that_is_discarded_leaves_no_mean_and_is_counted(kept, logs):
    component = MultiLogger("m")
    component.log_scalar("loss", 1.0)
    logs.write([component], State(phase="valid", num_steps=1))
    logs.discard_pass()
    logs.close()

    assert values(kept) == []
    assert logs.stats()["memory"].dropped == {"closed": 1}


def test_what_a_full_queue_drops_is_said_once(tmp_path, caplog):
    blocking = BlockingLogger(BaseLoggerConfig("blocking", max_queue_bytes=1000))
    component = MultiLogger("m")
    with LoggerGroup([blocking], RunContext(tmp_path / "run"), close_timeout_s=5) as logs:
        for step in range(1, 50):
            component.log_scalar("loss", 1.0)
            logs.write([component], State(num_steps=step))
        blocking.gate.open()

    assert logs.stats()["blocking"].dropped["queue_full"] > 10
    assert caplog.text.count("max_queue_bytes=1000") == 1


def test_a_hand_over_that_is_larger_than_the_queue_is_written_in_pieces_where_it_is_waited_for(tmp_path):
    np = pytest.importorskip("numpy")
    kept = MemoryLogger(BaseLoggerConfig("memory", max_queue_bytes=10_000, on_full="wait", min_free_bytes=0))
    component = MultiLogger("m")
    with LoggerGroup([kept], RunContext(tmp_path / "run")) as logs:
        for key in range(5):
            component.log_histogram(f"h{key}", np.arange(1000.0))
        logs.write([component], State(num_steps=1))

    assert [entry.key for entry in kept.entries] == [f"h{key}" for key in range(5)]


def test_bad_keys_do_not_hide_a_failing_backend(tmp_path, caplog):
    failing = FailingLogger(BaseLoggerConfig("failing"), RuntimeError("the disk is gone"))
    component = MultiLogger("m")
    with LoggerGroup([failing], RunContext(tmp_path / "run"), close_timeout_s=5) as logs:
        for key in range(300):
            component.log_scalar(f"bad{key}", lambda: 1 / 0)
        component.log_scalar("good", 1.0)
        logs.write([component], State(num_steps=1))

    assert "the disk is gone" in caplog.text
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) < 100


def test_plain_loggers_write_what_they_wait_for_when_the_component_finishes(tmp_path):
    kept = MemoryLogger(BaseLoggerConfig("memory", write_every_n_steps=10))
    kept.initialize(RunContext(tmp_path))
    component = MultiLogger("m")
    for step in range(1, 4):
        component.log_scalar(f"k{step}", float(step))
        component.write([kept], State(num_steps=step))
    component.log_scalar("loss", 7.0)
    component.write([kept], State(phase="valid", num_steps=3))
    component.finish()

    assert values(kept) == [(1, "k1", 1.0), (2, "k2", 2.0), (3, "k3", 3.0), (3, "loss", 7.0)]


def test_plain_loggers_write_on_the_primary_rank_alone(tmp_path):
    kept = memory()
    kept.initialize(RunContext(tmp_path, rank=1, world_size=2))
    component = MultiLogger("m")
    component.log_scalar("loss", 1.0)
    component.write([kept], State(num_steps=1))

    assert kept.entries == []


def test_plain_loggers_that_fail_hold_no_more_than_their_queue(tmp_path):
    failing = FailingLogger(BaseLoggerConfig("failing", max_queue_bytes=1000))
    failing.initialize(RunContext(tmp_path))
    component = MultiLogger("m")
    for step in range(1, 100):
        component.log_scalar("loss", float(step))
        component.write([failing], State(num_steps=step))
    failing.error = None
    component.log_scalar("loss", 100.0)
    component.write([failing], State(num_steps=100))

    assert 1 < len(failing.entries) <= 9
    assert failing.entries[-1].value == 100.0


def test_a_thread_that_is_stuck_in_a_step_does_not_hold_closing_up(tmp_path):
    from ml.io.worker import Worker  # the only threads there are

    inside, leave = Event(), Event()
    kept, component = memory(), MultiLogger("m")
    logs = LoggerGroup([kept], RunContext(tmp_path / "run"), close_timeout_s=0.2)
    component.log_scalar("first", 1.0)
    logs.write([component], State(num_steps=1))

    def stuck() -> float:
        inside.set()
        assert leave.wait(30)
        return 1.0

    def write(_: list[str]) -> None:
        component.log_scalar("stuck", stuck)
        logs.write([component], State(num_steps=2))

    worker: Worker[str] = Worker("stuck", write, max_bytes=10)
    worker.submit("go", size_bytes=1)
    assert inside.wait(30)

    stats = logs.close()
    leave.set()
    worker.stop(30)

    assert values(kept) == [(1, "first", 1.0)]
    assert stats["memory"].written == 1


def test_what_was_rate_limited_is_counted_when_the_key_turns_out_to_be_reduced(tmp_path):
    kept = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=3600))
    component = MultiLogger("m")
    with LoggerGroup([kept], RunContext(tmp_path / "run")) as logs:
        for step in range(1, 6):
            component.log_scalar("loss", 1.0)
            logs.write([component], State(num_steps=step))
        component.log_scalar("loss", 1.0, reduce="mean")
        logs.write([component], State(num_steps=6))

    stats = logs.stats()["memory"]
    assert (stats.accepted, stats.skipped) == (2, {"rate_limited": 4})
