import numpy as np
import pytest

from ml.core.errors import LogValueError
from ml.media.points import point_indices, standardize_points


def cloud(count):
    """Points whose coordinates tell their index: (i, i + 0.25, i + 0.5)."""
    return np.arange(count)[:, np.newaxis] + np.array([0, 0.25, 0.5])


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (cloud(5), (1, 5, 3)),
        (cloud(5).T, (1, 5, 3)),
        (cloud(3), (1, 3, 3)),
        (np.stack([cloud(5), cloud(5)]), (2, 5, 3)),
        (cloud(1), (1, 1, 3)),
        ([[0, 1, 2], [3, 4, 5]], (1, 2, 3)),
    ],
)
def test_every_layout_becomes_a_batch_of_points(points, expected):
    standard, colors = standardize_points(points)
    assert (standard.shape, standard.dtype, colors) == (expected, np.float32, None)


def test_points_in_rows_win_a_tie_and_columns_are_transposed():
    np.testing.assert_array_equal(standardize_points(cloud(3))[0][0], cloud(3))
    np.testing.assert_array_equal(standardize_points(cloud(5).T)[0][0], cloud(5))


def test_a_large_cloud_is_thinned_the_same_way_every_time():
    first, second = (standardize_points(cloud(5000), max_points=100)[0][0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    index = first[:, 0].astype(int)
    assert len(np.unique(index)) == 100
    np.testing.assert_array_equal(first, cloud(5000)[index])
    assert index.max() > 4500  # all over the cloud
    assert index.min() < 500


def test_clouds_of_a_batch_keep_the_same_points():
    batch, _ = standardize_points(np.stack([cloud(50), cloud(50) + 100]), max_points=10)
    np.testing.assert_array_equal(batch[0] + 100, batch[1])


def test_the_generators_of_others_are_not_used():
    state = str(np.random.get_state())
    standardize_points(cloud(5000))
    assert str(np.random.get_state()) == state


def test_points_that_are_not_finite_are_left_out_with_their_colours():
    points = cloud(5)
    points[1, 2], points[3, 0], points[4, 1] = np.nan, np.inf, 1e300
    colors = np.arange(15, dtype=np.uint8).reshape(5, 3)
    standard, shown = standardize_points(points, colors=colors)
    np.testing.assert_array_equal(standard[0], cloud(5)[[0, 2]])
    np.testing.assert_array_equal(shown[0], colors[[0, 2]])


def test_a_cloud_with_fewer_points_than_its_neighbours_repeats_its_own():
    points = np.stack([cloud(4), cloud(4)])
    points[1, 1:3] = np.nan
    standard, _ = standardize_points(points)
    assert standard[:, :, 0].tolist() == [[0, 1, 2, 3], [0, 3, 0, 3]]


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        (np.array([[0, 0.5, 1], [2, -1, np.nan]]), [[0, 128, 255], [255, 0, 0]]),
        (np.array([[1, 2, 3], [4, 5, 6]], np.uint8), [[1, 2, 3], [4, 5, 6]]),
        ([[1, 2, 3], [4, 5, 255]], [[1, 2, 3], [4, 5, 255]]),
    ],
)
def test_colours_are_bytes_or_floats_up_to_one(colors, expected):
    _, shown = standardize_points(cloud(2), colors=colors)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [expected]


def test_colours_stay_with_their_points():
    colors = np.arange(250)[:, np.newaxis].repeat(3, axis=1)
    standard, shown = standardize_points(cloud(250).T, max_points=20, colors=colors.T)
    np.testing.assert_array_equal(standard[:, :, 0], shown[:, :, 0])


def test_colours_of_one_cloud_hold_for_all():
    _, shown = standardize_points(np.stack([cloud(2)] * 3), colors=[[1, 2, 3], [4, 5, 6]])
    assert shown.tolist() == [[[1, 2, 3], [4, 5, 6]]] * 3


@pytest.mark.parametrize(
    "points",
    [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((4, 2)), np.zeros(3), np.zeros((2, 0, 3)), np.zeros((2, 3, 4))],
)
def test_what_is_no_cloud_is_refused_with_its_shape(points):
    with pytest.raises(LogValueError) as raised:
        standardize_points(points)
    assert str(points.shape) in raised.value.problem


def test_a_cloud_without_a_finite_point_is_refused():
    points = np.stack([cloud(2), np.full((2, 3), np.nan)])
    with pytest.raises(LogValueError, match="none of 2 in cloud 1"):
        standardize_points(points)


@pytest.mark.parametrize(
    ("colors", "word"),
    [
        (np.zeros((3, 3)), r"\(3, 3\)"),
        (np.zeros((2, 4)), r"\(2, 4\)"),
        (np.full((2, 3), 256), "256"),
        (np.full((2, 3), -1), "-1"),
        (np.ones((2, 3), bool), "bool"),
    ],
)
def test_wrong_colours_are_refused(colors, word):
    with pytest.raises(LogValueError, match=word):
        standardize_points(cloud(2), colors=colors)


def test_at_least_one_point_is_kept():
    assert point_indices(10, 1).shape == (1,)
    with pytest.raises(LogValueError, match="max_points=0"):
        standardize_points(cloud(2), max_points=0)


def test_the_points_are_not_changed():
    points = cloud(5)
    points[2] = np.nan
    before = points.copy()
    standardize_points(points, max_points=2)
    np.testing.assert_array_equal(points, before)
