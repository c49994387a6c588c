"""Messages of ranks, and what they come to, whatever is in them."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.state import State
from ml.loggers.reduce import Reduction
from ml.loggers.shares import Share, encode, merge

NUMBERS = st.floats(-1e6, 1e6) | st.integers(-(2**70), 2**70)
WEIGHTS = st.floats(0.5, 100.0)


def message(key="loss", across_ranks="mean", weight=1.0, total=1.0, step=1, time_s=0.0):
    return encode({State(num_steps=step, time_s=time_s): [Share("model", key, across_ranks, weight, total)]})


def damage(across_ranks, weights, totals):
    series = json.dumps(json.dumps([["model", "loss", across_ranks]]))
    return f'[[["train", 0, 1], {series}, [{weights}], [{totals}]]]'


def merged(messages, primary_rank=0):
    return merge(messages, primary_rank, lambda: None)


@given(
    st.sampled_from(["mean", "sum", "min", "max"]),
    st.lists(st.lists(st.tuples(NUMBERS, WEIGHTS), min_size=1, max_size=5), min_size=1, max_size=6),
)
def test_the_parts_of_the_ranks_come_to_what_one_process_has(across_ranks, numbers_of_ranks):
    alone, messages = Reduction(across_ranks), {}
    for rank, numbers in enumerate(numbers_of_ranks):
        part = Reduction(across_ranks)
        for number, weight in numbers:
            alone.add(number, weight, State())
            part.add(number, weight, State())
        total, weight = part.partial()
        messages[rank] = message(across_ranks=across_ranks, weight=weight, total=total)

    (value,) = merged(messages)
    assert value.num_ranks == len(numbers_of_ranks)
    assert value.value == pytest.approx(alone.take(), rel=1e-6, abs=1e-3)


def test_numbers_that_are_not_finite_and_long_whole_numbers_survive():
    totals = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 10**300}
    shares = [Share("model", key, "sum", 1.0, total) for key, total in totals.items()]

    values = {value.key: value.value for value in merged({0: encode({State(): shares})})}

    assert math.isnan(values.pop("a"))
    assert values == {"b": math.inf, "c": -math.inf, "d": 10**300}


def test_the_step_that_most_ranks_gave_is_taken_and_of_several_the_last():
    assert merged({0: message(step=7), 1: message(step=6), 2: message(step=6)})[0].state.num_steps == 6
    assert merged({0: message(step=6), 1: message(step=7)})[0].state.num_steps == 7


def test_the_state_is_the_primary_ranks():
    states = [value.state for value in merged({0: message(time_s=1.0), 1: message(time_s=2.0)}, primary_rank=1)]

    assert [state.time_s for state in states] == [2.0]


def test_a_rank_that_reduces_in_another_way_is_left_out():
    (value,) = merged({0: message(across_ranks="sum"), 1: message(across_ranks="max"), 2: message(across_ranks="sum")})

    assert (value.value, value.num_ranks) == (2.0, 2)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]]",
        "null",
        '[["train"]]',
        '[[["nowhere", 0, 1], "[]", [], []]]',
        '[[["train", 0, 1], "[", [], []]]',
        '[[["train", 0, 1], 7, [], []]]',
        damage("average", "1.0", "2.0"),
        damage("mean", "1.0", ""),
        damage("mean", "1.0", '"2"'),
        damage("mean", "null", "2.0"),
        damage("mean", "1.0", "2.0, 3.0"),
    ],
)
def test_a_message_that_cannot_be_read_counts_as_one_that_did_not_come(damaged):
    (value,) = merged({0: message(), 1: damaged, 2: message(total=3.0)})

    assert (value.value, value.num_ranks) == (2.0, 2)


def test_a_message_is_one_line():
    assert len(message(key="a\nb\u2028c\x0b").splitlines()) == 1
    assert merged({0: message(key="a\nb\u2028c\x0b")})[0].key == "a\nb\u2028c\x0b"
