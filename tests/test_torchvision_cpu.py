"""The operators that stand in for those of torchvision where its own do not load."""

import sys

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detection.drawn_boxes import detections
from tests.detection.test_nms import torchvision_nms
from tests.torchvision_cpu import APART, load_torchvision, nms


def test_torchvision_is_imported_once_and_leaves_the_path_as_it_was():
    before = list(sys.path)

    torchvision = load_torchvision()

    assert torchvision is load_torchvision() is sys.modules["torchvision"]
    assert sys.path == before
    assert str(APART) not in sys.path


@settings(max_examples=50)
@given(detections(), st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 1.0]), st.sampled_from([torch.float32, torch.float64]))
def test_the_suppression_is_that_of_torchvisions_kernel(drawn, iou_threshold, dtype):
    boxes, scores = torch.tensor(drawn.xyxy, dtype=dtype).reshape(-1, 4), torch.tensor(drawn.scores, dtype=dtype)

    expected = torchvision_nms(boxes, scores, iou_threshold).tolist()

    assert nms(boxes, scores, iou_threshold).tolist() == expected
    load_torchvision()
    from torchvision.ops import nms as as_called

    assert as_called(boxes, scores, iou_threshold).tolist() == expected


def test_regions_are_pooled_as_the_mean_of_points_between_pixels():
    load_torchvision()
    from torchvision.ops import roi_align

    ramp = torch.arange(16.0).reshape(1, 1, 4, 4)

    pooled = roi_align(ramp, [torch.tensor([[1.0, 1.0, 3.0, 3.0]])], output_size=2, sampling_ratio=1)

    assert pooled.tolist() == [[[[7.5, 8.5], [11.5, 12.5]]]]
