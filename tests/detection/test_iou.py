import numpy as np
import pytest
import torch
from hypothesis import given, settings
from pycocotools import mask as coco_mask

from ml.core.errors import LogValueError
from ml.detection.iou import iou
from tests.detection.drawn_boxes import grid_boxes


def test_the_iou_of_boxes_is_the_share_of_pixels_that_both_cover():
    assert iou([[0, 0, 4, 2]], [[2, 0, 6, 2]]).tolist() == [[4 / 12]]  # no pixel is added to a side
    assert iou([[0, 0, 4, 4]], [[1, 1, 3, 3], [0, 0, 4, 4], [4, 0, 8, 4]]).tolist() == [[0.25, 1.0, 0.0]]


@settings(max_examples=50)
@given(grid_boxes(), grid_boxes())
def test_counting_pixels_gives_the_same(first, second):
    def covered(box):
        pixels = np.zeros((12, 12), bool)
        left, top, right, bottom = box.astype(int)
        pixels[top:bottom, left:right] = True
        return pixels

    def of_pair(a, b):
        either = (covered(a) | covered(b)).sum()
        return (covered(a) & covered(b)).sum() / either if either else 0.0

    assert iou(first, second).tolist() == [[of_pair(a, b) for b in second] for a in first]


@settings(max_examples=50)
@given(grid_boxes(min_size=1), grid_boxes(min_size=1))
def test_coco_computes_the_same(first, second):
    def as_xywh(boxes):
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)

    expected = coco_mask.iou(as_xywh(first), as_xywh(second), [0] * len(second)) if len(first) and len(second) else []
    np.testing.assert_array_equal(iou(first, second), np.reshape(expected, (len(first), len(second))))


@settings(max_examples=50)
@given(grid_boxes(), grid_boxes())
def test_the_order_of_a_pair_does_not_matter_and_every_box_is_itself(first, second):
    overlaps = iou(first, second)

    np.testing.assert_array_equal(overlaps, iou(second, first).T)
    has_area = (first[:, 2:] > first[:, :2]).all(axis=1)
    np.testing.assert_array_equal(np.diag(iou(first, first)), has_area.astype(float))


@pytest.mark.parametrize(
    "box",
    [
        [3, 3, 3, 9],
        [9, 0, 3, 6],
        [0, 9, 6, 3],
        [9, 9, 3, 3],
        [np.nan, 0, 9, 9],
        [0, 0, 9, np.nan],
        [-np.inf, 0, np.inf, 9],
        [0, 0, 1e300, 1e300],
    ],
)
def test_a_box_without_a_finite_area_overlaps_nothing(box):
    assert iou([box, [0, 0, 9, 9]], [box, [0, 0, 9, 9]]).tolist() == [[0, 0], [0, 1]]


def test_float32_does_not_cost_precision():
    boxes = np.array([[0.1, 0.1, 0.4, 0.4]], np.float32)
    wide = boxes.astype(np.float64)
    other = [[0.2, 0.2, 0.5, 0.5]]

    assert iou(boxes, other).dtype == np.float64
    assert iou(boxes, other) == iou(wide, other)


@pytest.mark.parametrize(
    "boxes", [[], np.empty((0, 4)), [[1, 2, 3, 4]], np.array([[1, 2, 3, 4]], np.float16), torch.ones(1, 4)]
)
def test_lists_arrays_and_tensors_are_boxes(boxes):
    assert iou(boxes, [[0, 0, 1, 1], [5, 5, 6, 6]]).shape == (len(boxes), 2)


@pytest.mark.parametrize("boxes", [[1, 2, 3, 4], [[1, 2, 3]], np.empty((3, 0)), [[["a"] * 4]], [["1", "2", "3", "4"]]])
def test_what_is_no_box_is_refused(boxes):
    with pytest.raises(LogValueError, match=r"shape|numbers"):
        iou(boxes, [[0, 0, 1, 1]])
