import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.core.errors import LogValueError
from ml.media.histogram import coarsened, histogram, histogram_from


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_normal_values_agree_with_numpy():
    values = np.random.default_rng(0).normal(3, 2, 600_000).astype(np.float32)  # several chunks
    result = histogram(values.reshape(6, 100, 1000))
    counts, edges = np.histogram(values.astype(np.float64), 64)
    assert np.abs(result.counts - counts).sum() <= 4  # values on an edge
    np.testing.assert_allclose(result.edges, edges, atol=1e-12)
    assert (result.count, result.nan, result.pos_inf, result.neg_inf) == (600_000, 0, 0, 0)
    assert (result.min, result.max) == (values.min(), values.max())
    np.testing.assert_allclose(
        [result.mean, result.std], [values.mean(dtype=float), values.std(dtype=float)], rtol=1e-9
    )


def test_whole_numbers_fall_into_the_bin_that_begins_with_them():
    result = histogram(np.arange(65))
    assert result.counts.tolist() == [1] * 63 + [2]  # the last bin includes its right edge
    assert result.edges.tolist() == list(range(65))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.int64, np.float16, np.float32, np.longdouble])
def test_every_real_dtype_has_a_histogram(dtype):
    result = histogram(np.array([0, 1, 1, 1], dtype))
    assert (result.counts[0], result.counts[-1], result.count) == (1, 3, 4)
    assert (result.mean, result.min, result.max) == (0.75, 0, 1)
    assert result.std == pytest.approx(np.std([0, 1, 1, 1]))


@pytest.mark.parametrize("values", [7.0, [7.0], np.full((3, 4), 7), [1e300], [-1e308] * 2, [0.0], [5e-324], [2**62]])
def test_equal_values_have_edges_around_them(values):
    result = histogram(values)
    value = float(np.ravel(values)[0])
    assert (result.mean, result.std, result.min, result.max) == (value, 0, value, value)
    assert result.edges[0] < value < result.edges[-1]
    assert result.counts[32] == result.count == np.size(values)


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [
        ([1e300, -1e300], 0, 1e300),
        ([1.7e308, -1.7e308], 0, 1.7e308),
        ([1.7e308, 1.6e308], 1.65e308, 5e306),
        ([-(2**63), 2**63 - 1], 0, 2.0**63),
        ([0.0, 1e-310], 5e-311, 5e-311),
    ],
)
def test_extreme_ranges_neither_overflow_nor_vanish(values, mean, std):
    result = histogram(values)
    assert (result.counts[0], result.counts[-1]) == (1, 1)
    assert result.mean == pytest.approx(mean, rel=1e-12)
    assert result.std == pytest.approx(std, rel=1e-12)
    assert np.isfinite(result.edges).all()


def test_the_spread_of_close_values_far_from_zero_is_right():
    values = 1e8 + np.random.default_rng(0).normal(size=1000)
    assert histogram(values).std == pytest.approx(values.std(), rel=1e-6)


def test_values_that_are_not_finite_are_counted_apart():
    result = histogram(np.array([1, 2, np.nan, np.inf, np.inf, -np.inf, np.nan, np.nan], np.float32))
    assert (result.count, result.nan, result.pos_inf, result.neg_inf) == (2, 3, 2, 1)
    assert (result.min, result.max, result.mean) == (1, 2, 1.5)


