"""Windows of mean, sum, min, max and last, through a whole group."""

import math

import pytest
import torch

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.reduce import Reduction
from ml.testing import FakeClock


class Loop:
    def __init__(self, directory, *configs):
        self.clock, self.component = FakeClock(), MultiLogger("task")
        self.backends = [MemoryLogger(config) for config in configs or [BaseLoggerConfig("memory")]]
        self.group = LoggerGroup(self.backends, RunContext(directory, clock=self.clock, wall_clock=self.clock))
        self.state = State()

    def step(self, *numbers, phase="train", key="loss", weight=1.0, reduce=None, force=False):
        """Logs numbers in one step, ends it; a second passes."""
        for number in numbers:
            self.component.log_scalar(key, number, reduce=reduce, weight=weight)
        field = "num_steps" if phase == "train" else f"num_{phase}_steps"
        self.state = self.state._replace(phase=phase, **{field: getattr(self.state, field) + 1})
        self.group.write([self.component], self.state, force=force)
        self.clock.advance(1)

    def close(self, index=0):
        """What was written: ``(phase, step, value)``."""
        self.group.close()
        return [(entry.phase, entry.step, entry.value) for entry in self.backends[index].entries]


@pytest.fixture
def loop(tmp_path):
    return Loop(tmp_path)


@pytest.mark.parametrize("phase", ["valid", "test"])
def test_a_pass_has_one_weighted_mean_at_its_training_step(loop, phase):
    loop.step()
    for number, weight in ((1.0, 32), (2.0, 32), (6.0, 8)):
        loop.step(number, phase=phase, weight=weight)

    assert loop.close() == [(phase, 1, (1.0 * 32 + 2.0 * 32 + 6.0 * 8) / 72)]


@pytest.mark.parametrize(
    ("reduce", "expected"), [("last", 2.0), ("sum", 12.0), ("min", 1.0), ("max", 5.0), ("mean", 3.0)]
)
@pytest.mark.parametrize("phase", ["valid", "train"])
def test_a_window_has_the_reduction_that_is_asked_for(tmp_path, phase, reduce, expected):
    loop = Loop(tmp_path, BaseLoggerConfig("memory", write_every_n_seconds=100))
    loop.step(9.0, key="other")
    for number in (4.0, 1.0, 5.0, 2.0):
        loop.step(number, phase=phase, reduce=reduce)

    values = [value for _, _, value in loop.close()]
    if (phase, reduce) == ("train", "last"):
        assert values == [9.0, 4.0]  # no reduction: the first value of the window
    else:
        assert values == [9.0, expected]


def test_a_mean_counts_every_call_also_several_in_one_step(loop):
    loop.step(1.0, 2.0, 6.0, reduce="mean")
    loop.step(1.0, 5.0, phase="valid")

    assert loop.close() == [("train", 1, 3.0), ("valid", 1, 3.0)]


def test_a_training_window_is_what_came_since_that_backends_last_write(tmp_path):
    configs = [BaseLoggerConfig("memory", id=f"every{n}", write_every_n_steps=n) for n in (2, 3)]
    loop = Loop(tmp_path, *configs)
    for step in range(1, 7):
        loop.step(float(step), reduce="mean")

    assert loop.close(0) == [("train", 1, 1.0), ("train", 3, 2.5), ("train", 5, 4.5), ("train", 6, 6.0)]
    assert loop.close(1) == [("train", 1, 1.0), ("train", 4, 3.0), ("train", 6, 5.5)]


def test_a_reduced_value_is_computed_every_step_and_once_for_all_backends(tmp_path):
    loop = Loop(tmp_path, *[BaseLoggerConfig("memory", id=f"b{n}", write_every_n_seconds=100) for n in range(3)])
    calls = []
    for step in range(5):
        loop.step(lambda step=step: calls.append(step) or 1.0, reduce="sum")

    assert calls == list(range(5))
    assert [loop.close(index) for index in range(3)] == [[("train", 1, 1.0), ("train", 5, 4.0)]] * 3


def test_a_reduced_value_carries_the_state_of_its_last_contribution(tmp_path):
    loop = Loop(tmp_path, BaseLoggerConfig("memory", write_every_n_steps=5))
    for number in (1.0, 2.0, 4.0):
        loop.step(number, reduce="mean")
    for _ in range(3):
        loop.step()

    assert loop.close() == [("train", 1, 1.0), ("train", 3, 3.0)]


