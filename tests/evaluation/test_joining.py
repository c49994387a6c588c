import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.evaluation.columns import Column
from ml.evaluation.table import Table
from ml.evaluation.values import Image
from tests.evaluation.published import files_of, publish

PIXELS = np.arange(20, dtype=np.uint8).reshape(5, 4)


def table_of(columns, rows, name="table"):
    table = Table(columns, name=name)
    for row in rows:
        table.add_data(*row)
    return table


def rows_of(table):
    return [tuple(row) for row in table.data]


def test_a_row_is_joined_with_the_one_that_it_references(tmp_path):
    data = table_of(["idx", "image", "label"], [(i, Image(PIXELS + i), f"l{i}") for i in range(3)], "val_data")
    truth = publish(data, tmp_path)
    predictions = Table(["row", "label"])
    for row, label in ((2, "a"), (0, "b"), (2, "c")):
        predictions.add_data(truth.get_index()[row], label)

    joined = predictions.join(truth, on="row")

    assert joined.column_names == ("row", "label", "idx", "image", "val_data.label")
    assert [row["val_data.label"] for row in joined.data] == ["l2", "l0", "l2"]
    assert joined.data[0]["image"] == Image(PIXELS + 2)
    before = files_of(tmp_path, "png")
    publish(joined, tmp_path, artifact="joined")
    assert files_of(tmp_path, "png") == before


def test_rows_of_a_table_that_is_not_published_can_be_joined():
    data = table_of(["label"], [("x",), ("y",)])
    predictions = table_of(["row"], [(index,) for index in reversed(data.get_index())])

    assert [row["label"] for row in predictions.join(data, on="row").data] == ["y", "x"]


def test_references_to_another_table_are_no_join(tmp_path):
    data, other = table_of(["label"], [("x",)], "data"), table_of(["label"], [("x",)], "other")
    publish(data, tmp_path)
    predictions = table_of(["row"], [(data.get_index()[0],)])

    with pytest.raises(ConfigError, match="val:v0/data"):
        predictions.join(other, on="row")


def test_a_reference_beyond_the_table_is_an_error(tmp_path):
    data = publish(table_of(["a"], [(1,)], "data"), tmp_path)
    predictions = table_of([Column("row", "reference", "val:v0/data")], [(1,)])

    with pytest.raises(IndexError, match="Row 1"):
        predictions.join(data, on="row")


KEYS = st.none() | st.integers(0, 3) | st.just(math.nan)


@settings(max_examples=50)
@given(st.lists(KEYS, max_size=6), st.lists(KEYS, max_size=6), st.sampled_from(["inner", "left"]))
def test_rows_are_joined_by_equal_values_as_two_loops_would_join_them(left, right, how):
    a = table_of([Column("k", "number"), "n"], [(key, n) for n, key in enumerate(left)])
    b = table_of(["m", Column("key", "number")], [(m, key) for m, key in enumerate(right)])

    expected = []
    for n, key in enumerate(left):
        found = [(key, n, m) for m, other in enumerate(right) if key is not None and other is not None and key == other]
        expected += found or ([(key, n, None)] if how == "left" else [])

    joined = a.join(b, on=("k", "key"), how=how)
    assert repr(rows_of(joined)) == repr([(None if k is None else float(k), n, m) for k, n, m in expected])
    assert joined.column_names == ("k", "n", "m")


def test_pictures_are_equal_when_their_files_are():
    a = table_of(["image", "n"], [(Image(PIXELS), 1), (Image(PIXELS + 1), 2)])
    b = table_of(["image", "m"], [(Image(PIXELS + 1, caption="other"), 3)])

    assert [row[1:] for row in a.join(b, on="image").data] == [(2, 3)]


def test_a_column_never_takes_the_place_of_another():
    a = table_of(["k", "x", "b.x"], [(1, 2, 3)])
    b = table_of(["k", "x"], [(1, 4)], name="b")

    assert a.join(b, on="k").column_names == ("k", "x", "b.x", "b.b.x")


@pytest.mark.parametrize(
    ("on", "how", "problem"),
    [
        ("z", "inner", "no column 'z'"),
        (("k", "z"), "inner", "no column 'z'"),
        ("k", "outer", "'inner' or 'left'"),
        (("k", "text"), "inner", "integer"),
        ("array", "inner", "cannot be compared"),
    ],
)
def test_a_join_that_means_nothing_is_refused(on, how, problem):
    a = table_of(["k", "text", "array"], [(1, "a", [1])])

    with pytest.raises(ConfigError, match=problem):
        a.join(a, on=on, how=how)
