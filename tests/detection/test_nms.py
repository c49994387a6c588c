import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import ConfigError, LogValueError
from ml.detection.nms import nms, shifted_by_label
from tests.detection.drawn_boxes import detections

THRESHOLDS = st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.6, 0.7, 1.0])


def torchvision_nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """What torchvision's CPU kernel computes: ``boxes`` (N, 4) and ``scores`` (N,), of one dtype."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    is_suppressed = torch.zeros(len(boxes), dtype=torch.bool)
    kept = []
    for i in scores.sort(descending=True, stable=True).indices.tolist():
        if is_suppressed[i]:
            continue
        kept.append(i)
        width, height = (
            (torch.minimum(boxes[i, far], boxes[:, far]) - torch.maximum(boxes[i, near], boxes[:, near])).clamp(min=0)
            for near, far in ((0, 2), (1, 3))
        )
        shared = width * height
        # The kernel compares a float with a double, as torch does not.
        is_suppressed |= (shared / (areas[i] + areas - shared)).double() > iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


def torchvision_batched_nms_of_each_class(boxes, scores, labels, iou_threshold):
    is_kept = torch.zeros(len(scores), dtype=torch.bool)
    for label in labels.unique():
        of_label = torch.where(labels == label)[0]
        is_kept[of_label[torchvision_nms(boxes[of_label], scores[of_label], iou_threshold)]] = True
    kept = torch.where(is_kept)[0]
    return kept[scores[kept].sort(descending=True, stable=True).indices]


def torchvision_batched_nms_by_coordinates(boxes, scores, labels, iou_threshold):
    return torchvision_nms(torchvision_coordinates(boxes, labels), scores, iou_threshold)


def torchvision_coordinates(boxes, labels):
    return boxes + (labels.to(boxes) * (boxes.max() + torch.tensor(1).to(boxes)))[:, None]


@settings(max_examples=50)
@given(detections(), THRESHOLDS, st.sampled_from([torch.float32, torch.float64]))
def test_what_is_kept_is_what_torchvision_keeps_and_in_its_order(drawn, iou_threshold, dtype):
    boxes, labels, scores = (
        torch.tensor(drawn.xyxy, dtype=dtype),
        torch.tensor(drawn.labels),
        torch.tensor(drawn.scores),
    )

    kept = nms(boxes, scores, labels, iou_threshold=iou_threshold)

    assert kept.tolist() == torchvision_batched_nms_of_each_class(boxes, scores, labels, iou_threshold).tolist()


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_boxes_of_a_model_are_kept_as_torchvision_keeps_them_in_both_of_its_ways(seed):
    boxes, scores, labels = boxes_of_a_model(np.random.default_rng(seed), 24)

    apart = nms(boxes, scores, labels, iou_threshold=0.5)
    shifted = shifted_by_label(boxes, labels)
    together = nms(shifted, scores, iou_threshold=0.5)

    np.testing.assert_array_equal(shifted, torchvision_coordinates(boxes, labels).numpy(), strict=True)
    assert apart.tolist() == torchvision_batched_nms_of_each_class(boxes, scores, labels, 0.5).tolist()
    assert together.tolist() == torchvision_batched_nms_by_coordinates(boxes, scores, labels, 0.5).tolist()


@pytest.mark.parametrize("max_detections", [None, 1, 64, 65, 150])
def test_more_boxes_than_are_compared_at_once_are_kept_as_torchvision_keeps_them(max_detections):
    random = np.random.default_rng(0)
    crowds = [boxes_of_a_model(random, 50) for _ in range(20)]
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*crowds, strict=True))

    kept = nms(boxes, scores, labels, iou_threshold=0.5, max_detections=max_detections)
    together = nms(boxes, scores, iou_threshold=0.9, max_detections=max_detections)

    expected = torchvision_batched_nms_of_each_class(boxes, scores, labels, 0.5)
    assert len(expected) > 150
    assert kept.tolist() == expected[:max_detections].tolist()
    assert together.tolist() == torchvision_nms(boxes, scores, 0.9)[:max_detections].tolist()


def boxes_of_a_model(random, count):
    """Candidates that crowd around a few objects, as torch has them before suppression."""
    centres = random.uniform(0, 1000, (4, 2))[random.integers(0, 4, count)] + random.normal(0, 8, (count, 2))
    sizes = random.uniform(40, 60, (count, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).clip(0).astype(np.float32)
    labels = random.integers(0, 80, 3)[random.integers(0, 3, count)]
    return torch.tensor(boxes), torch.tensor(random.random(count), dtype=torch.float32), torch.tensor(labels)


@settings(max_examples=50)
@given(detections(max_count=12), THRESHOLDS)
def test_a_box_is_left_out_only_for_a_surer_one_of_its_class_that_is_kept(drawn, iou_threshold):
    kept = nms(drawn.xyxy, drawn.scores, drawn.labels, iou_threshold=iou_threshold).tolist()
    rank = sorted(range(len(drawn.scores)), key=lambda index: (-drawn.scores[index], index))

    def suppresses(surer, box):
        left, top, right, bottom = (
            f(drawn.xyxy[surer][k], drawn.xyxy[box][k]) for k, f in enumerate([max, max, min, min])
        )
        shared = max(right - left, 0) * max(bottom - top, 0)
        either = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (drawn.xyxy[surer], drawn.xyxy[box])) - shared
        return drawn.labels[surer] == drawn.labels[box] and shared / either > iou_threshold

    assert kept == [index for index in rank if index in kept]
    for position, box in enumerate(rank):
        assert (box not in kept) == any(suppresses(surer, box) for surer in rank[:position] if surer in kept)


@settings(max_examples=50)
@given(detections(max_count=12), THRESHOLDS, st.integers(0, 13))
def test_at_most_so_many_are_kept_the_surest_of_all_classes(drawn, iou_threshold, max_detections):
    everything = nms(drawn.xyxy, drawn.scores, drawn.labels, iou_threshold=iou_threshold)

    kept = nms(drawn.xyxy, drawn.scores, drawn.labels, iou_threshold=iou_threshold, max_detections=max_detections)

    assert kept.tolist() == everything[:max_detections].tolist()


def test_an_iou_on_the_threshold_does_not_suppress():
    boxes = [[0, 0, 4, 1], [0, 0, 2, 1]]
    assert nms(boxes, [1, 0.5], iou_threshold=0.5).tolist() == [0, 1]
    assert nms(boxes, [1, 0.5], iou_threshold=0.49).tolist() == [0]


def test_the_precision_of_the_boxes_decides_on_a_threshold_that_it_cannot_hold():
    boxes = np.array([[0, 0, 5, 1], [0, 0, 3, 1]])  # 3 / 5 is more than 0.6 in float32, and not in float64
    assert nms(boxes.astype(np.float32), [1, 0.5], iou_threshold=0.6).tolist() == [0]
    assert nms(boxes.astype(np.float64), [1, 0.5], iou_threshold=0.6).tolist() == [0, 1]


def test_a_score_that_is_nan_ranks_first_as_torch_sorts_it():
    apart = np.array([[0, 0, 1, 1], [5, 0, 6, 1], [10, 0, 11, 1], [15, 0, 16, 1], [20, 0, 21, 1]])
    scores = np.array([0.5, np.nan, np.inf, -np.inf, np.nan])
    assert nms(apart, scores, iou_threshold=0.5).tolist() == [1, 4, 2, 0, 3]
    assert torch.tensor(scores).sort(descending=True, stable=True).indices.tolist() == [1, 4, 2, 0, 3]


def test_boxes_without_area_or_with_nan_stay_and_suppress_nothing():
    boxes = [[0, 0, 0, 0], [0, 0, 0, 0], [np.nan, 0, 9, 9], [0, 0, 9, 9], [9, 9, 0, 0], [-np.inf, 0, np.inf, 9]]
    assert nms(boxes, np.linspace(1, 0, 6), iou_threshold=0.0).tolist() == [0, 1, 2, 3, 4, 5]


def test_labels_may_be_texts_and_without_them_all_boxes_are_of_one_class():
    boxes, scores = [[0, 0, 9, 9]] * 3, [0.1, 0.2, 0.3]
    assert nms(boxes, scores, ["cat", "dog", "cat"], iou_threshold=0.5).tolist() == [2, 1]
    assert nms(boxes, scores, iou_threshold=0.5).tolist() == [2]


@pytest.mark.parametrize("labels", [None, []])
def test_of_no_boxes_none_is_kept(labels):
    kept = nms([], [], labels, iou_threshold=0.5)
    assert kept.dtype == np.int64
    assert kept.tolist() == []
    assert shifted_by_label([], []).shape == (0, 4)


def test_thousands_of_boxes_cost_memory_of_their_number_and_not_of_its_square():
    boxes, scores, labels = boxes_of_a_model(np.random.default_rng(0), 20_000)
    assert 0 < len(nms(boxes, scores, labels, iou_threshold=0.5)) < 1000  # (N, N) would take 3.2 GB


@pytest.mark.parametrize("options", [{"iou_threshold": 1.1}, {"iou_threshold": float("nan")}, {"max_detections": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        nms([], [], **{"iou_threshold": 0.5} | options)


@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        ([1.0], None, "scores have shape"),
        ([1.0, 0.5], [0], "one label"),
        ([1.0, 0.5], [0, "cat"], "whole numbers or all texts"),
        ([1.0, 0.5], [0, 2**63], "whole numbers or all texts"),
        ([1.0, 0.5], [0, 0.5], "whole numbers or all texts"),
        ([1.0, 0.5], "ab", "one label"),
    ],
)
def test_scores_and_labels_that_do_not_fit_the_boxes_are_refused(scores, labels, problem):
    with pytest.raises(LogValueError, match=problem):
        nms([[0, 0, 1, 1], [0, 0, 1, 1]], scores, labels, iou_threshold=0.5)


def test_only_numbers_shift_boxes():
    with pytest.raises(LogValueError, match="'cat'"):
        shifted_by_label([[0, 0, 1, 1]], ["cat"])