def test_a_pass_leaves_an_open_training_window_as_it_is(tmp_path):
    loop = Loop(tmp_path, BaseLoggerConfig("memory", write_every_n_steps=4))
    loop.step(1.0, reduce="mean")
    loop.step(2.0, reduce="mean")
    loop.step(9.0, phase="valid")
    loop.step(4.0, reduce="mean")
    loop.step(6.0, reduce="mean")
    loop.step(8.0, reduce="mean")

    assert loop.close() == [("train", 1, 1.0), ("valid", 2, 9.0), ("train", 5, 5.0)]


def test_every_pass_begins_anew(loop):
    loop.step(1.0, phase="valid")
    loop.step(phase="train")
    loop.step(5.0, phase="valid")
    loop.group.end_pass()
    loop.step(7.0, phase="valid")

    assert [value for _, _, value in loop.close()] == [1.0, 5.0, 7.0]


def test_nan_in_a_window_is_seen(loop):
    loop.step(math.nan, phase="valid")
    loop.step(1.0, phase="valid")

    assert math.isnan(loop.close()[0][2])


def test_a_contribution_that_fails_costs_itself_alone(loop):
    loop.step(1.0, phase="valid")
    loop.step(lambda: 1 / 0, "no number", phase="valid")
    loop.step(3.0, phase="valid")

    assert loop.close() == [("valid", 0, 2.0)]
    stats = loop.group.stats()["memory"]
    assert (stats.accepted, stats.written, stats.failed) == (3, 1, {"callable": 1, "value": 1})
    assert stats.skipped == {"reduced": 1}


@pytest.mark.parametrize("weight", [-1.0, math.nan, "many", None, [1.0, 2.0], 1j], ids=repr)
@pytest.mark.parametrize("options", [{"phase": "valid"}, {"reduce": "mean"}, {"reduce": "last"}, {}], ids=str)
def test_a_weight_that_is_no_number_from_0_is_refused_and_blamed(loop, caplog, weight, options):
    loop.step(1.0, weight=weight, **options)

    assert loop.close() == []
    assert loop.group.stats()["memory"].failed == {"value": 1}
    assert f"weight is a number of 0 or more, got {weight!r}. (Logged at" in caplog.text


def test_an_unknown_reduction_is_refused_by_name(loop, caplog):
    loop.step(1.0, reduce="median")

    assert loop.close() == []
    assert "reduce is one of last, mean, sum, min, max, got 'median'" in caplog.text


def test_flush_leaves_open_windows_open(loop):
    loop.step(1.0, phase="valid")
    assert loop.group.flush()
    assert loop.backends[0].entries == []
    loop.step(3.0, phase="valid")

    assert loop.close() == [("valid", 0, 2.0)]


def test_closing_writes_what_open_windows_hold_of_every_phase(tmp_path):
    loop = Loop(tmp_path, BaseLoggerConfig("memory", write_every_n_steps=100))
    loop.step(1.0, reduce="mean")
    loop.step(3.0, reduce="mean")
    loop.step(5.0, phase="valid")

    assert loop.close() == [("train", 1, 1.0), ("valid", 2, 5.0), ("train", 2, 3.0)]


def test_a_mean_of_tensors_holds_no_graph(loop):
    weights = torch.ones(3, requires_grad=True)
    loop.step((weights * 2).sum(), phase="valid", weight=3)
    loop.step((weights * 4).sum(), phase="valid", weight=1)

    assert loop.close() == [("valid", 0, 7.5)]


def test_a_window_of_many_small_numbers_keeps_its_precision():
    reduction = Reduction("mean")
    for _ in range(100_000):
        reduction.add(0.1, 1.0, State())

    assert reduction.take() == pytest.approx(0.1, rel=1e-10)


def test_a_series_logged_plainly_and_reduced_in_one_step_keeps_both(loop):
    loop.step(1.0)
    loop.component.log_scalar("mean", 1.0, reduce="mean")
    loop.component.log_scalar("plain", 2.0)
    loop.step()

    assert loop.close() == [("train", 1, 1.0), ("train", 2, 2.0), ("train", 2, 1.0)]