def test_without_finite_values_there_are_no_moments():
    result = histogram([np.nan, np.inf])
    assert np.isnan([result.min, result.max, result.mean, result.std]).all()
    assert (result.count, result.counts.sum(), result.nan, result.pos_inf) == (0, 0, 1, 1)
    assert result.edges[[0, -1]].tolist() == [0, 1]


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint64, np.bool_]),
        hnp.array_shapes(max_dims=2, max_side=20),
    ),
    st.integers(0, 10**12),
)
def test_every_value_is_counted_once_whatever_it_is(values, more):
    before = values.copy()
    total = values.size + more
    result = histogram(values, total=total)
    np.testing.assert_array_equal(values, before)
    assert result.counts.dtype == np.int64
    assert result.edges.dtype == np.float64
    assert result.counts.shape == (64,)
    assert result.edges.shape == (65,)
    assert result.count == result.counts.sum()
    assert result.count + result.nan + result.pos_inf + result.neg_inf == total
    assert (result.counts >= 0).all()
    assert (np.diff(result.edges) >= 0).all()
    if np.isfinite(values).any():
        finite = values[np.isfinite(values)].astype(np.float64)
        assert (result.min, result.max) == (finite.min(), finite.max())
        assert result.min <= result.mean <= result.max
        assert result.edges[0] <= result.min <= result.max <= result.edges[-1]


def test_a_sample_is_scaled_to_what_it_stands_for_by_largest_remainder():
    result = histogram([0.0, 0.0, 1.0, np.nan], total=10, bins=2)
    assert (result.counts.tolist(), result.nan) == ([5, 3], 2)  # 5, 2.5 and 2.5
    assert result.count == 8


@pytest.mark.parametrize("bins", [1, 2, 7])
def test_there_may_be_another_number_of_bins(bins):
    result = histogram(np.arange(100), bins=bins)
    assert result.counts.shape == (bins,)
    assert result.counts.sum() == 100


@pytest.mark.parametrize(
    ("values", "options", "word"),
    [
        (np.zeros((0, 3)), {}, "empty"),
        ([1j], {}, "complex"),
        ([1, 2, 3], {"total": 2}, "3 values cannot stand for 2"),
        ([1, 2], {"bins": 0}, "got 0"),
    ],
)
def test_what_has_no_histogram_is_refused(values, options, word):
    with pytest.raises(LogValueError, match=word):
        histogram(values, **options)


def test_bins_that_somebody_else_kept_have_the_moments_of_their_centres():
    made = histogram_from([1, 0, 3.0], [0, 1, 2, 4], max_bins=3)

    assert (made.counts.tolist(), made.count, made.min, made.max) == ([1, 0, 3], 4, 0, 4)
    assert made.counts.dtype == np.int64
    assert made.mean == np.average([0.5, 1.5, 3], weights=[1, 0, 3])
    assert made.std == np.sqrt(np.average((np.array([0.5, 1.5, 3]) - made.mean) ** 2, weights=[1, 0, 3]))


def test_bins_of_any_width_have_moments_and_none_where_nothing_was_counted():
    wide = histogram_from([1, 1], [-1.7e308, 0, 1.7e308], max_bins=2)
    empty = histogram_from([0], [1, 2], max_bins=1)

    assert (wide.mean, wide.std) == (0, 8.5e307)
    assert (empty.count, empty.min, empty.max) == (0, 1, 2)
    assert np.isnan([empty.mean, empty.std]).all()


@pytest.mark.parametrize(
    ("counts", "edges"),
    [
        ([], [0]),
        ([1, 1, 1], [0, 1, 2, 3]),  # more than the 2 that are taken here
        ([1], [0, 1, 2]),
        ([[1]], [0, 1]),
        ([1], [0, np.inf]),
        ([1], [1, 0]),
        ([np.nan], [0, 1]),
        ([-1], [0, 1]),
        ([1e300], [0, 1]),
    ],
)
def test_what_are_no_bins_is_refused(counts, edges):
    with pytest.raises(ValueError, match="histogram"):
        histogram_from(counts, edges, max_bins=2)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 127, 128, 999, 2**16])
def test_bins_that_are_put_together_hold_what_they_held(size):
    counts, edges = coarsened(np.arange(size), np.arange(size + 1.0), 64)

    assert len(counts) <= 64
    assert len(edges) == len(counts) + 1
    assert (edges[0], edges[-1], counts.sum()) == (0, size, size * (size - 1) // 2)
    assert size > 64 or counts.tolist() == list(range(size))
