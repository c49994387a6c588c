import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ml.core.errors import ConfigError, LogValueError
from ml.detection.average_precision import mean_average_precision
from ml.detection.boxes import Detections
from tests.detection.drawn_boxes import detections
from tests.digit_scenes import SCENE_PX, scenes


def coco_figures(predicted, truth, max_detections=100):
    """What pycocotools says: (mAP, mAP50, mAP75) of all classes, and (AP, AP50, AP75) of each; NaN for its -1."""
    labels = sorted({int(label) for boxes in (*predicted, *truth) for label in boxes.labels})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(truth, labels), _coco(predicted, labels), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # thresholds, recalls, classes

    def figures(of_classes):
        parts = (of_classes, of_classes[0], of_classes[5])
        return tuple(part[part > -1].mean() if (part > -1).any() else math.nan for part in parts)

    return figures(precision), {label: figures(precision[:, :, k]) for k, label in enumerate(labels)}


def _coco(images, labels):
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(len(images))],
        "categories": [{"id": label} for label in labels],
        "annotations": [
            {
                "image_id": image,
                "category_id": int(boxes.labels[k]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": float(boxes.scores[k]) if boxes.scores is not None else 0.0,
            }
            for image, boxes in enumerate(images)
            for k, (x1, y1, x2, y2) in enumerate(np.asarray(boxes.xyxy).tolist())
        ],
    }
    for number, annotation in enumerate(coco.dataset["annotations"], start=1):
        annotation["id"] = number
    coco.createIndex()
    return coco


def assert_coco_agrees(predicted, truth, **options):
    measured = mean_average_precision(predicted, truth, **options)
    of_all, by_class = coco_figures(predicted, truth, **options)

    np.testing.assert_allclose(measured[:3], of_all, rtol=1e-12)
    assert list(measured.by_class) == list(by_class)
    for label, figures in by_class.items():
        np.testing.assert_allclose(measured.by_class[label][:3], figures, rtol=1e-12)
    return measured


def images_of(boxes):
    return st.lists(st.tuples(boxes, boxes), min_size=1, max_size=4)


@settings(max_examples=60)
@given(images_of(detections()), st.sampled_from([1, 3, 100]))
def test_the_figures_are_those_of_pycocotools(images, max_detections):
    predicted, truth = zip(*images, strict=True)
    assert_coco_agrees(predicted, truth, max_detections=max_detections)


def noisy(scene, random):
    """What a middling detector would say: it moves boxes, mistakes digits, misses some and imagines others."""
    is_seen = random.random(len(scene.labels)) < 0.9
    xyxy = np.concatenate([scene.xyxy[is_seen] + random.normal(0, 1.5, (is_seen.sum(), 4)), [[1, 1, 9, 9]]])
    labels = np.append(scene.labels[is_seen], 0)
    is_mistaken = random.random(len(labels)) < 0.15
    return Detections(xyxy, np.where(is_mistaken, (labels + 1) % 10, labels), random.random(len(labels)))


@pytest.mark.parametrize("digits_of_scores", [15, 1, 0])
def test_the_figures_are_those_of_pycocotools_on_scenes_however_many_scores_are_equal(digits_of_scores):
    truth, random = scenes(40, seed=0), np.random.default_rng(0)
    predicted = [noisy(scene, random) for scene in truth]
    predicted = [boxes._replace(scores=boxes.scores.round(digits_of_scores)) for boxes in predicted]

    measured = assert_coco_agrees(predicted, truth)

    assert 0.1 < measured.map < measured.map_50 < 0.9
    assert sum(figures.num_truths for figures in measured.by_class.values()) == sum(len(s.labels) for s in truth)


def test_the_truth_itself_is_perfect_and_nothing_is_worth_nothing():
    truth = scenes(10, seed=1)
    assert mean_average_precision([Detections(s.xyxy, s.labels, np.ones(len(s.labels))) for s in truth], truth).map == 1
    assert mean_average_precision([Detections([], [], [])] * 10, truth)[:3] == (0, 0, 0)


def test_a_class_that_is_never_true_is_no_part_of_the_mean():
    everywhere = [[0, 0, SCENE_PX, SCENE_PX]]

    measured = mean_average_precision([Detections(everywhere * 2, [1, 9], [0.5, 0.9])], [Detections(everywhere, [1])])

    assert measured.map == 1
    assert math.isnan(measured.by_class[9].ap)
    assert measured.by_class[9].num_truths == 0
    assert list(measured.by_class) == [1, 9]


@pytest.mark.parametrize("images", [0, 2])
def test_without_any_truth_the_mean_is_nan(images):
    nothing = [Detections([], [], [])] * images
    assert all(math.isnan(figure) for figure in mean_average_precision(nothing, nothing)[:3])


def test_classes_may_have_names_and_boxes_no_class_at_all():
    box = [[0, 0, 9, 9]]
    assert mean_average_precision([Detections(box, ["dog"], [1])], [Detections(box, ["dog"])]).by_class["dog"].ap == 1
    assert mean_average_precision([Detections(box, scores=[1])], [Detections(box)]).by_class[0].ap == 1


def test_a_score_that_is_nan_ranks_last():
    box, elsewhere = [0, 0, 9, 9], [20, 20, 29, 29]
    found_last = Detections([box, elsewhere], [1, 1], [np.nan, 0.0])
    assert mean_average_precision([found_last], [Detections([box], [1])]).map == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("predicted", "truth", "problem"),
    [
        (Detections([[0, 0, 1, 1]], [1]), Detections([], []), "image 1: .*ranked by their scores"),
        (Detections([[0, 0, 1, 1]], [1], [0.5, 0.5]), Detections([], []), "image 1: scores have shape"),
        (Detections([[0, 0, 1, 1]], [1], [0.5]), Detections([[0, 0, 1, 1]]), "image 1: the truth has no labels"),
        (Detections([[0, 0, 1]], [1], [0.5]), Detections([], []), "image 1: boxes have shape"),
        (Detections([[0, 0, 1, 1]], ["1"], [0.5]), Detections([], []), "some images name classes by numbers"),
    ],
)
def test_what_is_wrong_is_told_with_the_image(predicted, truth, problem):
    right = Detections([[0, 0, 1, 1]], [1], [0.5])
    with pytest.raises(LogValueError, match=problem):
        mean_average_precision([right, predicted], [right, truth])


def test_images_and_options_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="1 and 0 images"):
        mean_average_precision([Detections([], [], [])], [])
    with pytest.raises(ConfigError, match="max_detections"):
        mean_average_precision([], [], max_detections=0)
