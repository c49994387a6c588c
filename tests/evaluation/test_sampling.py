"""The choice of samples."""

import hashlib

import numpy as np
import pytest

from ml.core.errors import ConfigError
from ml.evaluation.sampling import choose


def test_the_choice_is_the_same_for_ever():
    """A run of next year is compared with one of today: these numbers must not change."""
    assert choose(10, 4) == [2, 4, 6, 8]
    assert hashlib.sha256(repr(choose(100_000, 1000)).encode()).hexdigest()[:8] == "8e1d3752"


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_all_are_chosen_where_there_are_no_more(count):
    assert choose(count, None) == choose(count, 500) == list(range(count))


def test_a_smaller_choice_is_part_of_a_larger_one_and_of_that_among_fewer_samples():
    for at_most in range(1, 50):
        assert set(choose(200, at_most)) < set(choose(200, at_most + 1))
        assert {index for index in choose(200, at_most) if index < 100} <= set(choose(100, at_most))


def test_the_choice_is_spread_evenly_and_depends_on_the_seed():
    chosen = np.array(choose(100_000, 10_000))
    counts = np.histogram(chosen, bins=10, range=(0, 100_000))[0]

    assert abs(counts - 1000).max() < 150  # five standard deviations
    assert set(choose(1000, 100)) != set(choose(1000, 100, seed=1))


def test_no_random_number_is_drawn():
    np.random.seed(0)
    choose(1000, 10)
    drawn = np.random.rand()
    np.random.seed(0)

    assert drawn == np.random.rand()


@pytest.mark.parametrize("at_most", [0, -1, 2.5, True])
def test_no_samples_are_no_choice(at_most):
    with pytest.raises(ConfigError, match="max_samples"):
        choose(10, at_most)
