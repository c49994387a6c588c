"""Code that runs in the middle of other code: Ctrl-C, signal handlers, finalizers, feedback."""

import gc
import linecache
import logging
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from types import FrameType

import pytest

import ml
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLogger, BaseLoggerConfig, LoggerGroup, MultiLogger, multi
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger, FakeClock

LIMIT_S = 20.0
STRIDES = [9, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
"""Of so many lines one is interrupted."""

PACKAGE = os.path.dirname(ml.__file__)


def every_step(name: str = "memory") -> BaseLoggerConfig:
    return BaseLoggerConfig(name, write_every_n_seconds=0)


def adds_up(stats) -> bool:
    return stats.accepted == stats.written + sum(stats.dropped.values()) + sum(stats.failed.values()) + stats.pending


@contextmanager
def interrupted_at(place: int) -> Iterator[Counter]:
    """Raises ``KeyboardInterrupt`` at the ``place``-th line that this thread executes inside the package.

    Left out are lines where only a tracer can raise, as the interpreter does not look for signals
    there: a ``with``, which takes a lock and enters the block at once, ``try``, and the first line of a ``finally``.
    """
    seen = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> object:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        before_it, line = (linecache.getline(frame.f_code.co_filename, frame.f_lineno - back) for back in (1, 0))
        if event == "line" and "with " not in line and "try:" not in line and "finally:" not in before_it:
            seen["lines"] += 1
            if seen["lines"] == place:
                seen["raised"] += 1
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


def _lock_is_free(lock) -> bool:
    """Whether another thread can take the lock: its owner would be let through."""
    found = []

    def take() -> None:
        found.append(lock.acquire(timeout=5.0))
        if found[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("stride", STRIDES)
def test_ctrl_c_anywhere_in_a_write_leaves_no_lock_held_and_the_next_write_works(tmp_path, stride):
    torch = pytest.importorskip("torch")
    place, lines = 0, 0
    while place <= lines:
        memory = MemoryLogger(every_step())
        seldom = MemoryLogger(BaseLoggerConfig("seldom", write_every_n_seconds=60))
        logs = LoggerGroup([memory, seldom], RunContext(tmp_path))
        model = MultiLogger("model")
        for step in (1, 2):
            model.log_scalar("loss", lambda: 0.5)
            model.log_string("text", "hello")
            model.log_image("image", torch.zeros(3, 2, 2))
            model.log_scalar("mean", 1.0, reduce="mean")
            with suppress(KeyboardInterrupt), interrupted_at(place if step == 2 else 0) as seen:
                logs.write([model], State(num_steps=step))
        lines = lines or seen["lines"]
        assert torch.is_grad_enabled()
        for delivery in logs._deliveries:
            assert _lock_is_free(delivery._queue._lock), f"interrupted at line {place}"
            assert _lock_is_free(delivery.tally._lock)
        assert _lock_is_free(logs._lock)
        assert _lock_is_free(logs._reporter._lock)

        model.log_scalar("loss", 3.0)
        logs.write([model], State(num_steps=3))
        stats = logs.close(LIMIT_S)
        written = Counter((entry.step, entry.key) for entry in memory.entries)
        assert written[3, "loss"] == 1, f"interrupted at line {place}"
        assert max(written.values()) == 1, f"doubled, interrupted at line {place}"
        for counted in stats.values():
            assert adds_up(counted), f"interrupted at line {place}: {counted}"
            assert counted.pending == 0
            assert min(counted.accepted, counted.written) > 0
        place += stride
    assert lines > 100


@pytest.mark.parametrize("stride", STRIDES)
def test_ctrl_c_anywhere_in_a_log_call_or_in_close_leaves_no_lock_held_and_closing_again_closes(tmp_path, stride):
    """What was accepted is written, or counted; each backend is closed once."""
    place, lines = 0, 0
    while place <= lines:
        closed = Counter()

        class Closing(MemoryLogger):
            def close(self) -> None:
                closed[self.id] += 1  # noqa: B023

        memory = Closing(every_step())
        seldom = Closing(BaseLoggerConfig("seldom", write_every_n_seconds=60))
        logs, model = LoggerGroup([memory, seldom], RunContext(tmp_path)), MultiLogger("model")
        for step in (1, 2):
            model.log_scalar("loss", step)
            model.log_scalar(f"rare{step}", step)
            logs.write([model], State(num_steps=step))
        assert logs.flush(LIMIT_S)
        locks = [lock for each in logs._deliveries for lock in (each._queue._lock, each.tally._lock)]
        with suppress(KeyboardInterrupt), interrupted_at(place) as seen:
            model.log_string("text", "of the open step")
            model.log_scalar("last", 3.0)
            logs.close(LIMIT_S)
        lines = lines or seen["lines"]
        for lock in (*locks, logs._lock, logs._reporter._lock):
            assert _lock_is_free(lock), f"interrupted at line {place}"

        stats = logs.close(LIMIT_S)
        assert stats == logs.close(), f"interrupted at line {place}"
        assert closed == {"memory": 1, "seldom": 1}, f"interrupted at line {place}"
        for counted in stats.values():
            assert adds_up(counted), f"interrupted at line {place}: {counted}"
            assert counted.pending == 0
        written = Counter((entry.step, entry.key) for entry in memory.entries)
        assert max(written.values()) == 1, f"doubled, interrupted at line {place}"
        assert {(step, "loss") for step in (1, 2)} <= set(written), f"interrupted at line {place}"
        place += stride
    assert lines > 100


# The timer may also strike in a callback of a weak reference, which cannot raise.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_real_ctrl_c_at_any_time_of_a_write_leaves_no_lock_held(tmp_path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    memory, model = MemoryLogger(every_step()), MultiLogger("model")
    logs = LoggerGroup([memory], RunContext(tmp_path))
    interrupted = 0
    try:
        for step in range(1, 1001):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + step % 250 * 4e-7)
                for key in ("a", "b", "c"):
                    model.log_scalar(key, step)
                logs.write([model], State(num_steps=step))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:  # between the last line and the end of the timer
        interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert interrupted > 0
    assert _lock_is_free(logs._lock)
    assert _lock_is_free(logs._deliveries[0]._queue._lock)
    model.log_scalar("after", 1.0)
    logs.write([model], State(num_steps=2000))
    stats = logs.close(LIMIT_S)["memory"]
    assert memory.entries[-1].key == "after"
    assert adds_up(stats)
    assert max(Counter((entry.step, entry.key) for entry in memory.entries).values()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_and_exit_pass_through_a_callable_a_group_and_a_backend_in_place(tmp_path, error):
    def stop() -> float:
        raise error

    class Stopping(MemoryLogger):
        def write(self, state: State) -> None:
            raise error

    model = MultiLogger("model")
    memory, stopping = MemoryLogger(every_step()), Stopping(every_step("stopping"))
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        model.log_scalar("loss", stop)
        with pytest.raises(error):
            logs.write([model], State(num_steps=1))
        model.log_scalar("loss", 2.0)
        logs.write([model], State(num_steps=2))
    assert [entry.value for entry in memory.entries] == [2.0]

    stopping.initialize(RunContext(tmp_path))
    model.log_scalar("loss", 3.0)
    with pytest.raises(error):
        model.write([stopping], State(num_steps=3))


def test_a_backend_that_exits_costs_its_own_values_only(tmp_path):
    class Exiting(MemoryLogger):
        def write(self, state: State) -> None:
            raise SystemExit(3)

    memory, model = MemoryLogger(every_step()), MultiLogger("model")
    with LoggerGroup([Exiting(every_step("exiting")), memory], RunContext(tmp_path)) as logs:
        for step in (1, 2):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))

    assert [entry.step for entry in memory.entries] == [1, 2]
    assert logs.stats()["exiting"].failed == {"write": 2}


