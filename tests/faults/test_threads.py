"""Many threads at once, and more than the queue can hold: every value is accounted for, the error is exactly 0."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.worker import Worker
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger

THREADS = 16
LIMIT_S = 900.0
COUNTS = pytest.mark.parametrize(
    "count",
    [10_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
    ids="{} each".format,
)
"""How many submits each thread makes."""


@contextmanager
def switching_all_the_time() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)


def in_16_threads(work: Callable[[int], None]) -> None:
    """Calls ``work`` with the number of the thread, in all of them at once; raises what one of them raised."""
    together, errors = threading.Barrier(THREADS), []

    def run(number: int) -> None:
        together.wait(LIMIT_S)
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    with switching_all_the_time():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


@COUNTS
def test_submits_of_16_threads_that_overflow_a_queue_are_handled_or_returned_once_each(count):
    handled, returned = bytearray(THREADS * count), bytearray(THREADS * count)

    def handle(run: list[int]) -> None:
        for item in run:
            handled[item] += 1

    worker: Worker[int] = Worker("ml-test", handle, max_bytes=1000, linger_s=0.0)

    def submit(thread: int) -> None:
        for item in range(thread * count, (thread + 1) * count):
            for dropped in worker.submit(item, size_bytes=10, droppable=item % 3 == 0):
                returned[dropped] += 1

    in_16_threads(submit)
    assert worker.stop(LIMIT_S) == []

    assert sum(handled) + sum(returned) == THREADS * count
    assert all(was + is_ == 1 for was, is_ in zip(handled, returned, strict=True))
    assert sum(returned) > 0, "the queue did not overflow"
    print(f"{THREADS} threads, {count} submits each: {sum(handled)} handled, {sum(returned)} dropped, error 0")


@COUNTS
def test_values_of_16_threads_that_overflow_the_queues_of_a_group_are_all_accounted_for(tmp_path, count):
    """Every thread logs to a component of its own and to one that all share, and ends steps."""
    memory = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=0, max_queue_bytes=20_000))
    files = JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0, max_queue_bytes=20_000))
    logs = LoggerGroup([memory, files], RunContext(tmp_path), close_timeout_s=LIMIT_S)
    shared, own = MultiLogger("shared"), [MultiLogger(f"own_{number}") for number in range(THREADS)]

    def train(thread: int) -> None:
        mine = own[thread]
        for number in range(1, count + 1):
            if number % 2:
                mine.log_string("text", f"{thread} {number}")
            else:
                shared.log_scalar(f"loss_{thread}", number)
            if number % 40 == 0:
                logs.write([mine, shared], State(num_steps=number))

    in_16_threads(train)
    logs.write([shared, *own], State(num_steps=count + 1), force=True)
    stats = logs.close()

    overwritten = sum(component.overwritten for component in (shared, *own))
    for name, counted in stats.items():
        offered = counted.accepted + sum(counted.skipped.values()) + overwritten
        assert offered == THREADS * count, name
        assert counted.accepted == counted.written + sum(counted.dropped.values()), name
        assert set(counted.dropped) <= {"queue_full"}
        assert (counted.failed, counted.pending) == ({}, 0)
        print(f"{name}: {THREADS} threads, {count} values each: {counted.written} written, error 0")
    assert len(memory.entries) == stats["memory"].written
    assert stats["json"].dropped["queue_full"] > 0, "the queue did not overflow"
    assert _values_in(tmp_path / "json" / "log.jsonl") == stats["json"].written


def _values_in(path: Path) -> int:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    scalars = sum(len(line.get("scalars", {})) for line in lines)
    return scalars + sum(len(texts) for line in lines for texts in line.get("strings", {}).values())
