"""When a backend is written: steps, passes, force, flush and close, by the run's own clock."""

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing import FakeClock
from tests.loggers.helpers import IMAGE

# law 5


def test_the_first_training_state_that_a_process_writes_is_due(make_loop):
    loop = make_loop(write_every_n_seconds=100, write_every_n_steps=1000)
    loop.state = State(num_steps=600)
    loop.steps(1, "a")

    assert loop.written() == [("a", 601)]


def test_a_step_that_hands_a_backend_nothing_moves_no_clock(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(3)
    loop.steps(1, "a")

    assert loop.written() == [("a", 4)]
    assert [state.num_steps for state in loop.memory.states] == [4]


def test_flush_sends_what_is_pending_and_moves_no_clock(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(5, "a")
    loop.steps(1, "b")

    assert loop.written() == [("a", 1), ("b", 6)]
    loop.steps(6, "a", "b")
    assert loop.written() == [("a", 1), ("b", 6), ("a", 11), ("b", 11)]


@pytest.mark.parametrize("end", ["another phase", "end_pass", "close"])
def test_a_pass_is_written_once_when_it_ends(make_loop, end):
    loop = make_loop(write_every_n_seconds=0)
    for _ in range(3):
        loop.log("loss")
        loop.component.log_image("image", IMAGE)
        loop.component.log_string("note", "seen")
        loop.step(phase="valid")
    assert loop.group.stats()["memory"].written == 0

    if end == "another phase":
        loop.step(phase="train")
    elif end == "end_pass":
        loop.group.end_pass()
    else:
        loop.group.close()

    loop.group.close()

    assert sorted(entry.key for entry in loop.memory.entries) == ["image", "loss", "note", "note", "note"]
    assert {entry.phase for entry in loop.memory.entries} == {"valid"}
    assert len(loop.memory.states) == 1


def test_a_pass_that_ended_is_not_written_again(make_loop):
    loop = make_loop()
    loop.log("loss")
    loop.step(phase="valid")
    loop.group.end_pass()
    loop.group.end_pass()
    loop.step(phase="train")
    loop.group.close()

    assert [entry[:4] for entry in loop.memory.entries] == [("valid", 0, "model", "loss")]


@pytest.mark.parametrize("log", ["log_scalar", "log_image", "log_histogram"])
def test_two_passes_of_one_phase_after_another_are_two_windows(make_loop, log):
    loop = make_loop()
    for _ in range(2):
        for _ in range(3):
            loop.log("key", log=log)
            loop.step(phase="valid")
        loop.group.end_pass()
    loop.group.close()

    assert [entry.key for entry in loop.memory.entries] == ["key", "key"]


def test_a_media_key_keeps_its_first_value_of_a_pass_however_long_that_takes(make_loop):
    loop = make_loop(write_val_every_n_seconds=0, write_media_every_n_seconds=1)
    for _ in range(5):
        loop.log("image", log="log_image")
        loop.log("histogram", log="log_histogram")
        loop.step(seconds=100, phase="valid")
    loop.group.close()

    assert len(loop.computed) == 2
    assert [entry.key for entry in loop.memory.entries] == ["image", "histogram"]


def test_every_pass_keeps_its_media(make_loop):
    loop = make_loop(write_media_every_n_seconds=1000)
    for _ in range(3):
        loop.steps(1, "a")
        loop.log("image", log="log_image")
        loop.step(phase="valid")
    loop.group.close()

    assert [entry.step for entry in loop.memory.entries if entry.key == "image"] == [1, 2, 3]


def test_a_pass_is_also_written_inside_where_that_is_asked_for(make_loop):
    loop = make_loop(write_val_every_n_seconds=2)
    for number in (1.0, 3.0, 5.0, 7.0):
        loop.component.log_scalar("loss", number)
        loop.step(phase="valid")
    loop.group.close()

    assert [entry.value for entry in loop.memory.entries] == [1.0, 3.0, 4.0]


def test_a_training_value_that_waits_is_not_lost_in_a_pass(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    loop.steps(1, "a")
    loop.steps(1, "b")
    loop.step(phase="valid")
    loop.steps(1, "b")
    loop.group.close()

    assert [(entry.key, entry.step) for entry in loop.memory.entries] == [("a", 1), ("b", 2)]


def test_force_makes_every_backend_due(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    by_steps = loop.other("steps", write_every_n_steps=100)
    loop.steps(2, "a")
    loop.log("a")
    loop.step(force=True)

    assert loop.written() == loop.written(by_steps) == [("a", 1), ("a", 3)]


def test_closing_ends_the_open_step_with_the_last_state(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    loop.steps(2, "a")
    loop.log("a")
    loop.log("image", log="log_image")
    loop.group.close()

    assert [(entry.key, entry.step) for entry in loop.memory.entries] == [("a", 1), ("image", 2), ("a", 2)]


def test_the_question_is_asked_of_a_backend_once_a_step(tmp_path):
    class Asked(MemoryLogger):
        asked = 0

        def should_write(self, state):
            self.asked += 1
            return super().should_write(state)

    memory, component = Asked(BaseLoggerConfig("asked")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        for step in (1, 2, 3):
            component.log_scalars({"a": 1, "b": 2})
            group.write([component], State(num_steps=step))
        assert memory.asked == 3


# law 6


def test_a_wall_clock_that_jumps_changes_no_interval(tmp_path):
    clock, wall_clock, component = FakeClock(), FakeClock(), MultiLogger("model")
    memory = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=10))
    with LoggerGroup([memory], RunContext(tmp_path, clock=clock, wall_clock=wall_clock)) as group:
        for step in range(1, 23):
            component.log_scalar("a", step)
            group.write([component], State(num_steps=step))
            clock.advance(1)
            wall_clock.advance(1e6 if step % 2 else -5e5)
        assert group.flush()
        assert [entry.step for entry in memory.entries] == [1, 11, 21]
