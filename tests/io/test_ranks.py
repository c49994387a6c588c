"""Exchanges between ranks: settled by all, or by the time; a rank that does not answer is not waited for."""

import threading
import time
from collections import deque

import pytest
import torch.distributed as dist

from ml.io.ranks import Ranks
from ml.testing import Gate

LONG_S = 30.0


class Collected:
    """What the primary rank was given, in order."""

    def __init__(self):
        self._given = deque()
        self._more = threading.Semaphore(0)

    def __call__(self, name, messages):
        self._given.append((name, dict(messages)))
        self._more.release()

    @property
    def given(self):
        return list(self._given)

    def next(self):
        assert self._more.acquire(timeout=LONG_S), "nothing was settled"
        return self._given.popleft()


@pytest.fixture
def start():
    store, started = dist.HashStore(), []

    def start(rank, world_size=3, *, settled=None, failed=None, store=store):
        started.append(
            Ranks(
                store,
                rank=rank,
                primary_rank=0,
                world_size=world_size,
                settled=settled or Collected(),
                failed=failed or (lambda error: None),
            )
        )
        return started[-1]

    start.store = store
    yield start
    for ranks in started:
        ranks.stop(0.0)


def test_an_exchange_is_settled_when_all_have_answered(start):
    collected = Collected()
    primary, first, second = start(0, settled=collected), start(1), start(2)
    for ranks, text in ((primary, "a"), (first, "b"), (second, "c")):
        ranks.send("valid/1", lambda text=text: text, wait_s=LONG_S)

    assert collected.next() == ("valid/1", {0: "a", 1: "b", 2: "c"})


def test_exchanges_of_one_kind_are_settled_in_order_and_others_do_not_wait_for_them(start):
    collected = Collected()
    primary, other = start(0, 2, settled=collected), start(1, 2)
    for name in ("train/1", "train/2", "valid/1"):
        primary.send(name, lambda: "a", wait_s=LONG_S)
    for name in ("train/2", "valid/1"):
        other.send(name, lambda: "b", wait_s=LONG_S)
    assert collected.next()[0] == "valid/1"
    other.send("train/1", lambda: "b", wait_s=LONG_S)

    assert [collected.next()[0] for _ in range(2)] == ["train/1", "train/2"]


def test_a_rank_that_missed_three_is_not_waited_for_until_it_answers_again(start):
    collected = Collected()
    primary, other = start(0, 2, settled=collected), start(1, 2)
    for number in range(3):
        primary.send(f"train/{number}", lambda: "a", wait_s=0.0)
        assert collected.next()[1] == {0: "a"}
    primary.send("train/3", lambda: "a", wait_s=LONG_S)  # settled at once
    assert collected.next()[1] == {0: "a"}
    other.send("train/3", lambda: "b", wait_s=LONG_S)
    start.store.get("ml/ranks/0/1/train/3/count")  # waits until it is there
    for number in range(4, 7):
        primary.send(f"train/{number}", lambda: "a", wait_s=LONG_S)
        assert collected.next()[1] == {0: "a"}
    primary.send("train/7", lambda: "a", wait_s=LONG_S)  # the late answer was seen: it is waited for
    other.send("train/7", lambda: "b", wait_s=LONG_S)

    assert collected.next() == ("train/7", {0: "a", 1: "b"})


def test_every_rank_hears_of_the_newest_announcement_alone(start):
    primary = start(0, 2)
    for step in (10, 20, 30):
        primary.announce(step)
    late = start(1, 2)
    late.use()
    deadline_s = time.monotonic() + LONG_S
    while late.announced != primary.announced and time.monotonic() < deadline_s:
        pass

    assert late.announced == ("train/3", 30)


def test_what_is_three_exchanges_old_is_deleted(start):
    collected = Collected()
    primary, other = start(0, 2, settled=collected), start(1, 2)
    for number in range(20):
        other.send(f"valid/{number}", lambda: "b", wait_s=LONG_S)
        primary.send(f"valid/{number}", lambda: "a", wait_s=LONG_S)
        collected.next()

    assert start.store.num_keys() <= 2 + 2 * 4  # how many groups each rank has, and the last exchanges


def test_ranks_of_a_large_world_share_keys_and_all_arrive(start):
    collected = Collected()
    primary = start(0, 100, settled=collected)
    others = [start(rank, 100) for rank in (1, 31, 32, 99)]
    for ranks in others:
        ranks.send("valid/1", lambda: "b", wait_s=LONG_S)
        ranks.stop(LONG_S)
    primary.send("valid/1", lambda: "a", wait_s=0.0)

    assert set(collected.next()[1]) == {0, 1, 31, 32, 99}


def test_stopping_sends_what_was_given_and_settles_what_is_open(start):
    collected = Collected()
    primary, other = start(0, settled=collected), start(1)
    primary.send("train/last", lambda: "a", wait_s=LONG_S)
    other.send("train/last", lambda: "b", wait_s=LONG_S)
    other.stop(0.0)
    primary.stop(0.1)
    primary.stop(LONG_S)
    primary.send("train/more", lambda: "a", wait_s=LONG_S)

    assert collected.next() == ("train/last", {0: "a", 1: "b"})


def test_stopping_waits_for_no_message_that_hangs(start):
    gate, collected = Gate(), Collected()
    primary = start(0, 2, settled=collected)

    def hanging():
        gate.wait()
        return "a"

    primary.send("train/1", hanging, wait_s=0.0)
    gate.wait_for_arrival()
    primary.send("valid/1", hanging, wait_s=0.0)
    primary.stop(0.0)

    assert collected.given == []
    gate.open()


class Failing(dist.HashStore):
    """A store that fails from its second connection on, as one whose host is gone."""

    def clone(self):
        raise ConnectionError("the host is gone")


def test_a_store_that_fails_is_said_once_and_the_primary_rank_goes_on_alone(start):
    collected, errors = Collected(), []
    primary = start(0, 2, settled=collected, failed=errors.append, store=Failing())
    other = start(1, 2, failed=errors.append, store=Failing())
    for number in range(3):
        other.send(f"valid/{number}", lambda: "b", wait_s=LONG_S)
        primary.send(f"valid/{number}", lambda: "a", wait_s=LONG_S)
        assert collected.next() == (f"valid/{number}", {0: "a"})
    other.stop(LONG_S)

    assert [str(error) for error in errors] == ["the host is gone"] * 2


class Recording:
    """A store that keeps what it is asked."""

    def __init__(self, store):
        self._store, self.asked = store, []

    def __getattr__(self, name):
        self.asked.append(name)
        return getattr(self._store, name)


def test_a_forked_childs_copy_is_inert(start):
    made, settled, store = [], Collected(), Recording(start.store)
    primary, other = start(0, 2, settled=settled), start(1, 2, store=store)
    threads, asked = set(threading.enumerate()), list(store.asked)
    for copy in (primary, other):
        copy.after_fork_in_child()
        copy.use()
        copy.send("valid/1", lambda: made.append("a") or "a", wait_s=0.0)
        copy.announce(1)
        copy.stop(LONG_S)

    assert (primary.announced, other.announced) == (None, None)
    assert (made, settled.given) == ([], [])
    assert set(threading.enumerate()) <= threads
    assert store.asked == asked == ["add"]  # which group of its process it is
