import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml.benchmarks.decimate import decimated

NAN = float("nan")


def chunked(at_s, values, size=1000):
    return ((at_s[start : start + size], values[start : start + size]) for start in range(0, len(at_s), size))


def test_few_samples_are_all_kept():
    outline = decimated([([0.0, 1.0], [3.0, NAN]), ([2.0], [float("inf")])], columns=10)

    assert outline.at_s.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(outline.values, [3, NAN, NAN])
    assert outline.num_samples == 3


def test_of_many_samples_no_peak_is_lost_and_each_stays_where_it_was():
    generator = np.random.default_rng(0)
    at_s = np.cumsum(generator.exponential(size=100_000))
    values = generator.normal(size=100_000)
    values[[12_345, 77_777]] = 100, -100

    outline = decimated(chunked(at_s, values), columns=500)

    assert len(outline.values) <= 4 * 500
    assert outline.num_samples == 100_000
    assert outline.at_s[outline.values.argmax()] == at_s[12_345]
    assert outline.at_s[outline.values.argmin()] == at_s[77_777]
    assert (np.diff(outline.at_s) >= 0).all()


def test_each_column_has_the_least_and_the_greatest_of_its_samples():
    at_s = np.arange(10_000.0)
    values = np.random.default_rng(0).normal(size=10_000)

    outline = decimated(chunked(at_s, values, 401), columns=100)

    width = 64  # the first 401 samples made 100 columns of 4, which reached to 800
    lows, highs = (f(outline.values.reshape(-1, 2), axis=1) for f in (np.min, np.max))
    assert lows.tolist() == [values[start : start + width].min() for start in range(0, 10_000, width)]
    assert highs.tolist() == [values[start : start + width].max() for start in range(0, 10_000, width)]


def test_a_column_without_a_number_is_a_gap():
    values = np.ones(10_000)
    values[4000:6000] = NAN

    outline = decimated(chunked(np.arange(10_000.0), values), columns=50)

    is_gap = np.isnan(outline.values)
    assert is_gap.any()
    assert 4000 <= outline.at_s[is_gap].min() < outline.at_s[is_gap].max() < 6100


@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=300),
    st.integers(1, 20),
    st.integers(1, 50),
)
@example([(0.0, 0.0)] * 4 + [(-1.8e299, 0.0)], 1, 1)  # far before the first
@pytest.mark.filterwarnings("error")
def test_whatever_comes_the_ends_are_kept_and_the_memory_is_bounded(pairs, columns, size):
    at_s, values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    outline = decimated(chunked(at_s, values, size), columns=columns)

    shown = [value for time, value in pairs if abs(time) < 1e300 and np.isfinite(value)]
    finite = outline.values[np.isfinite(outline.values)].tolist()
    assert outline.num_samples == len(pairs)
    assert len(outline.values) <= 4 * columns
    assert not np.isinf(outline.values).any()
    assert np.isfinite(outline.at_s).all()
    assert bool(finite) == bool(shown)
    if shown:
        assert (min(finite), max(finite)) == (min(shown), max(shown))
