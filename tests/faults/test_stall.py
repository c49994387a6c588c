"""A backend that stands still, or is slower than what comes: the loop and the other backends do not notice."""

import threading
from collections import Counter

import numpy as np

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger

LIMIT_S = 20.0


def every_step(name: str, **settings) -> BaseLoggerConfig:
    return BaseLoggerConfig(name, write_every_n_seconds=0, **settings)


def test_while_one_backend_stands_still_all_of_1000_steps_reach_the_file_of_another(tmp_path, read_json):
    """``scripts/bench stall`` prints what it costs."""

    class Watched(JsonLogger):
        def write(self, state: State) -> None:
            super().write(state)
            if state.num_steps == 1000:
                caught_up.set()

    caught_up, model = threading.Event(), MultiLogger("model")
    blocking = BlockingLogger(every_step("blocking"))
    watched = Watched(JsonLoggerConfig("json", write_every_n_seconds=0))
    logs = LoggerGroup([blocking, watched], RunContext(tmp_path))
    for step in range(1, 1001):
        model.log_scalar("loss", step)
        logs.write([model], State(num_steps=step))
    blocking.gate.wait_for_arrival()

    assert caught_up.wait(LIMIT_S)
    assert [line["step"] for line in read_json()] == list(range(1, 1001)), "while the other one still stands there"
    assert logs.flush(0.0) is False
    blocking.gate.open()
    assert logs.close(LIMIT_S)["blocking"].written == 1000


def test_a_burst_beyond_the_speed_of_a_backend_costs_media_first_then_the_oldest_and_is_counted_exactly(tmp_path):
    """The backend writes once while the loop makes ten steps, for 2,000 steps."""

    class Throttled(MemoryLogger):
        def write(self, state: State) -> None:
            assert allowed.acquire(timeout=LIMIT_S)
            super().write(state)
            done.release()

    allowed, done, model = threading.Semaphore(0), threading.Semaphore(0), MultiLogger("model")
    throttled = Throttled(every_step("throttled", max_queue_bytes=100_000, write_media_every_n_seconds=0))
    logs = LoggerGroup([throttled], RunContext(tmp_path))
    most_bytes = 0
    for step in range(1, 2001):
        model.log_scalar("loss", step)
        model.log_string("text", f"{step} {'x' * 500}")
        model.log_image("image", np.zeros((3, 30, 30), np.uint8))
        logs.write([model], State(num_steps=step))
        most_bytes = max(most_bytes, logs._deliveries[0]._queue.queued_bytes)
        if step % 10 == 0:
            allowed.release()
            assert done.acquire(timeout=LIMIT_S)
    allowed.release(10_000)
    stats = logs.close(LIMIT_S)["throttled"]

    assert most_bytes <= 100_000
    kept = Counter(entry.key for entry in throttled.entries)
    assert stats.accepted == 6000
    assert stats.written == kept.total() == 6000 - stats.dropped["queue_full"]
    assert set(stats.dropped) == {"queue_full"}
    assert kept["image"] < kept["text"] / 2, "media go first"
    steps = [entry.step for entry in throttled.entries if entry.key == "loss"]
    assert steps == sorted(set(steps)), "in order, each once"
    assert set(range(1951, 2001)) <= set(steps), "the oldest go, the youngest stay"
