"""What a window makes of many numbers."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from ml.core.state import State
from ml.loggers.reduce import REDUCES, Reduction


def reduced(reduce, numbers, weights=None):
    reduction = Reduction(reduce)
    for index, number in enumerate(numbers):
        reduction.add(number, weights[index] if weights else 1.0, State(num_steps=index + 1))
    return reduction.take()


@pytest.mark.parametrize(("reduce", "expected"), [("last", 2), ("mean", 3.0), ("sum", 12), ("min", 1), ("max", 5)])
def test_each_reduction_is_what_its_name_says(reduce, expected):
    assert reduced(reduce, [4, 1, 5, 2]) == expected


def test_a_mean_weighs_its_numbers():
    assert reduced("mean", [1.0, 4.0], [3, 1]) == 1.75


@pytest.mark.parametrize(("reduce", "expected"), [("last", 4.0), ("sum", 5.0), ("min", 1.0), ("max", 4.0)])
def test_weights_count_in_a_mean_only(reduce, expected):
    assert reduced(reduce, [1.0, 4.0], [3, 0]) == expected


def test_a_mean_of_no_weight_is_nan():
    assert math.isnan(reduced("mean", [1.0, 4.0], [0, 0]))


def test_a_number_of_no_weight_leaves_a_mean_as_it_is():
    assert reduced("mean", [1.0, 9.0], [1, 0]) == 1.0


@pytest.mark.parametrize("reduce", ["mean", "sum", "min", "max"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_anywhere_makes_the_result_nan(reduce, place):
    numbers = [1.0, 2.0, 3.0]
    numbers[place] = math.nan

    assert math.isnan(reduced(reduce, numbers))
    assert math.isnan(reduced(reduce, [torch.tensor(number) for number in numbers]))


def test_the_last_number_is_the_last_even_after_nan():
    assert reduced("last", [math.nan, 2.0]) == 2.0


def test_infinities_are_kept():
    assert reduced("max", [1.0, math.inf]) == math.inf
    assert reduced("mean", [1.0, -math.inf]) == -math.inf


def test_whole_numbers_stay_whole():
    assert isinstance(reduced("sum", [2**60, 1]), int)
    assert reduced("sum", [2**60, 1]) == 2**60 + 1


@pytest.mark.parametrize("reduce", REDUCES)
def test_the_state_is_that_of_the_last_contribution(reduce):
    reduction = Reduction(reduce)
    for step in (1, 2, 7):
        reduction.add(float(-step), 1.0, State(num_steps=step))

    assert reduction.state.num_steps == 7


def test_a_window_that_was_taken_goes_on_and_is_open_only_after_a_further_number():
    reduction = Reduction("mean")
    reduction.add(1.0, 1.0, State())
    assert reduction.take() == 1.0
    assert not reduction.is_open

    reduction.add(3.0, 1.0, State())

    assert reduction.is_open
    assert reduction.take() == 2.0


@pytest.mark.parametrize("reduce", REDUCES)
def test_tensors_and_numbers_mix(reduce):
    numbers = [4.0, 1.0, 5.0, 2.0]
    mixed = [torch.tensor(number, dtype=torch.float64) if index % 2 else number for index, number in enumerate(numbers)]

    assert float(reduced(reduce, mixed)) == float(reduced(reduce, numbers))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.01, 100)), min_size=1))
def test_a_mean_is_the_weighted_mean(pairs):
    numbers, weights = zip(*pairs, strict=True)
    expected = math.fsum(number * weight for number, weight in pairs) / math.fsum(weights)

    assert reduced("mean", numbers, weights) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_least_and_greatest_are_pythons(numbers):
    assert reduced("min", numbers) == min(numbers)
    assert reduced("max", numbers) == max(numbers)
