"""The pool: parallel, ordered, bounded, never waiting on submission; each test states one promise of it."""

import os
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from ml.io.pool import OrderedPool

LIMIT_S = 20.0


class Gates:
    """Work that stands still, item by item, until it is let go."""

    def __init__(self) -> None:
        self.gates: dict[int, threading.Event] = {}
        self.started: dict[int, threading.Event] = {}

    def hold(self, *items: int) -> "Gates":
        for item in items:
            self.gates[item], self.started[item] = threading.Event(), threading.Event()
        return self

    def __call__(self, item: int) -> int:
        if item in self.gates:
            self.started[item].set()
            assert self.gates[item].wait(LIMIT_S)
        return item * 10

    def let_go(self, item: int) -> None:
        assert self.started[item].wait(LIMIT_S)
        self.gates[item].set()


@contextmanager
def pool_of(
    workers: int, work: object, *, max_bytes: int = 100
) -> Iterator[tuple[OrderedPool[int, int], list[tuple[int, object]]]]:
    delivered: list[tuple[int, object]] = []
    pool = OrderedPool[int, int](
        "pool", workers, work, lambda item, result: delivered.append((item, result)), max_bytes=max_bytes
    )
    try:
        yield pool, delivered
    finally:
        pool.stop(LIMIT_S)


def test_results_come_out_in_the_order_of_submission_whoever_is_done_first():
    gates = Gates().hold(1)
    with pool_of(2, gates) as (pool, delivered):
        for item in (1, 2, 3):
            assert pool.submit(item, size_bytes=1) == []
        assert gates.started[1].wait(LIMIT_S)

        assert not pool.drain(0.05)
        assert delivered == []

        gates.let_go(1)
        assert pool.drain(LIMIT_S)
        assert delivered == [(1, 10), (2, 20), (3, 30)]


def test_items_are_worked_on_at_once_by_as_many_threads_as_there_are():
    meeting = threading.Barrier(3)
    with pool_of(3, lambda item: meeting.wait(LIMIT_S) or item) as (pool, delivered):
        for item in (1, 2, 3):
            pool.submit(item, size_bytes=1)

        assert pool.drain(LIMIT_S)  # the barrier opens only when all three are there

    assert [item for item, _ in delivered] == [1, 2, 3]


def test_without_room_the_oldest_that_nobody_works_on_are_dropped():
    gates = Gates().hold(1)
    with pool_of(1, gates, max_bytes=3) as (pool, delivered):
        pool.submit(1, size_bytes=1)
        assert gates.started[1].wait(LIMIT_S)
        pool.submit(2, size_bytes=1)
        pool.submit(3, size_bytes=1)

        assert pool.submit(4, size_bytes=2) == [2, 3]
        assert pool.submit(5, size_bytes=4) == [5]

        gates.let_go(1)
        assert pool.drain(LIMIT_S)
        assert [item for item, _ in delivered] == [1, 4]


def test_what_is_worked_on_is_never_dropped():
    gates = Gates().hold(1)
    with pool_of(1, gates, max_bytes=2) as (pool, delivered):
        pool.submit(1, size_bytes=2)
        assert gates.started[1].wait(LIMIT_S)

        assert pool.submit(2, size_bytes=1) == [2]

        gates.let_go(1)
        assert pool.drain(LIMIT_S)
        assert [item for item, _ in delivered] == [1]


def test_room_is_waited_for_until_something_was_delivered():
    gates = Gates().hold(1)
    with pool_of(1, gates, max_bytes=2) as (pool, delivered):
        pool.submit(1, size_bytes=2)

        assert not pool.submit_in_room(2, size_bytes=1, timeout_s=0.01)
        gates.let_go(1)
        assert pool.submit_in_room(3, size_bytes=1, timeout_s=LIMIT_S)

        assert pool.drain(LIMIT_S)
        assert [item for item, _ in delivered] == [1, 3]


def test_many_who_wait_for_the_same_room_all_get_in_and_drop_nothing():
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # they come between each other wherever they can
    try:
        with pool_of(2, Gates(), max_bytes=2) as (pool, delivered), ThreadPoolExecutor(16) as callers:
            items = range(1000)
            taken = [callers.submit(pool.submit_in_room, item, size_bytes=1 + item % 2) for item in items]
            assert all(future.result(LIMIT_S) for future in taken)
            assert pool.drain(LIMIT_S)
    finally:
        sys.setswitchinterval(interval_s)

    assert sorted(item for item, _ in delivered) == list(items)


