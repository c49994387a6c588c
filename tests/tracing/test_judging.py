"""What is wrong with each detection: a scene for each type of error, and laws that hold for all scenes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.core.errors import ConfigError, LogValueError
from ml.detection.boxes import Detections
from ml.detection.iou import iou
from ml.detection.matching import match
from ml.tracing.judging import VERDICTS, Thresholds, judge
from tests.tracing.said import answered, said, there, traced

TRUE = [0, 0, 10, 10]
HALF = [0, 0, 10, 5]  # IoU 0.5
TENTH = [0, 0, 10, 1]  # IoU 0.1
BELOW_HALF, BELOW_TENTH = [0, 0, 10, 4.99], [0, 0, 10, 0.99]
FAR = [50, 50, 60, 60]


def judged(output, truth):
    return judge(traced(output, truth))


@pytest.mark.parametrize(
    ("box", "label", "verdict", "missed", "covered"),
    [
        pytest.param(TRUE, 0, "correct", [], [], id="correct"),
        pytest.param(HALF, 0, "correct", [], [], id="correct-at-0.5"),
        pytest.param(BELOW_HALF, 0, "localisation", [], [0], id="localisation-below-0.5"),
        pytest.param(TENTH, 0, "localisation", [], [0], id="localisation-at-0.1"),
        pytest.param(BELOW_TENTH, 0, "background", [0], [], id="background-below-0.1"),
        pytest.param(FAR, 0, "background", [0], [], id="background"),
        pytest.param(TRUE, 1, "classification", [], [0], id="classification"),
        pytest.param(HALF, 1, "classification", [], [0], id="classification-at-0.5"),
        pytest.param(BELOW_HALF, 1, "both", [0], [], id="both-below-0.5"),
        pytest.param(TENTH, 1, "both", [0], [], id="both-at-0.1"),
        pytest.param(BELOW_TENTH, 1, "background", [0], [], id="background-of-another-class"),
        pytest.param([math.nan] * 4, 0, "background", [0], [], id="nan"),
        pytest.param([0, 0, math.inf, 10], 0, "background", [0], [], id="infinite"),
        pytest.param([10, 10, 0, 0], 0, "background", [0], [], id="empty"),
    ],
)
def test_one_detection_of_one_truth(box, label, verdict, missed, covered):
    found = judged(said([box], [label]), there([TRUE]))

    assert found.verdicts == (verdict,)
    assert (found.missed.tolist(), found.covered.tolist()) == (missed, covered)
    assert found.truths.tolist() == [-1 if verdict == "background" else 0]
    assert found.ious == pytest.approx(iou([box], [TRUE])[0])
    assert found.is_wrong.tolist() == [verdict != "correct"]


def test_of_two_detections_of_one_truth_with_one_score_the_first_is_correct_and_the_other_a_duplicate():
    found = judged(said([HALF, TRUE], scores=[0.7, 0.7]), there([TRUE]))

    assert found.verdicts == ("correct", "duplicate")
    assert found.truths.tolist() == [0, 0]
    assert found.ious.tolist() == [0.5, 1.0]
    assert not len(found.missed)


def test_the_surer_one_is_correct_whatever_its_place_and_what_is_not_visible_is_not_judged():
    output = said([TRUE, HALF, TRUE, FAR], scores=[0.2, 0.9, 0.99, 0.5], visible=[True, True, False, True])

    assert judged(output, there([TRUE])).verdicts == ("correct", "background", "duplicate")  # by descending score


def test_a_detection_of_the_wrong_class_beside_a_right_one_is_an_error_of_classification_that_covers_nothing():
    found = judged(said([TRUE, TRUE], [0, 1]), there([TRUE]))

    assert found.verdicts == ("correct", "classification")
    assert not len(found.covered)
    assert not len(found.missed)


def test_the_right_place_of_another_class_counts_before_a_second_detection_of_the_own():
    truth = there([TRUE, [0, 0, 10, 9]], [0, 1])

    found = judged(said([TRUE, TRUE], [0, 0]), truth)

    assert found.verdicts == ("correct", "classification")
    assert found.covered.tolist() == [1]


def test_a_box_over_two_truths_is_judged_by_the_nearest_and_the_other_is_missed():
    found = judged(said([[0, 0, 20, 10]]), there([[0, 0, 9, 10], [11, 0, 19, 10]]))

    assert found.verdicts == ("localisation",)
    assert (found.truths.tolist(), found.covered.tolist(), found.missed.tolist()) == ([0], [0], [1])


def test_without_truth_all_is_background_and_without_detections_all_is_missed():
    assert judged(said([TRUE, FAR]), there()).verdicts == ("background", "background")
    assert judged(said(), there([TRUE, FAR])).missed.tolist() == [0, 1]
    assert judged(said(), there()) == ((), *[pytest.approx([])] * 4)


def test_thresholds_are_the_users_own_and_make_sense():
    found = judge(traced(said([HALF], [1]), there([TRUE])), Thresholds(0.75, 0.6))

    assert found.verdicts == ("background",)
    with pytest.raises(ConfigError, match=r"0\.5 and 0\.5"):
        Thresholds(0.5, 0.5).checked()


def test_a_classifier_is_correct_or_takes_one_class_for_another():
    assert judged(answered(0.1, 2.0, 0.3), 1).verdicts == ("correct",)
    assert judged(answered(0.1, 2.0, 0.3), 2).verdicts == ("classification",)


@pytest.mark.parametrize("truth", [None, 1], ids=["unknown", "of-another-task"])
def test_what_has_no_truth_of_its_task_cannot_be_judged(truth):
    with pytest.raises(LogValueError, match="not known" if truth is None else "another task"):
        judge(traced(said([TRUE]), truth))


def boxes(count):
    near = hnp.arrays(np.float32, (count, 4), elements=st.integers(0, 6).map(float))
    return st.one_of(near, hnp.arrays(np.float32, (count, 4), elements=st.floats(width=32)))


@st.composite
def scenes(draw):
    """Boxes that meet often, with scores that are equal often, and whatever else floats may be."""
    count, num_truths = draw(st.integers(0, 8)), draw(st.integers(0, 6))
    scores = draw(st.lists(st.sampled_from([0.1, 0.5, 0.5, 0.9, math.nan]), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    true_labels = draw(st.lists(st.integers(0, 2), min_size=num_truths, max_size=num_truths))
    visible = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return said(draw(boxes(count)), labels, scores, visible=visible), there(draw(boxes(num_truths)), true_labels)


@given(scenes())
def test_every_detection_has_one_type_and_every_truth_is_matched_covered_or_missed(scene):
    output, truth = scene
    found = judged(output, truth)
    shown = output.shown()

    assert len(found.verdicts) == len(found.truths) == len(found.ious) == len(shown)
    assert set(found.verdicts) <= set(VERDICTS)
    taken = found.truths[~found.is_wrong].tolist()
    assert sorted([*taken, *found.covered.tolist(), *found.missed.tolist()]) == list(range(len(truth.labels)))
    overlaps = iou(shown.boxes, truth.xyxy)
    for index, (verdict, of) in enumerate(zip(found.verdicts, found.truths.tolist(), strict=True)):
        if verdict == "background":
            assert of == -1
            assert not (overlaps[index] >= 0.1).any()
            continue
        is_own, overlap = shown.labels[index] == truth.labels[of], overlaps[index, of]
        assert overlap == found.ious[index]
        assert is_own == (verdict in ("correct", "localisation", "duplicate"))
        assert (overlap >= 0.5) == (verdict in ("correct", "classification", "duplicate"))
        assert verdict != "duplicate" or of in taken


@given(scenes())
def test_what_is_correct_is_what_the_matching_of_the_average_precision_finds(scene):
    output, truth = scene
    shown = output.shown()

    found, matches = judged(output, truth), match(Detections(shown.boxes, shown.labels, shown.scores), truth)

    correct = np.flatnonzero(~found.is_wrong)
    assert sorted(zip(correct.tolist(), found.truths[correct].tolist(), strict=True)) == sorted(
        map(tuple, matches.pairs.tolist())
    )
