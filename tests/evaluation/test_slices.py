import itertools
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.evaluation.slices import MAX_WHOLE, slices
from ml.evaluation.values import Boxes

NUMBERS = st.lists(st.one_of(st.none(), st.floats(width=16), st.sampled_from([0.0, -0.0, 1.0])), max_size=60)


@given(NUMBERS, st.integers(1, 9))
def test_every_sample_is_in_one_slice_and_numbers_are_in_order(values, bins):
    parts = slices(values, "number", bins=bins)

    assert sorted(member for part in parts for member in part.members) == list(range(len(values)))
    known = [[values[member] for member in part.members] for part in parts if part.name != "missing"]
    assert len(known) <= bins
    assert all(max(low) < min(high) for low, high in itertools.pairwise(known))
    missing = [member for part in parts if part.name == "missing" for member in part.members]
    assert missing == [place for place, value in enumerate(values) if value is None or math.isnan(value)]


@given(st.sets(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 9))
def test_quantiles_of_different_numbers_are_of_about_equal_size(values, bins):
    sizes = [len(part.members) for part in slices(list(values), "number", bins=bins)]

    assert len(sizes) == min(bins, len(values))
    assert max(sizes) - min(sizes) <= 1


def test_values_that_are_few_are_slices_of_their_own():
    assert [part.name for part in slices(["b", "a", None, "b"], "string")] == ["a", "b", "missing"]
    assert [part.members for part in slices(["b", "a", None, "b"], "string")] == [(1,), (0, 3), (2,)]
    assert [part.name for part in slices([True, False], "boolean")] == ["False", "True"]
    assert [part.name for part in slices([10, 9], "integer")] == ["9", "10"]
    assert len(slices(list(range(MAX_WHOLE)), "integer")) == MAX_WHOLE
    assert [part.name for part in slices(list(range(MAX_WHOLE + 1)), "integer", bins=2)] == ["0 to 6", "7 to 12"]


def test_boxes_are_counted_and_moments_are_in_order():
    assert [part.name for part in slices([Boxes([]), None, Boxes([[0, 0, 1, 1]])], "boxes")] == ["0", "1", "missing"]
    moments = [datetime(2024, 5, day, tzinfo=UTC) for day in (3, 1, 2)]
    assert [part.members for part in slices(moments, "timestamp", bins=3)] == [(1,), (2,), (0,)]


def test_what_has_no_order_and_is_never_equal_is_refused():
    with pytest.raises(ConfigError, match="kind image"):
        slices([], "image")
    with pytest.raises(ConfigError, match="bins is 1 or more, got 0"):
        slices([], "number", bins=0)
