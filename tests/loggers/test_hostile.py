"""Callables that do more than give a value."""

import threading

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger


class Loop:
    def __init__(self, directory):
        self.memory, self.component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
        self.group = LoggerGroup([self.memory], RunContext(directory))
        self.steps = 0

    def step(self, **values):
        self.component.log_scalars(values)
        self.steps += 1
        self.group.write([self.component], State(num_steps=self.steps))

    def written(self):
        assert self.group.flush()
        return [(entry.step, entry.key) for entry in self.memory.entries]

    def stats(self):
        return self.group.stats()["memory"]


@pytest.fixture
def loop(tmp_path):
    loop = Loop(tmp_path)
    yield loop
    loop.group.close()


def goes_on(loop):
    """Whether a later step is written, also from another thread: no lock is held, nothing is left half done."""
    loop.step(later=1.0)
    thread = threading.Thread(target=loop.step, kwargs={"elsewhere": 1.0})
    thread.start()
    thread.join(30)
    written = loop.written()
    return (loop.steps - 1, "later") in written and (loop.steps, "elsewhere") in written


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("reduce", [None, "mean"])
def test_an_interrupt_passes_and_costs_its_value_alone(loop, kind, reduce):
    def interrupted():
        raise kind

    loop.component.log_scalar("before", 1.0)
    loop.component.log_scalar("interrupted", interrupted, reduce=reduce)
    loop.component.log_scalar("after", 2.0)
    with pytest.raises(kind):
        loop.step()

    assert loop.written() == [(1, "before"), (1, "after")]
    assert loop.stats().failed == {"callable": 1}
    assert goes_on(loop)


def test_a_callable_may_log(loop):
    def logging():
        loop.component.log_scalar("inner", 2.0)
        return 1.0

    loop.step(outer=logging)
    assert loop.written() == [(1, "outer")]
    loop.step()

    assert loop.written() == [(1, "outer"), (2, "inner")]
    assert goes_on(loop)


def test_what_a_callable_of_the_last_step_logs_is_written_at_the_latest_by_close(loop):
    loop.step(outer=lambda: loop.component.log_scalar("inner", 2.0) or 1.0)
    loop.group.close()

    assert [entry.key for entry in loop.memory.entries] == ["outer", "inner"]


def test_a_callable_that_ends_a_step_ends_none(loop, caplog):
    loop.step(outer=lambda: loop.group.write([loop.component], State(num_steps=50)) or 1.0, other=2.0)

    assert loop.written() == [(1, "outer"), (1, "other")]
    assert "A logged callable ended a step while one was being ended" in caplog.text
    assert goes_on(loop)


def test_a_callable_that_closes_the_group_closes_nothing(loop):
    loop.step(outer=lambda: loop.group.close() and 1.0, other=2.0)

    assert loop.written() == [(1, "outer"), (1, "other")]
    assert goes_on(loop)


@pytest.mark.parametrize("call", ["flush", "stats", "end_pass"])
def test_a_callable_may_ask_the_group(loop, call):
    loop.step(outer=lambda: getattr(loop.group, call)() is None or 1.0, other=2.0)

    assert loop.written() == [(1, "outer"), (1, "other")]
    assert goes_on(loop)


def test_a_callable_that_logs_itself_again_is_called_once_a_step(loop):
    calls = []

    def again():
        calls.append(loop.steps)
        loop.component.log_scalar("again", again)
        return 1.0

    loop.step(again=again)
    loop.step()
    loop.step()

    assert calls == [1, 2, 3]
    assert loop.written() == [(1, "again"), (2, "again"), (3, "again")]


def test_a_value_that_cannot_be_shown_fails_alone(loop):
    class Odd:
        def __float__(self):
            raise RuntimeError("no number")

        def __repr__(self):
            raise RuntimeError("no text")

    loop.component.log_string("text", Odd())
    loop.step(odd=lambda: Odd(), good=1.0)

    assert loop.written() == [(1, "good")]
    assert loop.stats().failed == {"value": 2}


def test_an_error_whose_text_raises_is_reported(loop):
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    def failing():
        raise OddError

    loop.step(bad=failing, good=1.0)

    assert loop.written() == [(1, "good")]
    assert loop.stats().failed == {"callable": 1}


def test_a_callable_that_clears_what_is_logged_loses_only_what_came_later(loop):
    loop.step(a=1.0, taking=lambda: len(loop.component.take()) + 1.0, b=2.0)

    assert loop.written() == [(1, "a"), (1, "taking"), (1, "b")]
