"""The sampler: one thread, no drift, stopped at once; each test states one promise of it.

A sampler of a test's own is used wherever possible. What must stand still does so at a gate; nothing here sleeps.
"""

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.io import sampler as sampler_module
from ml.io.sampler import SLOW_S, Sampler, next_time, process_sampler, rest_s
from ml.testing import Gate

LIMIT_S = 20.0
SOON_S = 1e-4


@pytest.fixture
def sampler() -> Iterator[Sampler]:
    made = Sampler()
    yield made
    made.close()


class Count:
    """A callable that is waited for until it was called a number of times."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls = 0
        self.threads: set[int] = set()
        self._error = error
        self._called = threading.Condition()

    def __call__(self) -> None:
        with self._called:
            self.calls += 1
            self.threads.add(threading.get_ident())
            self._called.notify_all()
        if self._error is not None:
            raise self._error

    def wait(self, calls: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: self.calls >= calls, LIMIT_S)


@given(first_s=st.floats(0, 1e6), interval_s=st.floats(1e-3, 1e4), ahead_s=st.floats(0, 1e5))
def test_times_lie_whole_intervals_after_the_first_so_they_do_not_drift(first_s, interval_s, ahead_s):
    now_s = first_s + ahead_s
    due_s = next_time(first_s, interval_s, now_s)

    assert now_s < due_s <= now_s + interval_s * (1 + 1e-6) + 1e-6
    assert math.isclose((due_s - first_s) / interval_s, round((due_s - first_s) / interval_s), abs_tol=1e-3)


def test_times_that_were_overrun_are_left_out():
    assert next_time(10.0, 1.0, 10.0) == 11.0
    assert next_time(10.0, 1.0, 13.5) == 14.0


def test_a_slow_callable_rests_ten_times_as_long_as_it_took():
    assert rest_s(SLOW_S / 2) == 0.0
    assert rest_s(2 * SLOW_S) == 20 * SLOW_S


def test_times_that_were_left_out_are_counted(sampler):
    gate = Gate()
    subscription = sampler.subscribe(SOON_S, gate.wait)
    gate.wait_for_arrival()
    end_s = time.monotonic() + 100 * SOON_S
    while time.monotonic() < end_s:
        pass
    gate.open()
    subscription.stop()

    assert subscription.count == 1
    assert subscription.missed >= 99


def test_all_callables_run_on_one_thread_which_is_none_of_theirs(sampler):
    counts = [Count() for _ in range(5)]
    for count in counts:
        sampler.subscribe(SOON_S, count)
    for count in counts:
        count.wait(2)

    threads = set().union(*(count.threads for count in counts))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_sampler_that_is_asleep_is_woken_by_a_subscription_that_is_due_earlier(sampler):
    sampler.subscribe(1e6, Count())
    soon = Count()
    sampler.subscribe(SOON_S, soon)
    soon.wait(3)


def test_the_first_call_may_come_earlier_than_the_interval(sampler):
    at_once = Count()
    sampler.subscribe(1e6, at_once, first_s=0.0)
    at_once.wait(1)


def test_stopping_what_is_asleep_waits_for_nothing(sampler):
    never = Count()
    subscription = sampler.subscribe(1e6, never)

    assert subscription.stop(timeout_s=0.0)
    assert never.calls == 0


def test_after_stop_the_callable_is_not_running_and_never_runs_again(sampler):
    gate, ended, calls = Gate(), [], Count()

    def call() -> None:
        calls()
        gate.wait()
        ended.append(True)

    subscription = sampler.subscribe(SOON_S, call)
    gate.wait_for_arrival()
    threading.Timer(0.05, gate.open).start()  # while stop waits
    assert subscription.stop(LIMIT_S)
    assert ended == [True]

    other = Count()
    sampler.subscribe(SOON_S, other)
    other.wait(5)
    assert calls.calls == subscription.count == 1
    assert subscription.stop(), "stopping twice is stopping once"


def test_a_callable_may_stop_itself(sampler):
    done = threading.Event()
    stopped: list[bool] = []

    def call() -> None:
        stopped.append(subscription.stop())
        done.set()

    ready = threading.Event()
    subscription = sampler.subscribe(SOON_S, lambda: ready.wait(LIMIT_S) and call())
    ready.set()
    assert done.wait(LIMIT_S)
    other = Count()
    sampler.subscribe(SOON_S, other)
    other.wait(3)
    assert stopped == [True]


def test_a_callable_that_raises_costs_itself_alone_and_is_told_once(sampler, caplog):
    failing, sound = Count(RuntimeError("no reading")), Count()
    sampler.subscribe(SOON_S, failing, "the thermometer")
    sampler.subscribe(SOON_S, sound)
    failing.wait(4)
    sound.wait(4)

    told = [record for record in caplog.records if "the thermometer" in record.getMessage()]
    assert len(told) == 1
    assert "no reading" in told[0].getMessage()


def test_a_callable_that_is_stuck_is_left_to_itself_and_the_others_go_on(sampler, caplog):
    gate, other = Gate(), Count()
    stuck = sampler.subscribe(SOON_S, gate.wait, "the stuck one")
    gate.wait_for_arrival()
    sampler.subscribe(SOON_S, other)
    try:
        assert not stuck.stop(timeout_s=0.0)
        other.wait(3)
        assert "the stuck one has not returned" in caplog.text
        assert not stuck.stop(), "it is still running"
    finally:
        gate.open()
    other.wait(other.calls + 3)
    assert stuck.count == 0


def test_a_new_subscription_does_not_wait_for_one_that_is_stuck(sampler, monkeypatch):
    monkeypatch.setattr(sampler_module, "STUCK_S", 0.0)
    gate, other = Gate(), Count()
    sampler.subscribe(SOON_S, gate.wait)
    gate.wait_for_arrival()
    try:
        sampler.subscribe(SOON_S, other)
        other.wait(3)
    finally:
        gate.open()


def test_the_thread_ends_after_the_last_subscription_and_starts_with_the_next(sampler, monkeypatch):
    monkeypatch.setattr(sampler_module, "LINGER_S", 0.01)
    assert not sampler.is_running
    for _ in range(2):
        count = Count()
        subscription = sampler.subscribe(SOON_S, count)
        assert sampler.is_running
        thread = sampler._thread
        count.wait(1)
        subscription.stop()
        thread.join(LIMIT_S)
        assert not sampler.is_running


def test_subscriptions_in_close_succession_share_a_thread(sampler):
    for _ in range(3):
        assert sampler.subscribe(1e6, Count()).stop()
    thread = sampler._thread
    sampler.subscribe(1e6, Count())

    assert sampler._thread is thread


def test_what_sampling_costs_is_measured(sampler):
    def burn() -> None:
        sum(range(100_000))

    last = Count()
    before_s = sampler.cost_s
    sampler.subscribe(SOON_S, lambda: (burn(), last()))
    last.wait(4)

    assert before_s == 0.0
    assert sampler.cost_s > 0.0


def test_an_interval_is_above_zero(sampler):
    for interval_s in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            sampler.subscribe(interval_s, Count())


def in_child(work: Callable[[], bool]) -> bool:
    """Whether ``work`` returned something true in a forked child."""
    if (pid := os.fork()) == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def test_after_a_fork_the_child_has_no_subscription_and_may_make_its_own(sampler):
    inherited = Count()
    subscription = sampler.subscribe(SOON_S, inherited)
    inherited.wait(1)

    def work() -> bool:
        calls = inherited.calls
        is_idle = not sampler.is_running
        own = Count()
        sampler.subscribe(SOON_S, own)
        own.wait(2)
        return is_idle and subscription.stop() and inherited.calls == calls

    assert in_child(work)
    inherited.wait(inherited.calls + 2)


def test_a_process_has_one_sampler():
    assert process_sampler() is process_sampler()


@pytest.mark.parametrize(
    "script",
    [
        "process_sampler().subscribe(1e-4, lambda: None)",
        "process_sampler().subscribe(1e-4, lambda: None, first_s=0.0); threading.Event().wait(0.05)",
        "gate = threading.Event(); process_sampler().subscribe(1e-4, gate.wait); threading.Event().wait(0.05)",
        "atexit.register(lambda: process_sampler().subscribe(1e-4, lambda: None).stop())",
    ],
    ids=["asleep", "running", "stuck", "begun_at_exit"],
)
def test_the_interpreter_ends_with_its_own_status_whatever_the_sampler_does(script):
    program = f"import atexit, sys, threading\nfrom ml.io.sampler import process_sampler\n{script}\nsys.exit(3)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (3, "")


def test_a_handler_of_logging_that_raises_does_not_end_the_thread(sampler):
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the handler")

    handler, failing = Raising(), Count(RuntimeError("no reading"))
    logging.getLogger("ml").addHandler(handler)
    try:
        sampler.subscribe(SOON_S, failing)
        failing.wait(3)
    finally:
        logging.getLogger("ml").removeHandler(handler)


@pytest.mark.parametrize("interval_s", [5e-324, 1e-310, 1e12, 1e300, math.inf])
def test_no_interval_ends_the_thread_of_the_others(sampler, interval_s):
    sampler.subscribe(interval_s, Count())
    other = Count()
    sampler.subscribe(SOON_S, other)

    other.wait(3)

    assert sampler.is_running
