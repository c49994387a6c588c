"""A breaker, with a clock that stands still: pauses, probes, and calls that fail together."""

import random

import pytest

from ml.io.breaker import FIRST_RETRY_S, LAST_RETRY_S, Breaker
from ml.testing import FakeClock


def highest():
    """The longest pause there is."""
    return 1.0


@pytest.fixture
def clock():
    return FakeClock(1000.0)


def fail(breaker, clock, times):
    pauses = []
    for _ in range(times):
        clock.advance(breaker.wait_s)
        assert breaker.failed(breaker.round)
        pauses.append(breaker.wait_s)
    return pauses


def refuse(breaker, clock, times):
    pauses = []
    for _ in range(times):
        clock.advance(breaker.wait_s)
        assert breaker.refused(breaker.round)
        pauses.append(breaker.wait_s)
    return pauses


def test_at_first_every_call_is_made(clock):
    breaker = Breaker(clock)

    assert (breaker.state, breaker.wait_s, breaker.is_cautious) == ("closed", 0.0, False)


def test_the_ceilings_of_pauses_double_up_to_the_last_one(clock):
    breaker = Breaker(clock, highest)

    assert fail(breaker, clock, 200) == pytest.approx(
        [min(FIRST_RETRY_S * 2**number, LAST_RETRY_S) for number in range(200)]
    )
    assert breaker.state == "closed"


def test_pauses_are_drawn_from_all_that_lies_below_the_ceiling(clock):
    pauses = [fail(Breaker(clock, random.Random(seed).random), clock, 4)[-1] for seed in range(300)]
    ceiling_s = FIRST_RETRY_S * 8

    assert 0 <= min(pauses) < 0.02 * ceiling_s
    assert 0.98 * ceiling_s < max(pauses) <= ceiling_s


def test_refusals_open_it_and_probes_come_after_a_minute_doubling_to_a_quarter_of_an_hour(clock):
    breaker = Breaker(clock)

    assert refuse(breaker, clock, 8) == [60, 120, 240, 480, 900, 900, 900, 900]
    assert breaker.state == "open"
    clock.advance(899)
    assert breaker.state == "open"
    clock.advance(1)
    assert (breaker.state, breaker.is_cautious) == ("half-open", True)


def test_a_success_ends_caution_and_the_next_pause_is_a_first_one(clock):
    breaker = Breaker(clock, highest)
    fail(breaker, clock, 5)
    clock.advance(breaker.wait_s)
    assert breaker.is_cautious

    assert breaker.succeeded(breaker.round)
    assert (breaker.state, breaker.is_cautious) == ("closed", False)
    assert fail(breaker, clock, 1) == [FIRST_RETRY_S]
    clock.advance(60)
    breaker.succeeded(breaker.round)
    assert refuse(breaker, clock, 1) == [60]


def test_calls_that_fail_together_count_once_and_one_that_succeeds_with_them_closes_nothing(clock):
    breaker = Breaker(clock, highest)
    together = breaker.round

    assert breaker.refused(together)
    assert not any(breaker.refused(together) for _ in range(7))
    assert not breaker.failed(together)
    assert not breaker.succeeded(together)
    assert (breaker.state, breaker.wait_s) == ("open", 60)


def test_who_is_in_a_hurry_asks_now_and_calls_from_before_the_pause_say_nothing_of_it(clock):
    breaker = Breaker(clock)
    before = breaker.round
    breaker.refused(before)
    breaker.hurry()

    assert (breaker.state, breaker.wait_s) == ("half-open", 0.0)
    assert not breaker.refused(before)
    assert breaker.refused(breaker.round)
    assert breaker.wait_s == 120


def test_a_success_that_follows_no_failure_is_no_news(clock):
    breaker = Breaker(clock)

    assert not breaker.succeeded(breaker.round)
