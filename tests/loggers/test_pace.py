"""How far ahead a step is named: in time for all, in the counter's own units."""

import pytest

from ml.loggers.pace import Pace
from ml.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def run(pace, clock, *steps, step_s=1.0):
    for step in steps:
        clock.advance(step_s)
        assert pace.step(step)


def test_a_pace_is_known_from_the_second_step_on(clock):
    pace = Pace(clock)
    run(pace, clock, 1)
    assert not pace.is_known
    run(pace, clock, 2)
    assert pace.is_known


@pytest.mark.parametrize(("seconds", "ahead"), [(0.1, 10), (1.0, 10), (2.5, 30)])
def test_ahead_are_whole_steps_of_the_counter_at_least_one(clock, seconds, ahead):
    pace = Pace(clock)
    run(pace, clock, 10, 20, 30)
    assert pace.ahead(seconds) == ahead


def test_a_pass_between_two_steps_makes_them_hardly_longer(clock):
    pace = Pace(clock)
    run(pace, clock, 1, 2)
    run(pace, clock, 3, step_s=1000.0)
    assert pace.ahead(10.0) == 8  # of 1.25 seconds each


def test_steps_that_became_faster_count_at_once(clock):
    pace = Pace(clock)
    run(pace, clock, 1, 2)
    run(pace, clock, 3, step_s=0.125)
    assert pace.ahead(1.0) == 8


def test_a_counter_that_stands_lower_than_before_was_started_again(clock):
    pace = Pace(clock)
    run(pace, clock, 5, 6)
    clock.advance(1.0)
    assert not pace.step(1)
    assert pace.step(2)
