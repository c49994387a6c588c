"""Flushing and closing, while others log, in the middle of a step, and after a failure."""

import threading

import pytest

from ml import start_run
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger, Gate

LIMIT_S = 20


def every_step(**settings):
    return BaseLoggerConfig("memory", write_every_n_seconds=0, **settings)


@pytest.fixture
def component():
    return MultiLogger("model")


def test_a_flush_waits_for_what_was_logged_before_it_and_not_for_what_comes_meanwhile(tmp_path, component):
    class Slow(MemoryLogger):
        """Stands at a gate when it is to write what was logged after the flush began."""

        later = Gate()

        def write(self, state):
            if state.num_steps == 2:
                self.later.wait()
            super().write(state)

        def flush(self):
            component.log_scalar("loss", 2)
            ended = threading.Thread(target=logs.write, args=([component], State(num_steps=2)))
            ended.start()
            ended.join(LIMIT_S)

    backend = Slow(every_step())
    with LoggerGroup([backend], RunContext(tmp_path)) as logs:
        component.log_scalar("loss", 1)
        logs.write([component], State(num_steps=1))

        assert logs.flush(LIMIT_S)
        assert [entry.step for entry in backend.entries] == [1]
        backend.later.open()
        type(backend).flush = lambda self: None
    assert [entry.step for entry in backend.entries] == [1, 2]


def test_flush_after_a_close_that_could_not_make_all_durable_is_false(tmp_path, component):
    class Failing(MemoryLogger):
        def flush(self):
            raise OSError(5, "Input/output error")

    logs = LoggerGroup([Failing(every_step())], RunContext(tmp_path))
    component.log_scalar("loss", 1)
    logs.write([component], State(num_steps=1))
    logs.close()

    assert not logs.flush()


def test_what_a_thread_computes_while_another_one_closes_is_counted_as_closed(tmp_path, component):
    gate, memory = Gate(), MemoryLogger(every_step())
    logs = LoggerGroup([memory], RunContext(tmp_path))

    def stuck():
        gate.wait()
        return 1.0

    component.log_scalar("loss", stuck)
    step = threading.Thread(target=logs.write, args=([component], State(num_steps=1)))
    step.start()
    gate.wait_for_arrival()
    logs.close(0.1)
    gate.open()
    step.join(LIMIT_S)

    stats = logs.stats()["memory"]
    assert (stats.accepted, stats.written, stats.pending, stats.dropped) == (1, 0, 0, {"closed": 1})


def test_a_close_inside_of_a_step_changes_nothing_for_the_steps_that_follow(tmp_path, component):
    backend = BlockingLogger(every_step(on_full="wait", max_queue_bytes=200))
    with LoggerGroup([backend], RunContext(tmp_path)) as logs:
        component.log_scalar("loss", lambda: logs.close() and 0.0)
        logs.write([component], State(num_steps=1))
        opener = threading.Timer(0.2, backend.gate.open)
        opener.start()
        for number in range(2, 10):
            component.log_scalar("loss", number)
            logs.write([component], State(num_steps=number))
        opener.join(LIMIT_S)
        assert logs.flush(LIMIT_S)
        assert logs.stats()["memory"].dropped == {}


def test_a_run_that_closes_in_the_middle_of_a_step_waits_for_room_no_longer_than_it_may(tmp_path):
    backend = BlockingLogger(every_step(on_full="wait", max_queue_bytes=200))
    run = start_run(tmp_path / "run", loggers=[backend], close_timeout_s=0.2)
    run.log({"loss": 1.0})
    run.step()
    run.log({"loss": 2.0})  # for which there is no room
    closing = threading.Thread(target=run.close)
    closing.start()
    closing.join(LIMIT_S)

    assert not closing.is_alive()
    backend.gate.open()


def test_components_that_are_made_anew_for_every_step_are_not_kept(tmp_path):
    with LoggerGroup([MemoryLogger(every_step())], RunContext(tmp_path)) as logs:
        waiting = MultiLogger("waiting")
        for step in range(1, 3001):
            made = MultiLogger("task")
            made.log_scalar("loss", step)
            logs.write([made, *([waiting] if step == 1 else [])], State(num_steps=step))
            if step == 1:
                waiting.log_scalar("last", 1.0)
        assert len(logs._steps._components) <= 1001
        memory = logs._deliveries[0].backend
    assert ("waiting", "last") in {(entry.namespace, entry.key) for entry in memory.entries}


def test_a_number_that_cannot_be_reduced_costs_itself_and_the_pass_ends(tmp_path):
    memory = MemoryLogger(every_step())
    with start_run(tmp_path / "run", loggers=[memory]) as run, run.phase("valid"):
        run.log({"huge": 10**200, "loss": 0.25}, weight=10**200)
        run.step()

    assert [(entry.key, entry.value) for entry in memory.entries] == [("loss", 0.25)]
    assert run.stats()["memory"].failed == {"value": 1}


def test_an_error_whose_text_cannot_be_had_never_reaches_the_loop(tmp_path, component):
    class MuteError(Exception):
        def __str__(self):
            raise ValueError("no text")

    class Failing(MemoryLogger):
        def should_write(self, state):
            raise MuteError

        def log_config(self, config):
            raise MuteError

        def flush(self):
            raise MuteError

    with LoggerGroup([Failing(every_step())], RunContext(tmp_path)) as logs:
        logs.log_config({})
        component.log_scalar("loss", 1)
        logs.write([component], State(num_steps=1))
        assert not logs.flush(LIMIT_S)
