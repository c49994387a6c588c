"""The probability that a detection is wrong: learnt of a real detector, stored as numbers, applied by numpy alone."""

import copy
import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ml.core.errors import ConfigError, FormatError, LogValueError
from ml.tracing.estimator import estimator_of, load_estimator
from ml.tracing.evaluator import Evaluator
from ml.tracing.examples import example_of, lacking, parts_by_image, parts_of
from ml.tracing.fitting import fit, fit_pipeline, rows_of
from ml.tracing.judging import judge
from ml.tracing.reading import Result, Traced, open_traces
from ml.tracing.scoring import auroc, calibration_error
from ml.tracing.selection import Selection
from ml.tracing.used_features import UsedFeature
from tests.tracing.digit_traces import classifications, digit_traces
from tests.tracing.said import CLASSIFIER, DETECTOR, answered, keep, said
from tests.tracing.tiny import detector, images, logger_of, traced, tracer_of

OF = Selection("fcos", "v1")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
EPOCHS = 8  # some seconds: the detector is right half of the time


def examples_of(inferences):
    read = [Traced(inference.input_id, "run", 0, inference) for inference in inferences]
    return [example_of(each, judge(each)) for each in read]


@pytest.fixture(scope="module")
def examples():
    return examples_of(digit_traces(EPOCHS, 400, seed=2))


@pytest.fixture(scope="module")
def estimator(examples):
    return fit(examples, parts_of(len(examples), 0), task="detection")


def test_wrong_detections_of_a_real_detector_are_told_from_right_ones_on_scenes_that_nothing_was_learnt_from(estimator):
    inferences = digit_traces(EPOCHS, 400, seed=3)
    is_wrong = np.concatenate([example.is_wrong for example in examples_of(inferences)])

    estimated = np.concatenate([estimator.estimate(i.output, i.features) for i in inferences])

    assert auroc(is_wrong, estimated) > 0.7
    assert calibration_error(is_wrong, estimated) < 0.15
    assert estimator.quality.auroc > 0.65  # of 80 images alone
    assert estimator.quality.num_images == (240, 80, 80)


def test_the_numbers_say_what_scikit_learn_says(examples, estimator):
    parts = parts_of(len(examples), 0)

    fitted = fit_pipeline(examples, parts)
    rows = rows_of(fitted.features, examples, parts.to_test)
    decided = fitted.pipeline.decision_function(rows)

    expected = fitted.calibration.predict_proba(decided[:, None])[:, 1]
    assert len(rows) > 100
    np.testing.assert_allclose(estimator.probabilities(rows), expected, rtol=1e-12)


def test_what_is_estimated_is_what_was_learnt_row_by_row(examples, estimator):
    inferences = digit_traces(EPOCHS, 400, seed=2)
    chosen = parts_of(len(examples), 0).to_test[:20]

    together = estimator.probabilities(rows_of(estimator.features, examples, chosen))

    one_by_one = [estimator.estimate(inferences[i].output, inferences[i].features) for i in chosen]
    np.testing.assert_array_equal(np.concatenate(one_by_one), together.astype(np.float32))


def test_what_is_stored_and_read_back_estimates_the_same_to_the_last_bit(estimator):
    (inference, *_) = digit_traces(EPOCHS, 1, seed=4)

    read = estimator_of(json.loads(json.dumps(estimator.to_json(), allow_nan=False)))

    np.testing.assert_array_equal(
        read.estimate(inference.output, inference.features), estimator.estimate(inference.output, inference.features)
    )
    assert read.quality == estimator.quality


def test_learning_again_gives_the_same_and_touches_no_random_state(examples, estimator):
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    again = fit(examples, parts_of(len(examples), 0), task="detection")

    assert again.to_json() == estimator.to_json()
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_all_detections_of_an_image_are_in_one_part():
    parts = parts_of(11, 3)

    assert sorted(np.concatenate(parts).tolist()) == list(range(11))
    assert [len(part) for part in parts] == [7, 2, 2]
    assert parts_of(11, 4).to_learn.tolist() != parts.to_learn.tolist()


def test_an_image_that_is_there_in_several_epochs_is_in_one_part():
    names = ["a", "b", "c", "d", "e"] * 3

    parts = parts_by_image(names, 0)

    assert sorted(np.concatenate(parts).tolist()) == list(range(15))
    assert [len({names[index] for index in part}) for part in parts] == [3, 1, 1]
    assert [len(part) for part in parts] == [9, 3, 3]


def test_an_image_without_detections_has_no_probabilities(estimator):
    assert estimator.estimate(said(logits=np.zeros((0, 11))), {"neck": np.zeros(64, np.float16)}).shape == (0,)


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ({}, "no feature 'neck'"),
        ({"neck": np.zeros(63, np.float16)}, "64 numbers a row, got 63"),
    ],
    ids=["missing", "shape"],
)
def test_a_feature_that_is_not_as_it_was_is_named(estimator, features, problem):
    with pytest.raises(LogValueError, match=problem):
        estimator.estimate(said([[0, 0, 1, 1]], logits=[[0.0] * 11]), features)