def test_ctrl_c_while_the_end_of_a_step_waits_for_close_still_closes_every_backend(tmp_path):
    closed = []

    class Closing(MemoryLogger):
        def close(self) -> None:
            closed.append(self.id)

    def stop() -> float:
        raise KeyboardInterrupt

    model = MultiLogger("model")
    logs = LoggerGroup([Closing(every_step("a")), Closing(every_step("b"))], RunContext(tmp_path))
    logs.write([model], State(num_steps=1))
    model.log_scalar("loss", stop)
    with pytest.raises(KeyboardInterrupt):
        logs.close()

    assert sorted(closed) == ["a", "b"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_signal_handler_that_logs_at_1_khz_loses_and_doubles_nothing(tmp_path):
    memory, model = MemoryLogger(every_step()), MultiLogger("model")
    fired, numbers = 0, count(1)

    def log(*_: object) -> None:
        nonlocal fired
        fired = number = next(numbers)
        model.log_string("signal", str(number))
        if number % 10 == 0:
            logs.write([model], State(num_steps=step))
            logs.stats()
            logs.flush(0.0)

    before = signal.signal(signal.SIGALRM, log)
    step = 0
    try:
        with LoggerGroup([memory], RunContext(tmp_path)) as logs:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            while fired < 200:
                step += 1
                model.log_string("loop", str(step))
                logs.write([model], State(num_steps=step))
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    fired = next(numbers) - 1
    by_key = {key: [int(entry.value) for entry in memory.entries if entry.key == key] for key in ("signal", "loop")}
    assert sorted(by_key["signal"]) == list(range(1, fired + 1)), "a handler may interrupt another one"
    assert by_key["loop"] == list(range(1, step + 1))
    stats = logs.stats()["memory"]
    assert stats.accepted == stats.written == fired + step


def test_a_component_that_two_threads_empty_at_once_raises_in_neither(monkeypatch):
    """A step that is never ended makes ``log_scalar`` forget old values, while another thread ends the step."""
    monkeypatch.setattr(multi, "MAX_WAITING", 4)
    model = MultiLogger("model")
    model._max_waiting = 4
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    errors, taken, stop = [], [], threading.Event()

    def log(name: str) -> None:
        try:
            for number in range(5_000):
                model.log_string(name, str(number))
        except Exception as error:
            errors.append(error)

    def take() -> None:
        try:
            while not stop.is_set():
                taken.extend(model.take())
        except Exception as error:
            errors.append(error)

    try:
        threads = [threading.Thread(target=log, args=(name,)) for name in "abcd"]
        taker = threading.Thread(target=take)
        for thread in (*threads, taker):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        taker.join()
    finally:
        sys.setswitchinterval(interval_s)

    assert errors == []
    assert len(taken) + len(model.take()) + model.overwritten == 20_000


def test_a_component_that_is_emptied_while_it_is_counted_raises_nothing():
    class Emptied(deque):
        def __len__(self) -> int:
            count = super().__len__()
            self.clear()  # as another thread may, right after this one has counted
            return count

    model = MultiLogger("model")
    model._entries = Emptied([1, 2, 3])

    assert model.take() == []


def test_finalizers_that_log_in_the_middle_of_everything_never_deadlock(tmp_path):
    class Node:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            model.log_string("finalizer", "gone")

    memory, model = MemoryLogger(every_step()), MultiLogger("model")
    threshold = gc.get_threshold()
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        try:
            gc.set_threshold(1)
            for step in range(1, 101):
                Node()
                model.log_scalar("loss", lambda: float(Node is not None))
                logs.write([model], State(num_steps=step))
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        logs.write([model], State(num_steps=101))

    keys = Counter(entry.key for entry in memory.entries)
    assert keys == {"loss": 100, "finalizer": 100}


def test_a_backend_whose_own_messages_are_logged_again_is_bounded(tmp_path):
    """``write`` says something, a handler of ``logging`` logs it, and so there is something to write."""
    model = MultiLogger("model")

    class Talking(MemoryLogger):
        def write(self, state: State) -> None:
            logging.getLogger("of a library").error("wrote step %d", state.num_steps)
            super().write(state)

    class IntoTheRun(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            model.log_string("messages", record.getMessage())

    talking, handler = Talking(every_step("talking")), IntoTheRun()
    logging.getLogger().addHandler(handler)
    try:
        with LoggerGroup([talking], RunContext(tmp_path)) as logs:
            for step in range(1, 51):
                logs.write([model], State(num_steps=step), force=True)
                model.log_scalar("loss", step)
                logs.flush(LIMIT_S)
    finally:
        logging.getLogger().removeHandler(handler)

    stats = logs.stats()["talking"]
    assert stats.accepted == stats.written
    assert len(talking.states) <= 55
    assert sum(entry.key == "messages" for entry in talking.entries) <= len(talking.states)


def test_a_failure_that_is_logged_again_and_fails_again_is_bounded(tmp_path):
    model = MultiLogger("model")

    class Failing(MemoryLogger):
        def write(self, state: State) -> None:
            raise ValueError("broken")

    class IntoTheRun(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            model.log_string("messages", record.getMessage())

    handler = IntoTheRun()
    logging.getLogger("ml").addHandler(handler)
    try:
        with LoggerGroup([Failing(every_step("failing"))], RunContext(tmp_path, clock=FakeClock())) as logs:
            for step in range(1, 51):
                model.log_scalar("loss", step)
                logs.write([model], State(num_steps=step))
                logs.flush(LIMIT_S)
    finally:
        logging.getLogger("ml").removeHandler(handler)

    stats = logs.stats()["failing"]
    assert adds_up(stats)
    assert stats.accepted <= 60


def test_a_callable_that_logs_writes_flushes_and_closes_ends_the_step_once(tmp_path):
    memory, model = MemoryLogger(every_step()), MultiLogger("model")

    def meddle() -> float:
        model.log_scalar("inner", 2.0)
        logs.write([model], State(num_steps=99))
        assert logs.flush(LIMIT_S) is False
        logs.close()
        return 1.0

    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        model.log_scalar("outer", meddle)
        logs.write([model], State(num_steps=1))
        logs.write([model], State(num_steps=2))

    assert memory.entries == [("train", 1, "model", "outer", 1.0), ("train", 2, "model", "inner", 2.0)]


def test_a_callable_that_writes_while_the_group_closes_is_ignored(tmp_path):
    memory, model = MemoryLogger(every_step()), MultiLogger("model")

    def meddle() -> float:
        logs.write([model], State(num_steps=99))
        logs.close()
        return 1.0

    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        logs.write([model], State(num_steps=1))
        model.log_scalar("last", meddle)
    assert memory.entries == [("train", 1, "model", "last", 1.0)]


def test_a_backend_that_flushes_or_closes_its_own_group_does_not_wait_for_itself(tmp_path):
    answers = []

    class Meddling(MemoryLogger):
        def write(self, state: State) -> None:
            super().write(state)
            answers.append(logs.flush(LIMIT_S))
            if state.num_steps == 2:
                answers.append(set(logs.close()))

    class Waiting(BlockingLogger):
        def write(self, state: State) -> None:
            if state.num_steps == 2:
                self.gate.wait()
            super(BlockingLogger, self).write(state)

    meddling, waiting, model = Meddling(every_step("meddling")), Waiting(every_step("waiting")), MultiLogger("model")
    logs = LoggerGroup([meddling, waiting], RunContext(tmp_path), close_timeout_s=LIMIT_S)
    for step in (1, 2):
        model.log_scalar("loss", step)
        logs.write([model], State(num_steps=step))
    waiting.gate.wait_for_arrival()
    waiting.gate.open()
    stats = logs.close()

    assert answers == [False, False, {"meddling", "waiting"}]
    assert all(adds_up(counted) for counted in stats.values())
    assert [entry.step for entry in waiting.entries] == [1, 2]
    assert isinstance(meddling, BaseLogger)