def test_who_waits_for_room_that_never_comes_is_sent_away():
    gates = Gates().hold(1)
    with pool_of(1, gates, max_bytes=2) as (pool, _), ThreadPoolExecutor(1) as caller:
        assert not pool.submit_in_room(2, size_bytes=3)  # more than there is room at all

        pool.submit(1, size_bytes=2)
        assert gates.started[1].wait(LIMIT_S)
        waiting = caller.submit(pool.submit_in_room, 3, size_bytes=1)
        pool.stop(0.0)
        assert not waiting.result(LIMIT_S)
        assert not pool.submit_in_room(4, size_bytes=1)
        gates.let_go(1)


def test_what_work_raises_is_its_result_and_the_others_go_on():
    def fail_on_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    with pool_of(2, fail_on_two) as (pool, delivered):
        for item in (1, 2, 3):
            pool.submit(item, size_bytes=1)
        assert pool.drain(LIMIT_S)

    assert [item for item, _ in delivered] == [1, 2, 3]
    assert isinstance(delivered[1][1], ValueError)


def test_stop_works_on_what_is_there_and_then_takes_nothing():
    with pool_of(2, lambda item: item) as (pool, delivered):
        for item in range(50):
            pool.submit(item, size_bytes=1)

        assert pool.stop(LIMIT_S) == []
        assert [item for item, _ in delivered] == list(range(50))
        assert pool.submit(99, size_bytes=1) == [99]
        assert not any(thread.name.startswith("pool-") for thread in threading.enumerate())


def test_what_is_not_delivered_when_time_is_up_is_handed_back_and_never_delivered():
    gates = Gates().hold(1)
    with pool_of(1, gates) as (pool, delivered):
        pool.submit(1, size_bytes=1)
        pool.submit(2, size_bytes=1)
        assert gates.started[1].wait(LIMIT_S)

        assert pool.stop(0.01) == [1, 2]
        gates.let_go(1)
        for thread in threading.enumerate():
            if thread.name.startswith("pool-"):
                thread.join(LIMIT_S)

    assert delivered == []


def test_an_empty_pool_is_drained_also_after_all_that_waited_was_dropped():
    gates = Gates().hold(1)
    with pool_of(1, gates, max_bytes=2) as (pool, _):
        pool.submit(1, size_bytes=1)
        assert gates.started[1].wait(LIMIT_S)
        pool.submit(2, size_bytes=1)
        assert pool.submit(3, size_bytes=2) == [2, 3]
        gates.let_go(1)

        assert pool.drain(LIMIT_S)


def test_a_forked_child_takes_nothing_and_waits_for_nothing():
    with pool_of(1, lambda item: item) as (pool, _):
        child = os.fork()
        if child == 0:
            is_right = pool.submit(1, size_bytes=1) == [1] and not pool.drain(LIMIT_S) and pool.stop(LIMIT_S) == []
            os._exit(0 if is_right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_is_not_pickled():
    with pool_of(1, lambda item: item) as (pool, _), pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(pool)


def test_a_delivery_that_raises_costs_itself(caplog):
    delivered = []

    def deliver(item: int, result: object) -> None:
        if item == 1:
            raise ValueError("one")
        delivered.append(item)

    pool = OrderedPool[int, int]("pool", 2, lambda item: item, deliver, max_bytes=10)
    for item in (1, 2):
        pool.submit(item, size_bytes=1)

    assert pool.stop(LIMIT_S) == []
    assert delivered == [2]
    assert "delivers to raised" in caplog.text


def test_submissions_of_many_threads_are_all_delivered_once():
    with pool_of(4, lambda item: item, max_bytes=10**6) as (pool, delivered):
        threads = [
            threading.Thread(target=lambda start=start: [pool.submit(start + n, size_bytes=1) for n in range(500)])
            for start in range(0, 4000, 500)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.drain(LIMIT_S)

    items = [item for item, _ in delivered]
    assert sorted(items) == list(range(4000))
    for start in range(0, 4000, 500):  # each thread's own are in its order
        own = [item for item in items if start <= item < start + 500]
        assert own == sorted(own)


def test_one_that_winds_down_takes_nothing_more_and_delivers_what_is_there():
    gates = Gates().hold(1)
    with pool_of(1, gates) as (pool, delivered):
        pool.submit(1, size_bytes=1)
        pool.submit(2, size_bytes=1)
        pool.wind_down()

        assert pool.submit(3, size_bytes=1) == [3]
        assert not pool.submit_in_room(3, size_bytes=1)
        gates.let_go(1)
        assert pool.drain(LIMIT_S)
        assert delivered == [(1, 10), (2, 20)]
