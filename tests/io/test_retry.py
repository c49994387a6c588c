"""Pauses that grow by chance, and deadlines: with a clock that only sleeping moves."""

import random

import pytest

from ml.core.errors import WriteError
from ml.io.retry import Backoff, Retry
from ml.io.store import Refused
from ml.testing import FakeClock


class Failing:
    """Raises so many errors, then returns how often it was called; each call takes ``lasts_s``."""

    def __init__(self, clock: FakeClock, failures: int, lasts_s: float = 0.0) -> None:
        self.clock, self.failures, self.lasts_s, self.calls = clock, failures, lasts_s, 0

    def __call__(self) -> int:
        self.calls += 1
        self.clock.advance(self.lasts_s)
        if self.calls <= self.failures:
            raise WriteError("not now")
        return self.calls


def retry(clock: FakeClock, **settings: float) -> Retry:
    settings = {"chance": lambda: 1.0, "deadline_s": 100.0} | settings
    return Retry(clock=clock, sleep=clock.advance, **settings)


def test_the_bound_doubles_up_to_the_longest_and_begins_again():
    backoff = Backoff(first_s=1.0, longest_s=5.0, chance=lambda: 1.0)

    assert [backoff.next_delay_s() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_delay_s() == 1.0


def test_a_pause_is_anything_from_nothing_to_the_bound():
    chance = random.Random(0).random
    first = [Backoff(first_s=2.0, chance=chance).next_delay_s() for _ in range(10_000)]

    assert 0 <= min(first) < 0.01
    assert 1.99 < max(first) <= 2.0
    assert sum(first) / len(first) == pytest.approx(1.0, abs=0.05)


def test_the_bound_never_overflows():
    backoff = Backoff(chance=lambda: 1.0)

    assert [backoff.next_delay_s() for _ in range(5000)][-1] == 20.0


def test_what_succeeds_is_returned_after_the_pauses_before_it():
    clock = FakeClock()

    assert retry(clock).call(Failing(clock, 3)) == 4
    assert clock.now_s == pytest.approx(0.2 + 0.4 + 0.8)


def test_after_the_most_attempts_the_last_error_is_raised_and_says_how_many():
    clock = FakeClock()
    failing = Failing(clock, 99)

    with pytest.raises(WriteError, match="not now") as caught:
        retry(clock, attempts=3).call(failing)
    assert failing.calls == 3
    assert caught.value.__notes__ == ["It was tried 3 times."]


def test_one_attempt_never_pauses():
    clock = FakeClock()

    with pytest.raises(WriteError, match="not now"):
        retry(clock, attempts=1).call(Failing(clock, 99))
    assert clock.now_s == 0.0


@pytest.mark.parametrize("lasts_s", [0.0, 7.0, 99.9])
def test_no_attempt_begins_after_the_deadline(lasts_s):
    clock = FakeClock()
    failing = Failing(clock, 10_000, lasts_s)

    with pytest.raises(WriteError, match="not now"):
        retry(clock).call(failing)
    assert clock.now_s <= 100.0 + lasts_s


@pytest.mark.parametrize("error", [Refused("no"), FileNotFoundError("none"), KeyboardInterrupt()], ids=repr)
def test_what_does_not_pass_is_not_tried_again(error):
    clock, calls = FakeClock(), []

    def fail() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        retry(clock).call(fail)
    assert len(calls) == 1
