"""Calls beside each other: each is made once, and what came of it is collected."""

import os
import threading

from ml.io.callpool import CallPool
from ml.io.worker import Event
from ml.testing import Gate

WAIT_S = 30.0


def collect_all(pool):
    results = {}
    while pool.under_way:
        item, result = pool.collect(WAIT_S)
        results[item] = result
    return results


def test_each_call_is_made_once_and_its_result_is_collected():
    pool = CallPool("ml-test", lambda item: item * item)
    for item in range(20):
        pool.start(item)

    assert collect_all(pool) == {item: item * item for item in range(20)}
    pool.stop()


def test_calls_are_under_way_beside_each_other_on_as_many_threads_as_are_needed():
    together = threading.Barrier(4, timeout=WAIT_S)
    pool = CallPool("ml-beside", lambda item: together.wait())
    for _ in range(3):
        for item in range(4):
            pool.start(item)
        assert set(collect_all(pool)) == {0, 1, 2, 3}

    assert len([thread for thread in threading.enumerate() if thread.name.startswith("ml-beside-")]) == 4
    pool.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ml-beside-")]


def test_what_a_call_raises_is_its_result_and_its_thread_goes_on():
    def call(error):
        raise error

    pool = CallPool("ml-test", call)
    pool.start(ValueError("no"))
    assert str(pool.collect(WAIT_S)[1]) == "no"
    pool.start(SystemExit(3))
    assert str(pool.collect(WAIT_S)[1]) == "SystemExit: 3"
    pool.stop()


def test_collecting_waits_no_longer_than_it_may():
    gate = Gate()
    pool = CallPool("ml-test", lambda _: gate.wait())
    assert pool.collect(WAIT_S) is None  # none is under way
    pool.start("item")
    gate.wait_for_arrival()
    assert pool.collect(0.0) is None
    assert pool.under_way == 1
    gate.open()

    assert pool.collect(WAIT_S) == ("item", None)
    pool.stop()


def test_stop_does_not_wait_for_a_call_that_hangs():
    hang = Event()
    pool = CallPool("ml-test", lambda _: hang.wait(WAIT_S))
    pool.start("item")
    pool.stop()

    assert pool.under_way == 1
    hang.set()


def test_a_forked_child_has_nothing_under_way():
    gate = Gate()
    pool = CallPool("ml-test", lambda _: gate.wait())
    pool.start("item")
    gate.wait_for_arrival()
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.under_way == 0 and pool.collect(0.0) is None else 1)

    assert os.waitpid(child, 0)[1] == 0
    gate.open()
    assert pool.collect(WAIT_S) == ("item", None)
    pool.stop()


def test_where_no_thread_can_be_started_a_call_has_failed_or_waits_for_another_thread(monkeypatch):
    pool = CallPool("ml-few", lambda item: item)
    start = threading.Thread.start

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.start(1)
    item, result = pool.collect(WAIT_S)
    assert (item, type(result), pool.under_way) == (1, RuntimeError, 0)

    monkeypatch.setattr(threading.Thread, "start", start)
    pool.start(2)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.start(3)
    assert collect_all(pool) == {2: 2, 3: 3}
    pool.stop()
