"""When a backend is due, by the fake clock."""

import pytest

from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.limits import RateLimit
from ml.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def limit(clock, default_s=0.0, **settings):
    return RateLimit(BaseLoggerConfig(**settings), lambda state: default_s, clock)


def train(step):
    return State(num_steps=step)


def valid(step):
    return State("valid", num_steps=100, num_valid_steps=step)


def test_the_first_training_state_is_due_however_long_the_interval(clock):
    assert limit(clock, write_every_n_seconds=3600, write_every_n_steps=1000).due(train(1))
    assert limit(clock, write_every_n_seconds=3600).due(train(70_001))


def test_asking_twice_answers_the_same_before_and_after_the_write(clock):
    rate = limit(clock, write_every_n_seconds=1)

    assert (rate.due(train(1)), rate.due(train(1))) == (True, True)
    rate.mark(train(1))
    assert (rate.due(train(1)), rate.due(train(1))) == (True, True)
    assert (rate.due(train(2)), rate.due(train(2))) == (False, False)


def test_an_interval_of_seconds_ends_when_it_has_passed(clock):
    rate = limit(clock, write_every_n_seconds=2)
    rate.mark(train(1))

    clock.advance(1.999)
    assert not rate.due(train(2))
    clock.advance(0.001)
    assert rate.due(train(3))


def test_zero_seconds_are_every_step(clock):
    rate = limit(clock, default_s=60, write_every_n_seconds=0)
    rate.mark(train(1))

    assert rate.due(train(2))


def test_an_interval_of_steps_counts_from_the_last_write(clock):
    rate = limit(clock, write_every_n_steps=10)
    rate.mark(train(3))

    assert [step for step in range(4, 30) if rate.due(train(step))] == list(range(13, 30))


def test_seconds_and_steps_must_both_pass(clock):
    rate = limit(clock, write_every_n_seconds=5, write_every_n_steps=10)
    rate.mark(train(1))

    clock.advance(5)
    assert not rate.due(train(10))
    assert rate.due(train(11))
    rate.mark(train(11))
    clock.advance(4)
    assert not rate.due(train(21))
    clock.advance(1)
    assert rate.due(train(22))


def test_a_counter_that_starts_again_does_not_silence_a_backend(clock):
    rate = limit(clock, write_every_n_steps=10)
    rate.mark(train(1000))

    assert rate.due(train(1))


def test_the_default_holds_only_where_nothing_is_set(clock):
    by_default, by_steps, by_seconds = (
        limit(clock, default_s=60),
        limit(clock, default_s=60, write_every_n_steps=2),
        limit(clock, default_s=60, write_every_n_seconds=1),
    )
    for rate in (by_default, by_steps, by_seconds):
        rate.mark(train(1))
    clock.advance(1)

    assert [rate.due(train(3)) for rate in (by_default, by_steps, by_seconds)] == [False, True, True]
    clock.advance(59)
    assert by_default.due(train(4))


def test_the_training_interval_goes_before_the_general_one(clock):
    rate = limit(clock, write_every_n_seconds=1, write_train_every_n_seconds=10)
    rate.mark(train(1))

    clock.advance(9)
    assert not rate.due(train(2))
    clock.advance(1)
    assert rate.due(train(3))


def test_nothing_inside_a_pass_is_due(clock):
    rate = limit(clock, write_every_n_seconds=0, write_every_n_steps=1)

    assert not any(rate.due(valid(step)) for step in range(1, 100))


def test_a_pass_is_written_inside_where_that_is_asked_for(clock):
    rate = limit(clock, write_val_every_n_seconds=2)

    assert rate.due(valid(1))
    rate.mark(valid(1))
    assert not rate.due(valid(2))
    clock.advance(2)
    assert rate.due(valid(3))
    assert rate.due(State("test"))


def test_each_phase_has_a_clock_of_its_own(clock):
    rate = limit(clock, write_every_n_seconds=10, write_val_every_n_seconds=10)
    rate.mark(train(1))
    clock.advance(5)
    rate.mark(valid(1))
    clock.advance(5)

    assert rate.due(train(2))
    assert not rate.due(valid(2))


def test_a_mark_of_media_moves_no_other_clock(clock):
    rate = limit(clock, write_every_n_seconds=1, write_media_every_n_seconds=100)
    rate.mark(train(1))
    clock.advance(1)
    rate.mark_media(train(2))

    assert rate.due(train(3))
    assert not rate.media_due(train(3))
    clock.advance(100)
    assert rate.media_due(train(4))


@pytest.mark.parametrize(("elapsed_s", "interval_s"), [(0, 10), (1800, 10), (2000, 10), (20_000, 100), (86_400, 432)])
def test_media_come_every_ten_seconds_or_200th_of_the_time_that_has_passed(clock, elapsed_s, interval_s):
    rate = limit(clock)
    state = State(num_steps=1, elapsed_time_s=elapsed_s)
    rate.mark_media(state)

    clock.advance(interval_s - 0.01)
    assert not rate.media_due(state._replace(num_steps=2))
    clock.advance(0.01)
    assert rate.media_due(state._replace(num_steps=3))


def test_half_an_hour_has_about_200_media_and_a_day_about_950(clock):
    rate = limit(clock)
    counts = {}
    for second in range(1, 86_401):
        clock.advance(1)
        if rate.media_due(train(second)):
            rate.mark_media(train(second))
            counts[second // 1800] = counts.get(second // 1800, 0) + 1

    assert 170 <= counts[0] <= 200
    assert 900 <= sum(counts.values()) <= 1000
