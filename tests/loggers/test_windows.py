"""Which values a backend gets: every window keeps every key, nothing is computed that nobody needs."""

import numpy as np
import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing import FakeClock

IMAGE = np.zeros((4, 4), np.uint8)


class Loop:
    """A training loop that counts how often its callables run."""

    def __init__(self, directory, **settings):
        self.clock = FakeClock()
        self.memory = MemoryLogger(BaseLoggerConfig("memory", **settings))
        self.others = []
        self.component = MultiLogger("model")
        self.directory = directory
        self.computed = []
        self.state = State()
        self._group = None

    @property
    def group(self):
        if self._group is None:
            context = RunContext(self.directory, clock=self.clock, wall_clock=self.clock)
            self._group = LoggerGroup([self.memory, *self.others], context, on_error="raise")
        return self._group

    def other(self, name, **settings):
        self.others.append(MemoryLogger(BaseLoggerConfig("memory", id=name, **settings)))
        return self.others[-1]

    def log(self, *keys, log="log_scalar"):
        """Logs a callable under each key, which gives the number of the step."""
        for key in keys:
            step = self.state.num_steps + 1

            def value(key=key, step=step):
                self.computed.append((key, step))
                return {"log_image": IMAGE, "log_histogram": np.ones(3), "log_string": str(step)}.get(log, step)

            getattr(self.component, log)(key, value)

    def step(self, seconds=1.0, *, force=False, phase="train"):
        field = {"train": "num_steps", "valid": "num_valid_steps", "test": "num_test_steps"}[phase]
        self.state = self.state._replace(phase=phase, **{field: getattr(self.state, field) + 1})
        self.group.write([self.component], self.state, force=force)
        self.clock.advance(seconds)

    def steps(self, count, *keys, log="log_scalar", seconds=1.0):
        for _ in range(count):
            self.log(*keys, log=log)
            self.step(seconds)

    def written(self, logger=None):
        """What was written so far: ``(key, step)``."""
        assert self.group.flush()
        return [(entry.key, entry.step) for entry in (logger or self.memory).entries]


@pytest.fixture
def make_loop(tmp_path):
    loops = []

    def make(**settings):
        loops.append(Loop(tmp_path, **settings))
        return loops[-1]

    yield make
    for loop in loops:
        loop.group.close()


# law 3