def test_another_task_is_refused(estimator):
    with pytest.raises(LogValueError, match="this is classification"):
        estimator.estimate(answered(1, 2), {})


def test_strange_output_has_a_probability_all_the_same(estimator):
    strange = said(
        [[np.nan] * 4, [0, 0, np.inf, 1], [5, 5, 1, 1]], scores=[np.nan, np.inf, 0], logits=[[np.nan] * 11] * 3
    )

    found = estimator.estimate(strange, {"neck": np.full(64, np.nan, np.float16)})

    assert found.shape == (3,)
    assert ((found >= 0) & (found <= 1)).all()


def test_where_all_is_right_nothing_can_be_learnt_and_it_is_said_why(examples):
    right = [example._replace(is_wrong=np.zeros_like(example.is_wrong)) for example in examples]

    assert lacking(right, parts_of(400, 0)) == "no detection is wrong on the 240 images to learn from"
    assert lacking([], parts_of(0, 0)) == "no detection is wrong on the 0 images to learn from"
    assert lacking(examples, parts_of(400, 0)) is None


def test_rows_of_boxes_are_looked_at_box_by_box_and_features_of_changing_size_not_at_all(examples):
    random = np.random.default_rng(0)
    given = [
        example._replace(
            features={
                "roi": np.where(example.is_wrong[:, None], 1, 0) + random.normal(0, 0.3, (len(example.is_wrong), 5)),
                "size differs": np.zeros(3 + number % 2, np.float16),
            }
        )
        for number, example in enumerate(examples)
    ]

    found = fit(given, parts_of(len(given), 0), task="detection")

    assert [(used.alias, used.per_detection, used.size) for used in found.features] == [("roi", True, 5)]
    assert found.quality.auroc > 0.99


def test_a_large_feature_is_multiplied_with_its_components_and_the_same_for_all_detections_of_an_image():
    used = UsedFeature("neck", False, 3, np.array([1.0, 0.0, 0.0]), np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]))

    found = used.columns({"neck": np.array([[2, 3, 4]], np.float16)}, 2)

    assert found.tolist() == [[4.0, 8.0], [4.0, 8.0]]


def test_the_components_are_those_along_which_a_feature_differs_most(examples):
    random = np.random.default_rng(0)
    direction = random.normal(size=40)
    given = [
        example._replace(features={"neck": (random.normal() * direction).astype(np.float32)}) for example in examples
    ]

    (used,) = fit_pipeline(given, parts_of(len(given), 0)).features

    assert used.components.shape == (16, 40)
    assert abs(used.components[0] @ direction) == pytest.approx(np.linalg.norm(direction), rel=1e-4)


# as a result in a database


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    file = tmp_path_factory.mktemp("traces") / "traces.db"
    keep(file, digit_traces(EPOCHS, 150, seed=2))
    return file, Evaluator("fcos", "v1", database=file).request_evaluation(result_name="first")


def test_an_evaluation_keeps_an_estimator_that_a_logger_finds(evaluated):
    file, result = evaluated

    with open_traces(file) as traces:
        found = load_estimator(traces, DETECTOR, "first", "latest")
        assert load_estimator(traces, DETECTOR, "first", 0) is not None
        with pytest.raises(ConfigError, match="is one of epoch 0, and the model is one of epoch 7"):
            load_estimator(traces, DETECTOR, "first", 7)
        assert load_estimator(traces, DETECTOR, "second") is None

    assert found.to_json() == result.data["estimator"]
    assert found.quality.num_images == (90, 30, 30)
    assert found.quality.auroc > 0.6
    assert found.quality.calibration_error is not None


def test_a_result_without_an_estimator_has_none(tmp_path):
    keep(tmp_path / "traces.db", digit_traces(EPOCHS, 1, seed=2))
    with open_traces(tmp_path / "traces.db") as traces:
        for number, data in enumerate(({"estimator": None}, {}, [1], None)):
            result = Result(f"other-{number}", "default", 0, NOW, NOW, {}, data)
            traces.save_result(OF, result)
            assert load_estimator(traces, OF, result.name) is None


def test_a_logger_says_why_a_result_has_no_estimator(tmp_path):
    with tracer_of(detector(), tmp_path) as tracer:
        tracer(images(1), None)
        tracer.wait_for_save()
    with open_traces(tmp_path / "traces.db") as traces:
        data = {"estimator": None, "no_estimator": "no detection is right"}
        traces.save_result(tracer.identity, Result("first", "default", 0, NOW, NOW, {}, data))

    with pytest.raises(ConfigError, match=r"'first' has no estimator of errors: no detection is right\. Leave"):
        logger_of(detector(), tmp_path, result_name="first")


