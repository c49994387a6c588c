"""The life of a group: what it asks, gives, counts and ends. Its failures are in ``test_failures.py``."""

import dataclasses
import threading

import pytest
from omegaconf import DictConfig, OmegaConf

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.stats import LoggerStats
from ml.testing import BlockingLogger, FakeClock


@pytest.fixture
def memory():
    return MemoryLogger(BaseLoggerConfig("memory"))


@pytest.fixture
def group(tmp_path, memory):
    with LoggerGroup([memory], RunContext(tmp_path, clock=FakeClock(), wall_clock=FakeClock(1e9))) as group:
        yield group


@pytest.fixture
def model():
    return MultiLogger("model")


def test_several_components_are_written_in_the_order_given(group, memory, model):
    task = MultiLogger("task")
    task.log_scalar("loss", 1.0)
    model.log_scalar("loss", 2.0)
    group.write([model, task], State(num_steps=1))
    group.flush()

    assert [(entry.namespace, entry.value) for entry in memory.entries] == [("model", 2.0), ("task", 1.0)]


def test_components_may_be_any_iterable(group, memory, model):
    model.log_scalar("loss", 1.0)
    group.write((component for component in (model, model)), State(num_steps=1))
    group.flush()

    assert len(memory.entries) == 1


def test_a_state_without_a_time_gets_the_wall_clocks(group, memory, model):
    for state in (State(num_steps=1), State(num_steps=2, time_s=5.0)):
        model.log_scalar("loss", 1.0)
        group.write([model], state)
    group.flush()

    assert [state.time_s for state in memory.states] == [1e9, 5.0]


def test_a_backend_without_the_values_of_a_step_is_not_written(group, memory, model):
    group.write([model], State(num_steps=1), force=True)
    group.flush()

    assert memory.states == []


def test_a_backend_is_called_on_its_own_thread_one_call_at_a_time_in_order(tmp_path, model):
    calls = []

    class Calling(MemoryLogger):
        def log_config(self, config):
            calls.append(("config", threading.current_thread()))

        def log_scalar(self, key, value, state, namespace):
            calls.append((key, threading.current_thread()))

        def write(self, state):
            calls.append(("write", threading.current_thread()))

        def flush(self):
            calls.append(("flush", threading.current_thread()))

        def close(self):
            calls.append(("close", threading.current_thread()))

    with LoggerGroup([Calling(BaseLoggerConfig("calling"))], RunContext(tmp_path)) as group:
        group.log_config({"lr": 0.1})
        model.log_scalars({"a": 1.0, "b": 2.0})
        group.write([model], State(num_steps=1))
        group.flush()

    assert [name for name, _ in calls] == ["config", "a", "b", "write", "flush", "flush", "close"]
    assert len({thread for _, thread in calls}) == 1
    assert calls[0][1] is not threading.current_thread()


def test_a_slow_backend_holds_up_no_other(tmp_path, memory, model):
    blocking = BlockingLogger(BaseLoggerConfig("blocking"))
    with LoggerGroup([blocking, memory], RunContext(tmp_path)) as group:
        model.log_scalar("loss", 1.0)
        group.write([model], State(num_steps=1))
        blocking.gate.wait_for_arrival()
        model.log_scalar("loss", 2.0)
        group.write([model], State(num_steps=2))
        group.flush(timeout_s=0.2)

        assert [entry.step for entry in memory.entries] == [1, 2]
        assert blocking.entries == []
        blocking.gate.open()
    assert [entry.step for entry in blocking.entries] == [1, 2]


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    password: str = "canary"


@pytest.mark.parametrize(
    "config",
    [{"lr": 0.1, "password": "canary"}, OmegaConf.create({"lr": 0.1, "password": "canary"}), Settings()],
    ids=["mapping", "DictConfig", "dataclass"],
)
def test_a_configuration_is_given_to_every_backend_as_one_type_without_secrets(group, memory, config):
    group.log_config(config)
    group.flush()

    assert isinstance(memory.config_logged, DictConfig)
    assert memory.config_logged == {"lr": 0.1, "password": "***"}


def test_stats_are_a_moments_counts_and_do_not_change(group, model):
    before = group.stats()["memory"]
    model.log_scalar("loss", 1.0)
    group.write([model], State(num_steps=1))
    group.flush()

    assert before == LoggerStats()
    assert group.stats()["memory"] == LoggerStats(accepted=1, written=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.accepted = 3


def test_stats_are_by_the_id_of_a_backend(tmp_path):
    backends = [MemoryLogger(BaseLoggerConfig("memory")), MemoryLogger(BaseLoggerConfig("memory", id="second"))]
    with LoggerGroup(backends, RunContext(tmp_path)) as group:
        assert list(group.stats()) == ["memory", "second"]


def test_steps_may_be_ended_by_several_threads(group, memory):
    def end_steps(number):
        component = MultiLogger(f"model{number}")
        for step in range(100):
            component.log_string("note", str(step))
            group.write([component], State(num_steps=step))

    threads = [threading.Thread(target=end_steps, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    group.close()

    for number in range(4):
        notes = [entry.value for entry in memory.entries if entry.namespace == f"model{number}"]
        assert notes == [str(step) for step in range(100)]


def test_a_group_without_backends_computes_nothing_and_is_content(tmp_path, model):
    with LoggerGroup([], RunContext(tmp_path)) as group:
        model.log_scalar("loss", lambda: pytest.fail("computed"))
        group.write([model], State(num_steps=1))
        assert group.flush()

    assert group.stats() == {}
    assert len(model) == 0


def test_a_component_that_only_an_earlier_step_named_is_written_by_close(tmp_path, memory, model):
    task = MultiLogger("task")
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        group.write([model, task], State(num_steps=1))
        group.write([model], State(num_steps=2))
        task.log_scalar("late", 1.0)

    assert [entry[:4] for entry in memory.entries] == [("train", 2, "task", "late")]


def test_flush_after_close_says_whether_all_is_durable(tmp_path, memory, model, caplog):
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        model.log_scalar("loss", 1.0)
        group.write([model], State(num_steps=1))
    assert group.flush()

    model.log_scalar("late", 1.0)
    group.write([model], State(num_steps=2))
    assert not group.flush()
    assert caplog.text == ""