def test_the_opening_write_holds_every_value_of_its_step(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(11, "a", "b")

    assert loop.written() == [("a", 1), ("b", 1), ("a", 11), ("b", 11)]


def test_a_key_logged_every_step_is_computed_once_a_window(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(40, "a")

    assert loop.computed == [("a", 1), ("a", 11), ("a", 21), ("a", 31)]
    assert loop.group.stats()["memory"].skipped == {"rate_limited": 36}


@pytest.mark.parametrize("log", ["log_scalar", "log_image", "log_histogram"])
@pytest.mark.parametrize("place", range(2, 12))
def test_a_key_logged_once_anywhere_in_a_window_is_written(make_loop, log, place):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(place - 1, "often")
    loop.log("rare", log=log)
    loop.steps(13 - place, "often")
    loop.group.close()

    assert [entry[:4] for entry in loop.memory.entries if entry.key == "rare"] == [("train", place, "model", "rare")]


def test_a_value_between_two_writes_waits_for_the_next_one(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(3, "a")
    loop.log("late")
    loop.steps(1)
    assert loop.group.stats()["memory"].accepted == 2

    loop.steps(7, "a")

    assert loop.written() == [("a", 1), ("late", 4), ("a", 11)]
    assert [state.num_steps for state in loop.memory.states] == [1, 11]


def test_a_value_between_two_writes_is_computed_at_its_own_step(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(1)
    loop.steps(1, "a")

    assert loop.computed == [("a", 2)]


def test_the_first_value_of_a_key_in_a_window_is_the_one_that_is_kept(make_loop):
    loop = make_loop(write_every_n_seconds=10)
    loop.steps(1, "a")
    loop.steps(1)
    loop.steps(3, "b")
    loop.steps(20, "a")

    assert loop.written() == [("a", 1), ("b", 3), ("a", 11), ("a", 21)]


@pytest.mark.parametrize("log", ["log_scalar", "log_image"])
def test_a_value_of_the_second_window_is_kept_although_its_key_was_in_the_first(make_loop, log):
    loop = make_loop(write_every_n_seconds=10, write_media_every_n_seconds=10)
    loop.steps(1, "rare", log=log)
    loop.steps(10, "often")
    loop.steps(1, "rare", log=log)
    loop.group.close()

    assert [entry.step for entry in loop.memory.entries if entry.key == "rare"] == [1, 12]


def test_each_backend_has_windows_of_its_own_and_a_value_is_computed_once_for_all(make_loop):
    loop = make_loop(write_every_n_seconds=2)
    slow, by_steps = loop.other("slow", write_every_n_seconds=4), loop.other("steps", write_every_n_steps=3)
    loop.steps(10, "a")

    assert loop.written() == [("a", 1), ("a", 3), ("a", 5), ("a", 7), ("a", 9)]
    assert loop.written(slow) == [("a", 1), ("a", 5), ("a", 9)]
    assert loop.written(by_steps) == [("a", 1), ("a", 4), ("a", 7), ("a", 10)]
    assert loop.computed == [("a", step) for step in (1, 3, 4, 5, 7, 9, 10)]


def test_each_phase_has_windows_of_its_own(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    loop.steps(2, "a", log="log_histogram")
    for _ in range(2):
        loop.log("a", log="log_histogram")
        loop.step(phase="valid")
    loop.steps(1, "a", log="log_histogram")
    loop.group.close()

    assert [(entry.phase, entry.step) for entry in loop.memory.entries] == [("train", 1), ("valid", 2)]


def test_media_have_windows_of_their_own(make_loop):
    loop = make_loop(write_every_n_seconds=2, write_media_every_n_seconds=6)
    for _ in range(13):
        loop.log("a")
        loop.log("i", log="log_image")
        loop.step()

    assert [step for key, step in loop.written() if key == "a"] == [1, 3, 5, 7, 9, 11, 13]
    assert [step for key, step in loop.written() if key == "i"] == [1, 7, 13]


def test_new_media_keys_do_not_keep_a_window_of_media_open(make_loop):
    loop = make_loop(write_every_n_seconds=0, write_media_every_n_seconds=6)
    for step in range(1, 20):
        loop.log("often", f"new{step}", log="log_image")
        loop.step()

    assert [step for key, step in loop.written() if key == "often"] == [1, 7, 13, 19]


def test_texts_are_never_limited(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    loop.steps(5, "note", "note", log="log_string")
    loop.group.close()

    assert [entry.value for entry in loop.memory.entries] == [str(step) for step in range(1, 6) for _ in range(2)]


def test_forced_writes_hold_every_key_of_their_step(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    keys = {"log_scalar", "log_image", "log_histogram"}
    for force in (False, False, True):
        for log in keys:
            loop.log(log, log=log)
        loop.step(force=force)

    assert set(loop.written()) == {(key, step) for key in keys for step in (1, 3)}


# law 2


def test_nothing_is_computed_while_nothing_is_due_and_every_key_is_kept(make_loop):
    loop = make_loop(write_every_n_seconds=100)
    for log in ("log_scalar", "log_image", "log_histogram"):
        loop.log(log, log=log)
    loop.step()
    computed = len(loop.computed)
    for _ in range(5):
        for log in ("log_scalar", "log_image", "log_histogram"):
            loop.log(log, log=log)
        loop.step()

    assert len(loop.computed) == computed == 3


# law 4


def test_a_value_keeps_the_state_of_the_step_it_was_logged_at(tmp_path):
    seen = []

    class Seeing(MemoryLogger):
        def log_scalar(self, key, value, state, namespace):
            seen.append(state)

    clock, component = FakeClock(), MultiLogger("model")
    states = [State(num_steps=step, num_epochs=step % 2, num_samples=7 * step, time_s=1e9 + step) for step in (1, 2, 3)]
    context = RunContext(tmp_path, clock=clock)
    with LoggerGroup([Seeing(BaseLoggerConfig("seeing", write_every_n_seconds=100))], context) as group:
        for state in states:
            component.log_scalar(f"key{state.num_steps}", 0.5)
            group.write([component], state)
        group.write([component], State(num_steps=9), force=True)

    assert seen == states


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
