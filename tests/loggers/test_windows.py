"""Which values a backend gets: every window keeps every key, nothing is computed that nobody needs."""

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing import FakeClock

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
