"""The end, in the wrong order, twice, and from everywhere at once."""

import threading

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger

LIMIT_S = 20.0


class CountingLogger(MemoryLogger):
    """A memory backend that counts how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def every_step(name: str) -> BaseLoggerConfig:
    return BaseLoggerConfig(name, write_every_n_seconds=0)


def test_what_is_logged_after_close_is_counted_as_closed_and_never_raises(tmp_path):
    memory, other, model = MemoryLogger(every_step("memory")), MemoryLogger(every_step("other")), MultiLogger("model")
    with LoggerGroup([memory, other], RunContext(tmp_path), on_error="raise") as logs:
        model.log_scalar("loss", 1.0)
        logs.write([model], State(num_steps=1))
    model.log_scalar("loss", lambda: 1 / 0)
    model.log_string("text", "late")
    logs.write([model], State(num_steps=2), force=True)
    logs.log_config({"late": True})
    logs.end_pass()

    for stats in logs.close().values():
        assert (stats.accepted, stats.written, stats.dropped) == (3, 1, {"closed": 2})
    assert len(model) == 0
    assert len(memory.entries) == 1


def test_flush_after_close_says_that_nothing_is_certain_and_does_not_wait(tmp_path):
    blocking, model = BlockingLogger(every_step("blocking")), MultiLogger("model")
    logs = LoggerGroup([blocking], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    blocking.gate.wait_for_arrival()
    logs.close(0.0)

    assert logs.flush(10_000.0) is False
    blocking.gate.open()


def test_closing_twice_is_closing_once(tmp_path):
    counting, model = CountingLogger(every_step("counting")), MultiLogger("model")
    logs = LoggerGroup([counting], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))

    assert logs.close() == logs.close()
    with logs:
        pass
    assert counting.closed == 1


def test_closing_in_8_threads_at_once_closes_once_and_tells_all_the_same(tmp_path):
    counting, model = CountingLogger(every_step("counting")), MultiLogger("model")
    logs = LoggerGroup([counting], RunContext(tmp_path))
    for step in range(1, 51):
        model.log_scalar("loss", step)
        logs.write([model], State(num_steps=step))
    together = threading.Barrier(8)
    answers = []

    def close() -> None:
        together.wait(LIMIT_S)
        answers.append(logs.close())

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)

    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["counting"].written == 50
    assert counting.closed == 1


def test_a_group_may_be_closed_while_other_threads_log_and_write(tmp_path):
    memory, models = MemoryLogger(every_step("memory")), [MultiLogger(f"model{number}") for number in range(4)]
    logs = LoggerGroup([memory], RunContext(tmp_path))
    logged, written, under_way = [0] * 4, threading.Event(), threading.Semaphore(0)

    def train(thread: int) -> None:
        while not written.is_set():
            logged[thread] += 1
            models[thread].log_string("text", str(logged[thread]))
            logs.write([models[thread]], State(num_steps=logged[thread]))
            under_way.release()

    threads = [threading.Thread(target=train, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert under_way.acquire(timeout=LIMIT_S)
    logs.close()
    written.set()
    for thread in threads:
        thread.join(LIMIT_S)

    stats = logs.stats()["memory"]
    assert stats.accepted == sum(logged)
    assert stats.written == len(memory.entries)
    assert stats.written + stats.dropped.get("closed", 0) == stats.accepted


def test_closing_inside_a_backend_returns_and_later_closes_tell_the_same(tmp_path):
    answers = []

    class Closing(MemoryLogger):
        def write(self, state: State) -> None:
            super().write(state)
            answers.append(logs.close())

    closing, memory, model = Closing(every_step("closing")), MemoryLogger(every_step("memory")), MultiLogger("model")
    logs = LoggerGroup([closing, memory], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    logs._deliveries[0]._queue._thread.join(LIMIT_S)

    assert not logs._deliveries[0]._queue._thread.is_alive()
    assert logs.close() == answers[0] == logs.stats()
    assert [entry.value for entry in memory.entries] == [1.0]


def test_closing_inside_a_backend_while_the_group_closes_waits_for_nothing(tmp_path):
    """The one waits for the backend, the backend for the one: only a check saves the whole deadline."""

    class Closing(BlockingLogger):
        def write(self, state: State) -> None:
            super().write(state)
            if logs._closing:
                assert set(logs.close()) == {"closing"}

    closing, model = Closing(every_step("closing")), MultiLogger("model")
    logs = LoggerGroup([closing], RunContext(tmp_path), close_timeout_s=10_000.0)
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    closing.gate.wait_for_arrival()
    model.log_scalar("loss", lambda: closing.gate.open() or 2.0)
    stats = logs.close()["closing"]

    assert stats.accepted == stats.written == 2


def test_a_component_may_be_written_to_a_second_group_after_the_first_was_closed(tmp_path):
    model = MultiLogger("model")
    for number in (1, 2):
        memory = MemoryLogger(every_step("memory"))
        with LoggerGroup([memory], RunContext(tmp_path)) as logs:
            model.log_scalar("loss", number)
            logs.write([model], State(num_steps=number))
        assert [entry.value for entry in memory.entries] == [number]


def test_closing_writes_what_was_logged_after_the_last_step(tmp_path, read_json):
    model = MultiLogger("model")
    with LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], RunContext(tmp_path)) as logs:
        logs.write([model], State(num_steps=3))
        model.log_scalar("loss", lambda: 0.5)

    assert [(line["step"], line["scalars"]) for line in read_json()] == [(3, {"model/loss": 0.5})]
