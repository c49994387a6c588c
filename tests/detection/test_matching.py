import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import ConfigError, LogValueError
from ml.detection.boxes import Detections
from ml.detection.iou import iou
from ml.detection.matching import match
from ml.evaluation.values import Boxes
from tests.detection.drawn_boxes import detections

THRESHOLDS = st.sampled_from([0.2, 1 / 3, 0.5, 0.75, 1.0])


def allowed_overlaps(predicted, truth, by_class):
    """IoU by indices of both, of those pairs that may be matched."""
    overlaps = iou(predicted.xyxy, truth.xyxy)
    return {
        (p, t): overlaps[p, t]
        for p in range(len(predicted.scores))
        for t in range(len(truth.labels))
        if not by_class or predicted.labels[p] == truth.labels[t]
    }


def coco_pairs(predicted, truth, iou_threshold, by_class):
    """COCO's loop, one truth after the other."""
    allowed, taken, pairs = allowed_overlaps(predicted, truth, by_class), set(), []
    for p in sorted(range(len(predicted.scores)), key=lambda p: -predicted.scores[p]):
        best, found = min(iou_threshold, 1 - 1e-10), None
        for t in range(len(truth.labels)):
            if t not in taken and allowed.get((p, t), 0) >= best:
                best, found = allowed[p, t], t
        if found is not None:
            taken.add(found)
            pairs.append([p, found])
    return pairs


@settings(max_examples=50)
@given(detections(), detections(), THRESHOLDS, st.booleans())
def test_predictions_find_the_truths_that_they_find_in_coco(predicted, truth, iou_threshold, by_class):
    matches = match(predicted, truth, iou_threshold=iou_threshold, by_class=by_class)

    assert matches.pairs.tolist() == coco_pairs(predicted, truth, iou_threshold, by_class)


@settings(max_examples=50)
@given(detections(), detections(), THRESHOLDS, st.booleans())
def test_every_box_is_matched_once_or_unmatched(predicted, truth, iou_threshold, by_class):
    matches = match(predicted, truth, iou_threshold=iou_threshold, by_class=by_class)

    assert sorted([*matches.pairs[:, 0], *matches.unmatched_predicted]) == list(range(len(predicted.scores)))
    assert sorted([*matches.pairs[:, 1], *matches.unmatched_truth]) == list(range(len(truth.labels)))
    assert matches.ious.tolist() == [iou(predicted.xyxy, truth.xyxy)[p, t] for p, t in matches.pairs]


@settings(max_examples=50)
@given(detections(), detections(), THRESHOLDS, st.booleans())
def test_a_prediction_goes_without_a_better_truth_only_where_a_surer_one_has_it(
    predicted, truth, iou_threshold, by_class
):
    """This decides the matching but for equal IoUs: no pair would rather have each other than what they have."""
    matches = match(predicted, truth, iou_threshold=iou_threshold, by_class=by_class)
    of_prediction = dict(zip(matches.pairs[:, 0].tolist(), matches.ious.tolist(), strict=True))
    of_truth = {t: p for p, t in matches.pairs.tolist()}
    rank = {p: (-score, p) for p, score in enumerate(predicted.scores)}

    for (p, t), overlap in allowed_overlaps(predicted, truth, by_class).items():
        if overlap >= iou_threshold and overlap > of_prediction.get(p, 0.0):
            assert rank[of_truth[t]] < rank[p]


@settings(max_examples=50)
@given(detections(), detections(), THRESHOLDS, st.randoms())
def test_the_order_of_the_input_does_not_matter_where_no_scores_and_no_ious_are_equal(predicted, truth, limit, random):
    count = len(predicted.scores)
    moved = np.array(predicted.xyxy) + np.linspace(0, 0.01, count)[:, None]  # no two have the same IoU with a truth
    predicted = Detections(moved, predicted.labels, np.linspace(0.9, 0.1, count))
    shuffled = random.sample(range(count), count)
    other = Detections(moved[shuffled], [predicted.labels[p] for p in shuffled], predicted.scores[shuffled])

    pairs, of_shuffled = (match(p, truth, iou_threshold=limit).pairs.tolist() for p in (predicted, other))

    assert [[shuffled[p], t] for p, t in of_shuffled] == pairs