def test_errors_of_a_classifier_are_estimated_too(tmp_path):
    file = tmp_path / "traces.db"
    keep(file, classifications(600, seed=0), CLASSIFIER)
    Evaluator("cnn", "v1", database=file).request_evaluation(result_name="first")
    with open_traces(file) as traces:
        estimator = load_estimator(traces, CLASSIFIER, "first")

    later = classifications(400, seed=1)
    is_wrong = np.array([i.output.logits.argmax() != i.truth for i in later])
    estimated = np.concatenate([estimator.estimate(i.output, i.features) for i in later])

    assert estimated.shape == (400,)
    assert auroc(is_wrong, estimated) > 0.7
    assert calibration_error(is_wrong, estimated) < 0.1


def test_applying_loads_no_scikit_learn():
    source = "import sys, ml.tracing.estimator, ml.tracing.evaluator; sys.exit('sklearn' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


# what somebody else wrote


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("format",), "1"),
        (("task",), "segmentation"),
        (("task",), ["detection"]),
        (("task",), "classification"),
        (("evidence",), ["score"]),
        (("mean",), [0.0]),
        (("mean", 0), "0.5"),
        (("mean", 0), "NaN"),
        (("mean", 0), float("nan")),
        (("mean", 0), True),
        (("mean", 0), [0.0]),
        (("mean", 0), 10**400),
        (("scale", 0), 0.0),
        (("scale", 0), -1.0),
        (("coefficients",), {"0": 1.0}),
        (("coefficients", 3), None),
        (("intercept",), "Infinity"),
        (("slope",), None),
        (("offset",), [1]),
        (("features",), None),
        (("features",), [1]),
        (("features", 0, "size"), 2**40),
        (("features", 0, "size"), -1),
        (("features", 0, "alias"), 3),
        (("features", 0, "per_detection"), 1),
        (("features", 0, "components"), [[1.0, 2.0], [3.0]]),
        (("features", 0, "components"), "components"),
        (("features", 0, "center"), []),
        (("quality",), None),
        (("quality", "num_images"), [1, 2]),
        (("quality", "num_detections"), -1),
        (("quality", "auroc"), "high"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else f"{value!r:.20}",
)
def test_numbers_that_are_none_are_a_format_error(estimator, path, value):
    data = copy.deepcopy(estimator.to_json())
    node = data
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value

    with pytest.raises(FormatError):
        estimator_of(data)


@pytest.mark.parametrize("data", [None, [], "x", 3, {}, {"format": 1}], ids=repr)
def test_what_is_no_estimator_at_all_is_a_format_error(data):
    with pytest.raises(FormatError):
        estimator_of(data)


def test_a_newer_format_is_named(estimator):
    with pytest.raises(FormatError, match="format 2, and this software knows 1"):
        estimator_of({**estimator.to_json(), "format": 2})


def test_numbers_beyond_all_reason_give_a_probability_and_no_warning(estimator, recwarn):
    data = estimator.to_json()
    data["coefficients"] = [1e308] * len(data["coefficients"])
    (inference,) = digit_traces(EPOCHS, 1, seed=4)

    found = estimator_of(data).estimate(inference.output, inference.features)

    assert ((found >= 0) & (found <= 1)).all()
    assert not recwarn.list


# the two figures


@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_the_curve_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    is_wrong, probability = random.random(200) < 0.3, random.integers(0, 20, 200) / 20  # many are equal

    assert auroc(is_wrong, probability) == pytest.approx(roc_auc_score(is_wrong, probability))
    assert auroc(np.ones(3, bool), probability[:3]) is None


def test_the_calibration_error_is_the_distance_from_the_share_of_errors():
    is_wrong = np.array([True, False, False, False, True, True])
    probability = np.array([0.25, 0.25, 0.25, 0.25, 0.9, 1.0])

    assert calibration_error(is_wrong, probability) == pytest.approx(0.1 / 6)
    assert calibration_error(is_wrong[:4], probability[:4]) == 0
    assert calibration_error(is_wrong[:0], probability[:0]) is None


# from a tracer to a logger


def test_what_a_tracer_kept_lets_a_logger_estimate_errors_in_production(tmp_path):
    model, random = detector(), np.random.default_rng(0)
    shown = images(120)
    with torch.no_grad(), tracer_of(model, tmp_path) as tracer:
        for start in range(0, 120, 20):
            batch = shown[start : start + 20]
            truth = []
            for found in model(batch):
                count = random.integers(len(found["boxes"]) + 1)
                truth.append({"boxes": found["boxes"][:count], "labels": found["labels"][:count]})
            tracer(batch, truth, dataset_type="val")
    Evaluator("tiny", "v1", database=tmp_path / "traces.db").request_evaluation(result_name="first")

    with torch.no_grad(), logger_of(model, tmp_path, result_name="first") as logger:
        logger(images(5, seed=1))

    deployed = traced(tmp_path, dataset_type="deploying")
    assert len(deployed) == 5
    for inference in deployed:
        probability = inference.error_probability
        assert probability.shape == (len(inference.output.shown()),)
        assert ((probability > 0) & (probability < 1)).all()
