"""What an evaluation says of traced inferences, and how its results are named, kept and found."""

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest

from ml.core.errors import ConfigError, FormatError
from ml.detection.average_precision import mean_average_precision
from ml.detection.boxes import Detections
from ml.tracing.evaluator import Evaluator
from ml.tracing.reading import open_traces
from ml.tracing.sampling import Sample
from ml.tracing.selection import Selection
from tests.tracing.digit_traces import digit_traces
from tests.tracing.said import CLASSIFIER, answered, inference, keep, said, there

TRUE, FAR = [0, 0, 10, 10], [50, 50, 60, 60]
NOW = datetime(2026, 1, 2, 23, 59, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "traces.db"


def evaluator(file, name="fcos"):
    return Evaluator(name, "v1", database=file, wall_clock=NOW.timestamp)


def scenes():
    """One of each type of error; two have no truth, one is another dataset."""
    return [
        inference(said([TRUE], [3], [0.8]), there([TRUE], [3]), input_id="right"),
        inference(said([TRUE], [3], [0.6]), there([TRUE], [4]), input_id="class"),
        inference(said([[0, 0, 10, 4]], [3], [0.5]), there([TRUE], [3]), input_id="place"),
        inference(said([[0, 0, 10, 4]], [3], [0.4]), there([TRUE], [4]), input_id="both"),
        inference(said([TRUE, TRUE], [3, 3], [0.8, 0.3]), there([TRUE], [3]), input_id="twice"),
        inference(said([FAR, FAR], [3, 4], [0.9, math.nan]), there(), input_id="nothing there"),
        inference(said(), there([TRUE, FAR], [4, 5]), input_id="nothing seen"),
        inference(said([TRUE]), input_id="unlabelled"),
        inference(said(), input_id="also unlabelled"),
        inference(said([TRUE]), there([FAR]), input_id="train", dataset_type="train"),
    ]


def test_every_type_of_error_is_counted_once_in_all_and_by_class(file):
    keep(file, scenes())

    data = evaluator(file).request_evaluation().data

    assert data["errors"] == {
        "correct": 2,
        "classification": 1,
        "localisation": 1,
        "both": 1,
        "duplicate": 1,
        "background": 2,
        "missed": 3,  # one behind "both", which covers nothing
    }
    assert (data["num_inferences"], data["num_detections"], data["num_truths"]) == (7, 8, 7)
    assert (data["task"], data["num_unlabelled"], data["iou"]) == ("detection", 2, [0.5, 0.1])
    assert {label: of["errors"]["missed"] for label, of in data["classes"].items()} == {"3": 0, "4": 2, "5": 1}
    assert data["classes"]["3"]["errors"]["background"] == data["classes"]["4"]["errors"]["background"] == 1
    assert {label: of["num_truths"] for label, of in data["classes"].items()} == {"3": 3, "4": 3, "5": 1}
    assert data["confused"] == [[4, 3, 1]]


def test_the_worst_are_named_with_the_id_of_their_inference(file):
    keep(file, scenes())
    evaluation = evaluator(file)

    worst = evaluation.request_evaluation(options={"num_worst": 3}).data["worst"]

    assert [(sample["input_id"], sample["badness"]) for sample in worst] == [
        ("nothing seen", 2.0),
        ("both", pytest.approx(1.4)),
        ("nothing there", pytest.approx(0.9)),
    ]
    with open_traces(file) as traces:
        ids = {t.inference.input_id: t.id for t in traces.read(Selection("fcos", "v1", "val"))}
    assert [sample["id"] for sample in worst] == [ids[sample["input_id"]] for sample in worst]
    assert evaluation.request_evaluation(options={"num_worst": 0}).data["worst"] == []


def test_the_average_precision_of_a_real_detector_is_that_of_its_boxes(file):
    inferences = digit_traces(8, 60, seed=2)
    keep(file, inferences)
    shown = [i.output.shown() for i in inferences]

    data = evaluator(file).request_evaluation().data

    expected = mean_average_precision(
        [Detections(s.boxes, s.labels, s.scores) for s in shown], [i.truth for i in inferences]
    )
    assert (data["map"], data["map_50"], data["map_75"]) == pytest.approx(expected[:3])
    assert {int(label): of["ap"] for label, of in data["classes"].items()} == pytest.approx(
        {label: of.ap for label, of in expected.by_class.items()}
    )
    assert 0 < data["map"] < data["map_50"]


def test_what_has_no_figure_is_null(file):
    keep(file, [inference(said([TRUE]), there())])

    data = evaluator(file).request_evaluation().data

    assert (data["map"], data["classes"]["0"]["ap"], data["estimator"]) == (None, None, None)
    assert data["no_estimator"] == "no detection is right on the 1 images to learn from"
    json.dumps(data, allow_nan=False)


def test_what_cannot_be_evaluated_is_told_apart_from_what_is_not_there(file):
    keep(file, [inference(said([TRUE]), dataset_type="deploying", epoch=epoch) for epoch in (0, 1)])

    with pytest.raises(ConfigError, match=r"'val' .*There are: deploying \(epochs 0-1\)\."):
        evaluator(file).request_evaluation()
    with pytest.raises(ConfigError, match=r"1 inferences without a truth and none with one"):
        evaluator(file).request_evaluation(options={"dataset_type": "deploying"})
    with pytest.raises(ConfigError, match=r"There is no model 'fcso'\. There are: fcos\."):
        evaluator(file, "fcso").request_evaluation()


@pytest.mark.parametrize("method", ["default", "drift"])
def test_a_version_of_several_tasks_is_damage(file, method):
    keep(file, [inference(said([TRUE]), there(), input_id="a"), inference(answered(1, 0), 0, input_id="b")])

    with pytest.raises(FormatError, match="fcos v1 has inferences of several tasks"):
        evaluator(file).request_evaluation(method)


def test_a_classifier_has_an_accuracy_and_confused_classes(file):
    truths = [0, 0, 1, 2, 2]
    said_so = [answered(9, 0, 0), answered(0, 9, 0), answered(0, 9, 0), answered(0, 9, 0), answered(0, 0.5, 0)]
    keep(
        file,
        [inference(*each, input_id=str(n)) for n, each in enumerate(zip(said_so, truths, strict=True))],
        CLASSIFIER,
    )

    data = evaluator(file, "cnn").request_evaluation().data

    assert (data["task"], data["accuracy"]) == ("classification", 0.4)
    assert data["confused"] == [[2, 1, 2], [0, 1, 1]]
    assert data["errors"]["classification"] == 3
    assert [sample["input_id"] for sample in data["worst"]] == ["1", "3", "4"]
    assert "map" not in data


# names


def test_a_result_is_named_after_version_method_and_day_and_never_replaces_another(file):
    keep(file, scenes())
    evaluation = evaluator(file)

    results = [evaluation.request_evaluation(*given) for given in ((), (), ("drift",), ("default", "mine"))]

    assert [result.name for result in results] == [
        "fcos_v1_default_20260102",
        "fcos_v1_default_20260102-2",
        "fcos_v1_drift_20260102",
        "mine",
    ]
    with pytest.raises(ConfigError, match="There is a result 'mine'"):
        evaluation.request_evaluation(result_name="mine")
    assert evaluation.get_result("mine") == results[3]
    with pytest.raises(ConfigError, match="no result 'yours' of fcos v1"):
        evaluation.get_result("yours")


def test_results_are_listed_with_what_they_were_asked_with(file):
    keep(file, scenes())
    evaluation = evaluator(file)
    evaluation.request_evaluation(result_name="b", options={"num_worst": 1})
    evaluation.request_evaluation("drift", "a", n_epoch="all")

    listed = evaluation.list_results()

    assert list(listed.columns) == [
        "result_name",
        "method_name",
        "n_epoch",
        "created_at",
        "completed_at",
        "options",
    ]
    assert listed["result_name"].tolist() == ["a", "b"]
    assert listed["n_epoch"].isna().tolist() == [True, False]
    assert listed["options"].tolist() == [{}, {"num_worst": 1}]
    assert listed["created_at"].tolist() == listed["completed_at"].tolist() == [NOW, NOW]
    assert evaluation.list_results("b")["method_name"].tolist() == ["default"]
    assert evaluation.list_results(method_name="drift")["result_name"].tolist() == ["a"]
    assert Evaluator("fcos", "v2", database=file).list_results().empty


def test_the_latest_epoch_is_evaluated_and_listed(file):
    keep(file, [inference(said([TRUE]), there([TRUE]), epoch=epoch, input_id=f"{epoch}") for epoch in (1, 2)])
    evaluation = evaluator(file)

    evaluated = [evaluation.request_evaluation(n_epoch=epoch) for epoch in (1, "latest", "all")]

    assert [result.epoch for result in evaluated] == [1, 2, None]
    assert [result.data["num_inferences"] for result in evaluated] == [1, 1, 2]
    names = [result.name for result in evaluated]
    assert evaluation.list_results()["result_name"].tolist() == names[1:]
    assert evaluation.list_results(n_epoch=1)["result_name"].tolist() == [names[0], names[2]]
    assert evaluation.list_results(n_epoch="all")["result_name"].tolist() == names


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"method_name": "magic"}, "no method 'magic'; there are default, drift"),
        ({"n_epoch": "newest"}, "n_epoch"),
        ({"options": {"iou": 1}}, "no option 'iou'"),
        ({"method_name": "drift", "options": {"num_worst": 1}}, "no option 'num_worst'; there are dataset_type"),
        ({"options": {"num_worst": -1}}, "num_worst is a whole number"),
        ({"options": {"seed": True}}, "seed is a whole number"),
        ({"options": {"foreground_iou": "0.5"}}, "foreground_iou is a number"),
        ({"options": {"background_iou": 0.5}}, "below that of the foreground"),
        ({"options": {"dataset_type": 3}}, "dataset_type is a text"),
        ({"options": {"dataset_type": "test"}}, "none with one, with the dataset type 'test'"),
        ({"result_name": ""}, "1 to 255 characters"),
        ({"result_name": "x" * 256}, "1 to 255 characters"),
        ({"n_epoch": 7}, "n_epoch=7"),
    ],
    ids=str,
)
def test_senseless_arguments_are_refused_and_nothing_is_kept(file, given, problem):
    keep(file, scenes())
    evaluation = evaluator(file)

    with pytest.raises(ConfigError, match=problem):
        evaluation.request_evaluation(**given)

    assert evaluation.list_results(n_epoch="all").empty


def test_a_database_that_is_not_there_is_not_made(file):
    with pytest.raises(FileNotFoundError):
        evaluator(file).request_evaluation()
    assert not file.exists()


# the sample


def test_a_sample_is_bounded_does_not_depend_on_the_order_and_favours_nobody():
    names = [f"{number:05}" for number in range(4000)]
    samples = []
    for order in (names, names[::-1]):
        sample = Sample(1000)
        for name in order:
            sample.add(name, int(name))
        samples.append(sample.items())

    assert samples[0] == samples[1] == sorted(samples[0])
    assert len(samples[0]) == 1000
    assert np.mean(samples[0]) == pytest.approx(2000, abs=4 * 4000 / math.sqrt(12 * 1000))
    small = Sample(10)
    small.add("a", 1)
    assert small.items() == [1]