def test_the_surest_prediction_chooses_first_and_takes_the_truth_it_overlaps_most():
    truth = Detections([[0, 0, 10, 10], [0, 0, 10, 8]], [1, 1])
    predicted = Detections([[0, 0, 10, 10], [0, 0, 10, 9.5], [0, 0, 10, 7]], [1, 1, 1], [0.2, 0.9, 0.5])

    matches = match(predicted, truth)

    assert matches.pairs.tolist() == [[1, 0], [2, 1]]
    assert matches.ious.tolist() == [0.95, 0.875]
    assert matches.unmatched_predicted.tolist() == [0]
    assert matches.unmatched_truth.tolist() == []


def test_of_truths_with_the_same_iou_the_last_one_is_taken_as_in_coco():
    truth = Detections([[0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 4, 4], [9, 9, 10, 10]])
    assert match(Detections([[1, 0, 5, 4]], scores=[1.0]), truth).pairs.tolist() == [[0, 2]]


def test_a_score_that_is_nan_chooses_last_and_without_scores_the_first_box_chooses_first():
    truth = Detections([[0, 0, 1, 1]])
    same = [[0, 0, 1, 1]] * 3
    assert match(Detections(same, scores=[np.nan, 0.1, 0.1]), truth).pairs.tolist() == [[1, 0]]
    assert match(Detections(same), truth).pairs.tolist() == [[0, 0]]


def test_what_is_located_right_and_called_wrong_is_found_without_regard_to_class():
    predicted, truth = Detections([[0, 0, 9, 9]], ["cat"], [1.0]), Detections([[0, 0, 9, 9]], ["dog"])
    assert len(match(predicted, truth).pairs) == 0
    assert match(predicted, truth, by_class=False).pairs.tolist() == [[0, 0]]


def test_equal_boxes_match_at_a_threshold_of_one_in_spite_of_rounding():
    predicted = Detections([[0.1, 0.1, 0.1 + 0.2, 0.4]], scores=[1.0])
    assert match(predicted, Detections([[0.1, 0.1, 0.3, 0.4]]), iou_threshold=1.0).pairs.tolist() == [[0, 0]]


def test_boxes_with_nan_or_without_area_match_nothing():
    boxes = [[np.nan, 0, 9, 9], [3, 3, 3, 3]]
    assert len(match(Detections(boxes, scores=[1, 1]), Detections(boxes), iou_threshold=0.01).pairs) == 0


@pytest.mark.parametrize("empty", [Detections([], [], []), Detections(np.empty((0, 4)))])
@pytest.mark.parametrize("labels", [["cat"], [3], None])
def test_of_no_boxes_none_is_matched_whether_they_have_labels_or_not(empty, labels):
    some = Detections([[0, 0, 9, 9]], labels, [0.5])
    assert match(empty, empty).pairs.shape == (0, 2)
    assert match(some, empty).unmatched_predicted.tolist() == [0]
    assert match(empty, some).unmatched_truth.tolist() == [0]


def test_the_boxes_of_a_table_and_tensors_are_matched_as_they_are():
    table_boxes = Boxes([[0, 0, 9, 9]], labels=[7], scores=[0.5])
    tensors = Detections(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([7]), torch.tensor([0.5]))
    assert match(table_boxes, tensors).pairs.tolist() == [[0, 0]]
    assert match(tensors, table_boxes).pairs.tolist() == [[0, 0]]


@pytest.mark.parametrize("iou_threshold", [0.0, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(iou_threshold):
    with pytest.raises(ConfigError, match="iou_threshold"):
        match(Detections([]), Detections([]), iou_threshold=iou_threshold)


@pytest.mark.parametrize(
    ("labels", "true_labels", "problem"),
    [
        ([1], None, "truth has no labels"),
        (None, [1], "prediction has no labels"),
        ([1], ["1"], "never has the class of a truth: 1 and '1'"),
    ],
)
def test_labels_that_can_never_be_equal_are_refused(labels, true_labels, problem):
    box = [[0, 0, 1, 1]]
    with pytest.raises(LogValueError, match=problem):
        match(Detections(box, labels, [1.0]), Detections(box, true_labels))
