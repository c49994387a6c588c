"""The worker: bounded, ordered, never waiting, exact; each test states one promise of it.

Handlers that must stand still do so at a gate; nothing here sleeps.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.io import worker as worker_module
from ml.io.worker import Worker

LIMIT_S = 20.0
"""How long a wait may take before it is a hang: never reached by working code."""


class Recorder:
    """A handler: keeps every run, stands still while the gate is shut, answers as told."""

    def __init__(self, *answers: float | BaseException | None) -> None:
        self.runs: list[list[object]] = []
        self.answers = list(answers)
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, run: list[object]) -> float | None:
        self.runs.append(list(run))
        self.arrived.release()
        assert self.gate.wait(LIMIT_S)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def items(self) -> list[object]:
        return [item for run in self.runs for item in run]


@contextmanager
def started(
    handle: Callable[[list[object]], float | None], max_bytes: int = 1000, **options: object
) -> Iterator[Worker]:
    made: Worker[object] = Worker("ml-test", handle, max_bytes=max_bytes, **{"linger_s": 0.0, **options})  # type: ignore
    try:
        yield made
    finally:
        if isinstance(handle, Recorder):
            handle.gate.set()
        made.stop(LIMIT_S)


@contextmanager
def stuck(max_bytes: int = 1000, *answers: float | None) -> Iterator[tuple[Worker, Recorder]]:
    """A worker whose handler stands still with the item ``"first"``, of 10 bytes, in its hands."""
    handler = Recorder(*answers)
    handler.gate.clear()
    with started(handler, max_bytes) as made:
        made.submit("first", size_bytes=10)
        assert handler.arrived.acquire(timeout=LIMIT_S)
        yield made, handler


def finish(worker: Worker, handler: Recorder) -> list[object]:
    """Opens the gate and returns everything that was handled after ``"first"``."""
    handler.gate.set()
    assert worker.drain(LIMIT_S)
    return handler.items[1:]


# order and runs


def test_items_are_handled_one_at_a_time_in_the_order_they_were_submitted() -> None:
    handler = Recorder()
    with started(handler, max_bytes=10**6) as worker:
        for number in range(500):
            assert worker.submit(number, size_bytes=1) == []
        assert worker.drain(LIMIT_S)

    assert handler.runs == [[number] for number in range(500)]


def test_items_submitted_with_more_are_handled_as_one_run_with_the_one_that_follows() -> None:
    with stuck() as (worker, handler):
        worker.submit("a", size_bytes=1, more=True)
        worker.submit("b", size_bytes=1, more=True)
        worker.submit("c", size_bytes=1)
        worker.submit("d", size_bytes=1)
        finish(worker, handler)

    assert handler.runs[1:] == [["a", "b", "c"], ["d"]]


def test_a_run_is_not_handled_before_its_last_item_came() -> None:
    handler = Recorder()
    with started(handler) as worker:
        worker.submit("a", size_bytes=1, more=True)
        assert not worker.drain(0.0)
        assert handler.runs == []
        worker.submit("b", size_bytes=1)
        assert worker.drain(LIMIT_S)

    assert handler.runs == [["a", "b"]]


def test_a_run_whose_last_item_never_came_is_handled_when_the_worker_winds_down() -> None:
    handler = Recorder()
    with started(handler) as worker:
        worker.submit("a", size_bytes=1, more=True)
        worker.wind_down()
        assert worker.join(LIMIT_S)
        assert worker.submit("b", size_bytes=1) == ["b"]

    assert handler.runs == [["a"]]


def test_a_worker_that_winds_down_handles_all_it_has_and_calls_finish() -> None:
    finished = threading.Event()
    handler = Recorder()
    handler.gate.clear()
    with started(handler, finish=finished.set) as worker:
        for item in ("a", "b"):
            worker.submit(item, size_bytes=1)
        assert handler.arrived.acquire(timeout=LIMIT_S)
        worker.wind_down()
        assert not worker.is_alive
        assert not worker.join(0.0)
        handler.gate.set()
        assert worker.join(LIMIT_S)

    assert handler.items == ["a", "b"]
    assert finished.is_set()


def test_submit_never_waits_while_the_handler_stands_still() -> None:
    with stuck(max_bytes=100) as (worker, handler):
        done = threading.Event()

        def submit_much() -> None:
            for number in range(10_000):
                worker.submit(number, size_bytes=10, droppable=number % 2 == 0)
            done.set()

        threading.Thread(target=submit_much, daemon=True).start()
        assert done.wait(LIMIT_S)
        assert handler.runs == [["first"]]


# the bound


def test_the_oldest_droppable_items_make_room_then_the_oldest_others() -> None:
    with stuck(max_bytes=50) as (worker, handler):
        worker.submit("plain 1", size_bytes=10)
        worker.submit("media 1", size_bytes=10, droppable=True)
        worker.submit("plain 2", size_bytes=10)
        worker.submit("media 2", size_bytes=10, droppable=True)

        assert worker.submit("plain 3", size_bytes=10) == ["media 1"]
        assert worker.submit("plain 4", size_bytes=20) == ["media 2", "plain 1"]
        assert worker.queued_bytes == 50
        left = finish(worker, handler)

    assert left == ["plain 2", "plain 3", "plain 4"]


def test_a_droppable_item_pushes_out_only_droppable_ones() -> None:
    with stuck(max_bytes=40) as (worker, handler):
        worker.submit("plain", size_bytes=10)
        worker.submit("old media", size_bytes=10, droppable=True)

        assert worker.submit("media", size_bytes=20, droppable=True) == ["old media"]
        assert worker.submit("large media", size_bytes=30, droppable=True) == ["large media"]
        left = finish(worker, handler)

    assert left == ["plain", "media"]


@pytest.mark.parametrize("droppable", [True, False])
def test_an_item_that_can_never_fit_pushes_nothing_out(droppable: bool) -> None:
    with stuck(max_bytes=50) as (worker, handler):
        worker.submit("plain", size_bytes=10)
        worker.submit("media", size_bytes=10, droppable=True)

        assert worker.submit("huge", size_bytes=41, droppable=droppable) == ["huge"]
        left = finish(worker, handler)

    assert left == ["plain", "media"]


def test_items_of_size_0_are_never_dropped() -> None:
    with stuck(max_bytes=20) as (worker, handler):
        worker.submit("task 1", size_bytes=0)
        worker.submit("plain", size_bytes=10)
        worker.submit("task 2", size_bytes=0)
        assert worker.submit("plain 2", size_bytes=10) == ["plain"]
        assert worker.shrink(0) == ["plain 2"]
        assert worker.submit("huge", size_bytes=99) == ["huge"]
        worker.submit("task 3", size_bytes=0)
        left = finish(worker, handler)

    assert left == ["task 1", "task 2", "task 3"]


def test_what_is_being_handled_is_never_dropped() -> None:
    with stuck(max_bytes=15) as (worker, handler):
        assert worker.submit("second", size_bytes=10) == ["second"]
        assert worker.shrink(0) == []
        assert worker.queued_bytes == 10
        finish(worker, handler)
        assert worker.queued_bytes == 0

    assert handler.items == ["first"]


def test_the_last_item_of_a_longer_run_is_dropped_after_the_others() -> None:
    with stuck(max_bytes=40) as (worker, handler):
        worker.submit("media 1", size_bytes=10, droppable=True, more=True)
        worker.submit("media 2", size_bytes=10, droppable=True, more=True)
        worker.submit("media 3", size_bytes=10, droppable=True)

        assert worker.submit("plain", size_bytes=20) == ["media 1", "media 2"]
        finish(worker, handler)

    assert handler.runs[1:] == [["media 3"], ["plain"]]


def test_a_run_whose_last_item_is_dropped_on_arrival_ends_with_the_one_before() -> None:
    with stuck(max_bytes=40) as (worker, handler):
        worker.submit("a", size_bytes=5, more=True)
        worker.submit("b", size_bytes=5, more=True)
        assert worker.submit("huge", size_bytes=99) == ["huge"]
        worker.submit("c", size_bytes=5)
        finish(worker, handler)

    assert handler.runs[1:] == [["a", "b"], ["c"]]


def test_shrink_drops_the_oldest_droppable_items_first_and_returns_them() -> None:
    with stuck() as (worker, handler):
        worker.submit("plain", size_bytes=10)
        worker.submit("media 1", size_bytes=10, droppable=True)
        worker.submit("media 2", size_bytes=10, droppable=True)

        assert worker.shrink(30) == ["media 1"]
        assert worker.shrink(10) == ["media 2", "plain"]
        left = finish(worker, handler)

    assert left == []


def test_a_dropped_item_is_forgotten_though_older_ones_still_wait() -> None:
    class Picture:
        pass

    with stuck(max_bytes=30) as (worker, _handler):
        worker.submit("plain", size_bytes=10)
        picture = Picture()
        gone = weakref.ref(picture)
        worker.submit(picture, size_bytes=10, droppable=True)
        del picture
        worker.submit("plain 2", size_bytes=10)
        gc.collect()

        assert gone() is None


def test_a_handled_item_is_forgotten() -> None:
    class Picture:
        pass

    handled = threading.Semaphore(0)

    def handle(run: list[object]) -> None:
        handled.release()

    with started(handle) as worker:
        picture = Picture()
        gone = weakref.ref(picture)
        worker.submit(picture, size_bytes=10, droppable=True)
        del picture
        assert worker.drain(LIMIT_S)
        worker.submit("next", size_bytes=10)
        assert worker.drain(LIMIT_S)
        gc.collect()

        assert gone() is None


def test_a_queue_that_overflows_for_ever_does_not_grow() -> None:
    with stuck(max_bytes=30) as (worker, _handler):
        worker.submit("task", size_bytes=0)
        for number in range(2_000):
            worker.submit(number, size_bytes=10, droppable=number % 2 == 0)
        held = len(worker._queue._entries) + len(worker._queue._droppable)

    assert held < 200


class _Model:
    """What the queue must do, said as simply as can be: lists, searched from the front."""

    def __init__(self, max_bytes: int, held_bytes: int) -> None:
        self.max_bytes, self.held_bytes = max_bytes, held_bytes
        self.queue: list[tuple[int, int, bool]] = []

    def submit(self, item: int, size_bytes: int, droppable: bool) -> list[int]:
        if size_bytes == 0:
            self.queue.append((item, 0, droppable))
            return []
        victims = [entry for entry in self.queue if entry[2] and entry[1]]
        if not droppable:
            victims += [entry for entry in self.queue if not entry[2] and entry[1]]
        dropped = []
        while self._bytes() + size_bytes > self.max_bytes:
            if not victims:
                return [item]
            dropped.append(victims.pop(0))
            if self._bytes() - sum(entry[1] for entry in dropped) + size_bytes <= self.max_bytes:
                break
        self.queue = [entry for entry in self.queue if entry not in dropped] + [(item, size_bytes, droppable)]
        return [entry[0] for entry in dropped]

    def _bytes(self) -> int:
        return self.held_bytes + sum(entry[1] for entry in self.queue)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 10, 20, 45]), st.booleans()).filter(lambda s: s[0] or not s[1]), max_size=40
    )
)
def test_what_is_dropped_is_exactly_what_the_rule_says(submitted: list[tuple[int, bool]]) -> None:
    with stuck(max_bytes=60) as (worker, handler):
        model = _Model(60, held_bytes=10)
        for item, (size_bytes, droppable) in enumerate(submitted):
            assert worker.submit(item, size_bytes=size_bytes, droppable=droppable) == model.submit(
                item, size_bytes, droppable
            )
            assert worker.queued_bytes == model._bytes()
        left = finish(worker, handler)
        assert worker.queued_bytes == 0

    assert left == [item for item, _, _ in model.queue]


# retry


def test_a_run_is_given_again_after_the_delay_that_the_handler_returned() -> None:
    handler = Recorder(0.001, 0.001)
    with started(handler) as worker:
        worker.submit("a", size_bytes=1, more=True)
        worker.submit("b", size_bytes=1)
        for _ in range(3):
            assert handler.arrived.acquire(timeout=LIMIT_S)
        assert worker.drain(LIMIT_S)

    assert handler.runs == [["a", "b"]] * 3


def test_a_run_that_waits_to_be_retried_goes_before_what_came_later() -> None:
    with stuck(1000, 0.001) as (worker, handler):
        worker.submit("second", size_bytes=1)
        finish(worker, handler)

    assert handler.items == ["first", "first", "second"]


def test_drain_retries_at_once() -> None:
    handler = Recorder(1e6)
    with started(handler) as worker:
        worker.submit("a", size_bytes=1)
        assert handler.arrived.acquire(timeout=LIMIT_S)
        assert worker.drain(LIMIT_S)

    assert handler.runs == [["a"], ["a"]]


def test_drain_says_false_when_the_retry_fails_too_and_does_not_try_again_and_again() -> None:
    handler = Recorder(1e6, 1e6, 1e6)
    with started(handler) as worker:
        worker.submit("a", size_bytes=1)
        assert handler.arrived.acquire(timeout=LIMIT_S)
        assert worker.drain(0.05) is False
        assert worker.stop(0.0) == ["a"]

    assert 2 <= len(handler.runs) <= 3, "once more for the drain, and for the stop at most"


def test_items_that_wait_to_be_retried_can_be_dropped_and_are_not_offered_again() -> None:
    with stuck(50, 1e6) as (worker, handler):
        handler.gate.set()
        assert worker.wait_for_room(0, 0.0) is False
        while worker._queue.is_taken:  # the handler is on its way back with the answer
            os.sched_yield()
        assert worker.submit("second", size_bytes=45) == ["first"]
        assert worker.drain(LIMIT_S)

    assert handler.items == ["first", "second"]


def test_what_is_dropped_of_a_run_that_waits_leaves_the_rest_of_the_run() -> None:
    handler = Recorder(1e6)
    with started(handler, max_bytes=30) as worker:
        worker.submit("plain", size_bytes=10, more=True)
        worker.submit("media", size_bytes=10, droppable=True, more=True)
        worker.submit("end", size_bytes=10)
        assert handler.arrived.acquire(timeout=LIMIT_S)
        while worker._queue.is_taken:
            os.sched_yield()
        assert worker.shrink(20) == ["media"]
        assert worker.drain(LIMIT_S)

    assert handler.runs == [["plain", "media", "end"], ["plain", "end"]]


def test_a_run_that_fails_while_drain_waits_is_retried_at_once() -> None:
    with stuck(1000, 1e6) as (worker, handler):
        assert worker.drain(0.0) is False
        handler.gate.set()
        assert handler.arrived.acquire(timeout=LIMIT_S)

    assert handler.items == ["first", "first"]


# waiting


def test_wait_for_room_returns_when_the_handler_made_room() -> None:
    with stuck(max_bytes=10) as (worker, handler):
        assert worker.wait_for_room(0, 0.0) is False
        found = []
        waiting = threading.Thread(target=lambda: found.append(worker.wait_for_room(0, LIMIT_S)))
        waiting.start()
        handler.gate.set()
        waiting.join(LIMIT_S)

    assert found == [True]


def test_drain_with_a_deadline_says_that_not_everything_was_handled() -> None:
    with stuck() as (worker, handler):
        assert worker.drain(0.0) is False
        handler.gate.set()
        assert worker.drain(LIMIT_S) is True


def test_the_idle_callback_is_called_between_runs_and_after_the_time_it_asked_for() -> None:
    called = threading.Semaphore(0)
    answers = iter([0.001, 0.001])

    def idle() -> float | None:
        called.release()
        return next(answers, None)

    handler = Recorder()
    with started(handler, idle=idle) as worker:
        worker.submit("a", size_bytes=1)
        for _ in range(3):
            assert called.acquire(timeout=LIMIT_S)
        assert handler.runs == [["a"]]
        assert not called.acquire(timeout=0.05), "nothing was asked for, and nothing came"


def test_the_idle_callback_never_runs_beside_the_handler() -> None:
    busy = threading.Lock()
    clashes = []

    def handle(run: list[object]) -> None:
        with busy:
            pass

    def idle() -> float | None:
        if not busy.acquire(blocking=False):
            clashes.append(1)
            return None
        busy.release()
        return 0.0001

    with started(handle, idle=idle) as worker:
        for number in range(200):
            worker.submit(number, size_bytes=1)
        assert worker.drain(LIMIT_S)

    assert clashes == []


# the end


def test_stop_handles_what_is_queued_and_then_calls_finish_once_on_the_thread() -> None:
    finished = []
    handler = Recorder()
    with started(handler, finish=lambda: finished.append(threading.current_thread().name)) as worker:
        for number in range(100):
            worker.submit(number, size_bytes=1)
        assert worker.stop(LIMIT_S) == []
        assert worker.stop(LIMIT_S) == []

    assert handler.items == list(range(100))
    assert finished == ["ml-test"]


def test_stop_at_its_deadline_returns_what_was_not_handled_oldest_first() -> None:
    with stuck() as (worker, handler):
        worker.submit("second", size_bytes=1, more=True)
        worker.submit("third", size_bytes=1)
        assert worker.stop(0.0) == ["first", "second", "third"]
        assert worker.drain(LIMIT_S) is False, "what is not handled is never said to be"
        handler.gate.set()

    assert handler.items == ["first"]


def test_stop_gives_a_run_that_waits_to_be_retried_one_more_try() -> None:
    handler = Recorder(1e6)
    with started(handler) as worker:
        worker.submit("a", size_bytes=1)
        assert handler.arrived.acquire(timeout=LIMIT_S)
        assert worker.stop(LIMIT_S) == []

    assert handler.runs == [["a"], ["a"]]


def test_after_stop_submit_returns_the_item() -> None:
    with started(Recorder()) as worker:
        worker.stop(LIMIT_S)

        assert not worker.is_alive
        assert worker.submit("late", size_bytes=1) == ["late"]
        assert worker.drain(0.0)


def test_stop_may_be_called_by_the_handler_itself() -> None:
    returned = threading.Event()

    def handle(run: list[object]) -> None:
        worker.stop(LIMIT_S)
        returned.set()

    with started(handle) as worker:
        worker.submit("a", size_bytes=1)
        assert returned.wait(LIMIT_S)


def test_stop_from_many_threads_at_once_returns_in_all_of_them() -> None:
    with started(Recorder(), max_bytes=10**6) as worker:
        for number in range(1000):
            worker.submit(number, size_bytes=1)
        threads = [threading.Thread(target=worker.stop, args=(LIMIT_S,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)

    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_handler_that_raises_does_not_end_the_thread(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    handler = Recorder(error)
    with started(handler) as worker:
        worker.submit("a", size_bytes=1)
        worker.submit("b", size_bytes=1)
        assert worker.drain(LIMIT_S)
        assert worker.queued_bytes == 0

    assert handler.items == ["a", "b"]
    assert "ml-test" in caplog.text


def test_the_thread_is_a_daemon_with_the_workers_name() -> None:
    with started(Recorder()):
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "ml-test"] == [True]


# many threads, and one thread twice


def test_every_item_of_16_threads_that_overflow_the_queue_is_handled_or_returned_once() -> None:
    handled = []
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with started(handled.extend, max_bytes=500) as worker:
            dropped: list[list[object]] = [[] for _ in range(16)]

            def produce(thread: int) -> None:
                mine = dropped[thread]
                for number in range(10_000):
                    mine.extend(worker.submit(thread * 10_000 + number, size_bytes=1, droppable=number % 3 == 0))

            threads = [threading.Thread(target=produce, args=(number,)) for number in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert worker.drain(LIMIT_S)
            assert worker.queued_bytes == 0
    finally:
        sys.setswitchinterval(interval_s)

    assert sorted([*handled, *(item for mine in dropped for item in mine)]) == list(range(160_000))
    assert any(dropped)


def test_a_submit_in_the_middle_of_a_submit_loses_and_doubles_nothing() -> None:
    """A signal handler or a finalizer may submit between any two lines of ``submit``."""
    lines = 0
    for place in range(1, 1000):
        with stuck(max_bytes=50) as (worker, handler):
            submitted, dropped = [], []

            def submit(item: str, size_bytes: int, droppable: bool) -> None:
                submitted.append(item)  # noqa: B023
                dropped.extend(worker.submit(item, size_bytes=size_bytes, droppable=droppable))  # noqa: B023

            for number in range(4):
                submit(f"plain {number}", 5, number % 2 == 0)
            with _interrupting(place, lambda: submit("nested", 25, False)) as count:
                submit("outer", 20, False)
            lines = count()
            left = finish(worker, handler)
            assert worker.queued_bytes == 0
        if place > lines:
            break
        assert sorted([*left, *dropped]) == sorted(submitted), f"interrupted at line {place}"

    assert 10 < lines < 1000


@contextmanager
def _interrupting(place: int, function: Callable[[], None]) -> Iterator[Callable[[], int]]:
    """Calls ``function`` before the ``place``-th line of ``worker.py`` that this thread executes inside."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: object) -> object:
        nonlocal seen
        if frame.f_code.co_filename != worker_module.__file__:
            return None
        if event == "line":
            seen += 1
            if seen == place:
                sys.settrace(None)
                function()
                sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: seen
    finally:
        sys.settrace(before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_signal_handler_that_submits_at_1_khz_never_deadlocks_and_the_count_is_exact() -> None:
    handled: list[object] = []
    submitted = 0
    dropped: list[object] = []
    from_signals: list[None] = []  # not a number: a handler may interrupt another one in the middle of an addition

    def submit(*_: object) -> None:
        from_signals.append(None)
        dropped.extend(worker.submit("signal", size_bytes=1))

    before = signal.signal(signal.SIGALRM, submit)
    try:
        with started(handled.extend, max_bytes=20) as worker:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            while len(from_signals) < 100:
                submitted += 1
                dropped.extend(worker.submit("loop", size_bytes=1, droppable=True))
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert worker.drain(LIMIT_S)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert len(handled) + len(dropped) == submitted + len(from_signals)


def test_a_finalizer_that_submits_never_deadlocks() -> None:
    class Node:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            returned.extend(worker.submit("finalizer", size_bytes=1))

    handled: list[object] = []
    returned: list[object] = []
    threshold = gc.get_threshold()
    with started(handled.extend, max_bytes=20) as worker:
        try:
            gc.set_threshold(1)
            for number in range(300):
                Node()
                returned.extend(worker.submit(number, size_bytes=1, droppable=True))
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        assert worker.drain(LIMIT_S)

    assert len(handled) + len(returned) == 600


def test_breathe_gives_the_interpreter_to_other_threads_within_a_busy_handler() -> None:
    """Without it the handler would keep the interpreter for the whole switch interval."""
    woken = threading.Event()
    at_work = threading.Event()
    breaths = []

    def handle(run: list[object]) -> None:
        at_work.set()
        end_s = time.monotonic() + 2.0
        while not woken.is_set() and time.monotonic() < end_s:
            worker.breathe()
        breaths.append(woken.is_set())

    interval_s = sys.getswitchinterval()
    with started(handle) as worker:
        try:
            sys.setswitchinterval(100.0)
            worker.submit("a", size_bytes=1)
            assert at_work.wait(LIMIT_S)
            woken.set()
            assert worker.drain(LIMIT_S)
        finally:
            sys.setswitchinterval(interval_s)

    assert breaths == [True]


# processes


def test_a_forked_childs_copy_is_inert_and_the_parent_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with stuck() as (worker, handler):
        worker.submit("parent", size_bytes=1)

        def in_child() -> list[object]:
            first, second = worker.submit("child", size_bytes=1), worker.submit("child", size_bytes=1)
            warnings = [record.levelname for record in caplog.records]
            return [worker.is_alive, first, second, worker.drain(0.0), worker.stop(), warnings]

        assert _forked(in_child) == [False, ["child"], ["child"], False, [], ["WARNING"]]
        assert worker.is_alive
        left = finish(worker, handler)

    assert left == ["parent"]
    assert handler.items.count("first") == 1


def test_a_fork_while_another_thread_holds_the_lock_does_not_hang_the_child() -> None:
    with started(Recorder()) as worker:
        holds, release = threading.Event(), threading.Event()

        def hold() -> None:
            with worker._lock:
                holds.set()
                release.wait(LIMIT_S)

        holder = threading.Thread(target=hold)
        holder.start()
        assert holds.wait(LIMIT_S)
        try:
            assert _forked(lambda: worker.submit("child", size_bytes=1)) == ["child"]
        finally:
            release.set()
            holder.join()


def test_a_worker_cannot_be_pickled_and_says_why() -> None:
    with started(Recorder()) as worker, pytest.raises(TypeError, match=f"belongs to process {os.getpid()}"):
        pickle.dumps(worker)


def _forked(function: Callable[[], object]) -> object:
    """Returns what the function returns in a forked child."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            sender.send(function())
        finally:
            os._exit(0)
    sender.close()
    try:
        assert receiver.poll(LIMIT_S), "the child hangs"
        return receiver.recv()
    finally:
        receiver.close()
        os.waitpid(child, 0)


def test_the_idle_callback_is_called_under_a_backlog_that_never_ends() -> None:
    called = threading.Event()
    worker: Worker[int]

    def handle(run: list[object]) -> None:
        if not called.is_set():
            worker.submit(1, size_bytes=1)
            worker.submit(1, size_bytes=1)  # there is always more

    worker = Worker("ml-test", handle, max_bytes=10**6, idle=called.set, linger_s=0.0)  # type: ignore[arg-type]
    worker.submit(1, size_bytes=1)

    assert called.wait(LIMIT_S)
    worker.stop(LIMIT_S)


def test_a_handler_of_logging_that_raises_does_not_end_the_thread() -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the webhook is down")

    broken = Broken()
    handler = Recorder(ValueError("first"), None)
    logging.getLogger("ml").addHandler(broken)
    try:
        with started(handler) as worker:
            worker.submit("a", size_bytes=1)
            worker.submit("b", size_bytes=1)
            worker.drain(LIMIT_S)
    finally:
        logging.getLogger("ml").removeHandler(broken)

    assert handler.items == ["a", "b"]
