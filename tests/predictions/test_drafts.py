"""What ``log`` takes and refuses: numbers of every library, nothing that a reader would not understand."""

import math

import numpy as np
import pytest
import torch

from ml.core.errors import LogValueError
from ml.predictions import drafts
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.record import Box, Class

BOX = {"x": 1, "y": 2, "width": 3, "height": 4, "confidence": 0.5, "classification": {"cat": 0.5}}


def test_classes_are_taken_as_a_mapping_and_as_they_are_read_back():
    given = {"cat": np.float32(0.5), "dog": 0.25}

    classes = drafts.checked_classes(given)

    assert classes == (Class("cat", 0.5), Class("dog", 0.25))
    assert (
        drafts.checked_classes([{"class_name": c.class_name, "probability": c.probability} for c in classes]) == classes
    )
    assert drafts.checked_classes(None) == drafts.checked_classes({}) == ()


def test_boxes_take_the_numbers_of_every_library():
    given = {**BOX, "x": np.int64(1), "y": torch.tensor(2.5), "confidence": np.float16(0.5)}

    assert drafts.checked_boxes([given]) == (Box(1.0, 2.5, 3.0, 4.0, 0.5, (Class("cat", 0.5),)),)
    assert given["x"] == np.int64(1)
    assert isinstance(given["x"], np.int64)


def test_a_box_without_classes_is_one():
    box = {key: value for key, value in BOX.items() if key != "classification"}

    assert drafts.checked_boxes([box])[0].classes == ()


@pytest.mark.parametrize(
    ("detection", "problem"),
    [
        ([{**BOX, "z": 1}], "detection[0] has an unknown key 'z'"),
        ([{key: BOX[key] for key in ("x", "y", "width", "height")}], "detection[0] has no 'confidence'"),
        ([BOX, {**BOX, "x": "1"}], "detection[1]['x'] is a number, got '1'"),
        ([{**BOX, "x": True}], "detection[0]['x'] is a number, got True"),
        ([{**BOX, "x": None}], "detection[0]['x'] is a number, got None"),
        ([(1, 2, 3, 4)], "detection[0] is a mapping, got (1, 2, 3, 4)"),
        (BOX, "detection is a sequence"),
        (5, "detection is a sequence"),
        ([{**BOX, "classification": ["cat"]}], "detection[0]['classification'] holds class_name and probability"),
    ],
)
def test_what_is_no_box_is_refused_by_name(detection, problem):
    with pytest.raises(LogValueError, match=r".") as caught:
        drafts.checked_boxes(detection)

    assert problem in str(caught.value)
    assert caught.value.fix


def test_kinds_are_taken_by_their_numbers_too():
    assert drafts.checked_type(2) is VisionModelType.DETECTION
    assert drafts.checked_type(np.int32(1)) is VisionModelType.CLASSIFICATION
    assert drafts.checked_device(InferenceDevice.TPU) is InferenceDevice.TPU
    assert drafts.checked_device(None) is None
    for wrong in ("DETECTION", 7, True, None, 1.0):
        with pytest.raises(LogValueError, match=r"model_type is one of VisionModelType\.NONE"):
            drafts.checked_type(wrong)


def test_time_stamps_are_whole_milliseconds_of_64_bits():
    assert drafts.checked_timestamp_ms(np.int64(1_674_993_193_473)) == 1_674_993_193_473
    assert drafts.checked_timestamp_ms(1_674_993_193_473.4) == 1_674_993_193_473
    assert drafts.checked_timestamp_ms(2**63 - 1) == 2**63 - 1
    assert drafts.checked_timestamp_ms(None) is None
    for wrong in (math.nan, math.inf, 2**63, -(2**63) - 1, 10**400, "now"):
        with pytest.raises(LogValueError, match="timestamp"):
            drafts.checked_timestamp_ms(wrong)


def test_seconds_are_not_taken_for_milliseconds_of_1970():
    for wrong in (1_767_322_445, 1_767_322_445.678, np.float64(1e9)):
        with pytest.raises(LogValueError, match=r"which are seconds\. Pass int\(time\.time\(\) \* 1000\)"):
            drafts.checked_timestamp_ms(wrong)
    for milliseconds in (0, 10**9 - 1, 10**10, -(10**9)):
        assert drafts.checked_timestamp_ms(milliseconds) == milliseconds


@pytest.mark.parametrize(
    ("check", "given", "fix"),
    [
        (drafts.checked_type, "detection", "Pass VisionModelType.DETECTION."),
        (drafts.checked_device, "cuda:0", "Pass InferenceDevice.CUDA."),
        (drafts.checked_device, "mps", "Pass InferenceDevice.MPS."),
        (drafts.checked_device, "xla", "Pass one of them; see ml.predictions.kinds."),
        (drafts.checked_type, 9, "Pass one of them; see ml.predictions.kinds."),
    ],
)
def test_who_names_a_kind_is_told_which_one_that_is(check, given, fix):
    with pytest.raises(LogValueError) as caught:
        check(given)

    assert caught.value.fix == fix


def test_a_latency_that_nobody_measured_is_none():
    assert drafts.checked_latency_ms(np.float32(12.5)) == 12.5
    assert drafts.checked_latency_ms(math.nan) is None
    assert drafts.checked_latency_ms(None) is None


def test_the_best_result_counts_and_nan_is_the_worst():
    assert drafts.best_confidence([Class("a", 0.2), Class("b", math.nan)], [Box(0, 0, 1, 1, 0.7, ())]) == 0.7
    assert drafts.best_confidence([Class("b", math.nan)], []) == 0.0
    assert drafts.best_confidence([], []) is None


def test_more_boxes_than_a_record_holds_are_refused_before_one_is_looked_at():
    with pytest.raises(LogValueError, match="10000"):
        drafts.checked_boxes([None] * 10_001)
