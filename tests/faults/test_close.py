"""The end, in the wrong order, twice, and from everywhere at once."""

import signal
import threading

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.worker import LAST_JOIN_S
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


def test_a_backend_that_blocks_takes_no_time_to_end_from_another(tmp_path):
    """Every backend is told to end before any is waited for: the first one waits until the second is closed."""
    closed = threading.Event()

    class Waiting(MemoryLogger):
        def write(self, state: State) -> None:
            assert closed.wait(LIMIT_S)
            super().write(state)

    class Closing(MemoryLogger):
        def close(self) -> None:
            closed.set()

    model = MultiLogger("model")
    logs = LoggerGroup([Waiting(every_step("waiting")), Closing(every_step("closing"))], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))

    assert logs.close(LIMIT_S)["waiting"].written == 1


def test_40_backends_that_block_hold_closing_up_as_long_as_one(tmp_path):
    """After the deadline all of them together get the half second that a thread has to leave a library."""
    blocking = [BlockingLogger(every_step(f"blocking{number}")) for number in range(40)]
    logs, model = LoggerGroup(blocking, RunContext(tmp_path)), MultiLogger("model")
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    for backend in blocking:
        backend.gate.wait_for_arrival()
    closing = threading.Thread(target=logs.close, args=(0.0,))
    closing.start()
    closing.join(40 * LAST_JOIN_S / 2)

    assert not closing.is_alive()
    assert all(stats.dropped == {"deadline": 1} for stats in logs.stats().values())
    for backend in blocking:
        backend.gate.open()


def test_a_backend_that_asks_and_ends_steps_while_the_loop_waits_for_room_holds_nothing_up(tmp_path, caplog):
    class Meddling(MemoryLogger):
        def write(self, state: State) -> None:
            super().write(state)
            assert logs.stats()["meddling"].accepted > 0
            logs.write([model], State(num_steps=10**6))

    config = BaseLoggerConfig("meddling", write_every_n_seconds=0, max_queue_bytes=500, on_full="wait")
    meddling, model = Meddling(config), MultiLogger("model")

    def train() -> None:
        for step in range(1, 51):
            model.log_string("text", "x" * 200)
            logs.write([model], State(num_steps=step))

    logs = LoggerGroup([meddling], RunContext(tmp_path))
    training = threading.Thread(target=train, daemon=True)
    training.start()
    training.join(LIMIT_S)

    assert not training.is_alive()
    stats = logs.close()["meddling"]
    assert stats.accepted == stats.written == 50
    assert [entry.step for entry in meddling.entries] == list(range(1, 51))
    assert caplog.text.count("A backend ended a step of the group that it belongs to: ignored.") == 1


def test_ctrl_c_while_closing_waits_gives_up_at_once_and_says_what_is_lost(tmp_path, caplog):
    class Interrupting(BlockingLogger):
        def flush(self) -> None:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    blocking, interrupting = BlockingLogger(every_step("blocking")), Interrupting(every_step("interrupting"))
    interrupting.gate.open()
    counting, model = CountingLogger(every_step("counting")), MultiLogger("model")
    logs = LoggerGroup([blocking, interrupting, counting], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    blocking.gate.wait_for_arrival()
    with pytest.raises(KeyboardInterrupt):
        logs.close(10_000.0)

    stats = logs.close()
    assert stats["blocking"].dropped == {"deadline": 1}
    assert stats["interrupting"].written == stats["counting"].written == counting.closed == 1
    assert "'blocking' did not write 1 values" in caplog.text
    blocking.gate.open()
