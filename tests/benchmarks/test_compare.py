import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.benchmarks.compare import Group, bootstrap_medians, compare, direction

TIME = Group("time", "train", "s")
THROUGHPUT = Group("throughput", "train", "entries/s")


def workload(seed, seconds, calls=40):
    """What calls of a known length would give: 2 % of noise around it."""
    return np.random.default_rng(seed).normal(seconds, 0.02 * seconds, calls).tolist()


def test_of_two_known_workloads_the_interval_holds_the_true_ratio():
    (slower,) = compare({TIME: workload(0, 0.10)}, {TIME: workload(1, 0.13)})

    assert slower.ratio == pytest.approx(1.3, rel=0.02)
    assert slower.low < 1.3 < slower.high
    assert slower.high - slower.low < 0.05
    assert (slower.verdict, slower.count_before, slower.count_after) == ("worse", 40, 40)
    assert slower.is_regression(1.1)
    assert not slower.is_regression(1.5)


def test_the_same_workload_twice_is_the_same():
    (again,) = compare({TIME: workload(0, 0.1)}, {TIME: workload(1, 0.1)})

    assert again.low <= 1 <= again.high
    assert again.verdict == "same"
    assert not again.is_regression(1.0)


def test_more_throughput_is_better_and_less_is_a_regression():
    (faster,) = compare({THROUGHPUT: workload(0, 100)}, {THROUGHPUT: workload(1, 200)})
    (slower,) = compare({THROUGHPUT: workload(0, 200)}, {THROUGHPUT: workload(1, 100)})

    assert (faster.verdict, faster.is_regression(1.1)) == ("better", False)
    assert (slower.verdict, slower.is_regression(1.1)) == ("worse", True)
    assert not slower.is_regression(2.5)


def test_more_cpu_is_neither_better_nor_worse():
    (more,) = compare({Group("cpu", "x", "%"): workload(0, 50)}, {Group("cpu", "x", "%"): workload(1, 100)})

    assert (more.verdict, more.is_regression(1.1)) == ("changed", False)


def test_of_too_few_calls_there_is_no_interval_and_the_ratio_decides():
    (one,) = compare({TIME: [1.0]}, {TIME: [1.3]})

    assert (one.ratio, one.verdict, math.isnan(one.low)) == (1.3, "too few", True)
    assert one.is_regression(1.1)
    assert not one.is_regression(1.4)


def test_only_like_is_compared_with_like():
    others = compare({TIME: [1.0] * 9}, {TIME._replace(unit="ms"): [1000.0] * 9})

    assert [(one.verdict, one.count_before, one.count_after) for one in others] == [
        ("incomparable", 9, 0),
        ("incomparable", 0, 9),
    ]
    assert not any(one.is_regression(1.0) for one in others)


def test_from_nothing_to_something_is_a_regression_and_from_nothing_to_nothing_is_none():
    more, none = compare({TIME: [0.0] * 9, TIME._replace(description="b"): [0.0] * 9},
                         {TIME: [1.0] * 9, TIME._replace(description="b"): [0.0] * 9})  # fmt: skip

    assert (more.ratio, more.verdict, more.is_regression(100)) == (math.inf, "worse", True)
    assert (none.ratio, none.verdict) == (1.0, "same")


def test_negative_numbers_have_no_ratio():
    (one,) = compare({Group("loss", "x", ""): [-1.0] * 9}, {Group("loss", "x", ""): [2.0] * 9})

    assert one.verdict == "incomparable"


def test_what_is_not_finite_is_left_out():
    (one,) = compare({TIME: [1.0, math.nan, math.inf]}, {TIME: [2.0, -math.inf]})

    assert (one.ratio, one.count_before, one.count_after) == (2.0, 1, 1)


def test_it_draws_no_number_of_anybody_else_and_always_the_same():
    np.random.seed(3)
    state = str(np.random.get_state())

    first, second = (compare({TIME: workload(0, 1)}, {TIME: workload(1, 1)}) for _ in range(2))

    assert first == second
    assert str(np.random.get_state()) == state


@pytest.mark.parametrize("size", [5, 6, 41, 100])
def test_the_medians_are_distributed_as_those_of_drawn_samples(size):
    values = np.random.default_rng(0).lognormal(size=size)
    drawn = np.median(np.random.default_rng(1).choice(values, (20_000, size)), axis=1)

    medians = bootstrap_medians(values, np.random.default_rng(2), 20_000)

    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    spread = np.subtract(*np.quantile(values, [0.75, 0.25]))
    np.testing.assert_allclose(np.quantile(medians, shares), np.quantile(drawn, shares), atol=0.05 * spread)


@given(st.lists(st.floats(0, 1e308), min_size=1, max_size=30), st.lists(st.floats(0, 1e308), min_size=1, max_size=30))
def test_an_interval_is_one_whatever_the_numbers_are(before, after):
    (one,) = compare({TIME: before}, {TIME: after})

    assert one.verdict == "too few" or 0 <= one.low <= one.high


@pytest.mark.parametrize(
    ("type_", "better"),
    [
        ("latency_p95", "lower"),
        ("energy/dram", "lower"),
        ("gpu_memory", "lower"),
        ("throughput", "higher"),
        ("cpu", None),
        ("gpu", None),
    ],
)
def test_which_is_better_is_known_by_the_type(type_, better):
    assert direction(type_) == better


def test_methods_of_one_description_are_compared_each_with_itself():
    train, evaluate = TIME._replace(method="train"), TIME._replace(method="evaluate")
    before = {train: workload(0, 1.0), evaluate: workload(1, 0.01, calls=4)}
    after = {evaluate: workload(2, 0.01, calls=90), train: workload(3, 2.0)}

    slower, same = compare(before, after)

    assert (slower.group, slower.verdict, slower.is_regression(1.5)) == (train, "worse", True)
    assert (same.group, same.is_regression(1.5)) == (evaluate, False)


def test_what_was_counted_is_not_compared_with_what_was_estimated():
    energy = Group("energy", "train", "J", "train")
    apart = compare({energy._replace(source="rapl"): [1.0] * 9}, {energy._replace(source="estimated"): [9.0] * 9})

    assert [one.verdict for one in apart] == ["incomparable", "incomparable"]


def test_the_only_method_of_its_kind_is_compared_whatever_it_is_called():
    old, new = TIME._replace(method="load"), TIME._replace(method="load_fast")

    (one,) = compare({old: [2.0] * 9}, {new: [1.0] * 9})
    several = compare({old: [2.0] * 9}, {new: [1.0] * 9, TIME._replace(method="other"): [1.0] * 9})

    assert (one.group.method, one.ratio) == ("load -> load_fast", 0.5)
    assert [other.verdict for other in several] == ["incomparable"] * 3
