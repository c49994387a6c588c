import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.visibility import decided, visible
from tests.torchvision_cpu import load_torchvision

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
SCORES = np.array([0.5, 0.9, 0.8, 0.25], np.float32)
LABELS = np.array([1, 1, 2, 1])


def seen(config, **options):
    return visible(BOXES, SCORES, LABELS, config, **options).tolist()


@pytest.mark.parametrize("shifts_up_to", [0, 1_000], ids=["class-by-class", "shifted"])
def test_seen_is_what_is_sure_enough_overlapped_by_nothing_surer_of_its_class_and_among_the_surest(shifts_up_to):
    assert seen(NmsConfig(), shifts_up_to=shifts_up_to) == [True] * 4
    assert seen(NmsConfig(score_thresh=0.25), shifts_up_to=shifts_up_to) == [True, True, True, False]
    assert seen(NmsConfig(iou_thresh=0.5), shifts_up_to=shifts_up_to) == [False, True, True, True]
    assert seen(NmsConfig(iou_thresh=0.9), shifts_up_to=shifts_up_to) == [True] * 4
    assert seen(NmsConfig(max_detections_per_image=2), shifts_up_to=shifts_up_to) == [False, True, True, False]
    assert seen(NmsConfig(0.2, 0.5, 2), shifts_up_to=shifts_up_to) == [False, True, True, False]


def test_a_score_is_compared_in_its_own_precision():
    score = np.array([0.1], np.float32)  # as float64 it is above 0.1

    assert visible(BOXES[:1], score, LABELS[:1], NmsConfig(score_thresh=0.1)).tolist() == [False]
    assert visible(BOXES[:1], score, LABELS[:1], NmsConfig(score_thresh=np.float64(0.1))).tolist() == [False]
    assert visible(BOXES[:1], score.astype(np.float64), LABELS[:1], NmsConfig(score_thresh=0.1)).tolist() == [True]


def test_nan_is_never_sure_enough_and_nothing_is_seen_of_nothing():
    scores = np.array([np.nan, 0.5, 0.5, 0.5], np.float32)

    assert visible(BOXES, scores, LABELS, NmsConfig()).tolist() == [False, True, True, True]
    assert visible(BOXES[:0], SCORES[:0], LABELS[:0], NmsConfig(0.5, 0.5, 10), shifts_up_to=1_000).tolist() == []


def test_a_threshold_out_of_its_range_is_refused():
    with pytest.raises(ConfigError, match="iou_threshold is between 0 and 1, got 2"):
        seen(NmsConfig(iou_thresh=2))


def test_an_output_is_decided_whatever_it_was_before():
    output = DetectionOutput(BOXES, SCORES, LABELS, None, np.arange(4), (10, 30), visible=np.ones(4, bool))

    assert decided(output, NmsConfig(0.3, 0.5, 1)).visible.tolist() == [False, True, False, False]
    assert output.visible.all()
    assert decided(output, NmsConfig()).boxes is output.boxes


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.7]), st.sampled_from([60, 1_001]))
def test_what_is_seen_is_what_torchvision_keeps_in_both_of_its_ways(seed, iou_thresh, count):
    load_torchvision()
    from torchvision.ops import batched_nms

    random = np.random.default_rng(seed)
    near = random.uniform(0, 40, (count, 2))
    boxes = np.concatenate([near, near + random.uniform(1, 30, (count, 2))], axis=1).astype(np.float32)
    scores = random.permutation(count).astype(np.float32) / count  # no two alike
    labels = random.integers(0, 9, count)

    kept = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), iou_thresh)[:50]

    is_seen = visible(boxes, scores, labels, NmsConfig(None, iou_thresh, 50), shifts_up_to=1_000)
    assert set(np.flatnonzero(is_seen)) == set(kept.tolist())


def test_boxes_that_are_moved_by_their_class_are_rounded_as_torchvision_rounds_them():
    load_torchvision()
    from torchvision.ops import batched_nms

    boxes = np.array([[0.1, 0.1, 10.1, 10.1], [0.1, 0.1, 10.1, 5.100003], [900, 900, 1000, 1000]], np.float32)
    scores, decisions = np.array([0.9, 0.8, 0.7], np.float32), set()

    for label in range(200):
        labels = np.full(3, label)
        is_seen = visible(boxes, scores, labels, NmsConfig(iou_thresh=0.5), shifts_up_to=1_000)
        kept = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), 0.5)
        assert np.flatnonzero(is_seen).tolist() == kept.tolist()
        decisions.add(len(kept))

    assert decisions == {2, 3}
