"""Trackers: what they are told is kept as it was meant, whatever it comes in; read back with sqlite3 and json."""

import json
import math
import pickle
import sqlite3

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics

from ml.benchmarks import (
    Benchmark,
    ConfusionMatrixTracker,
    HyperparameterTracker,
    LossTracker,
    TimedTTATracker,
    TTATracker,
)
from ml.benchmarks.trackers import confusion_matrix
from ml.core.errors import ConfigError, LogValueError
from ml.core.run import RunContext
from ml.testing import FakeClock

CURVES = [
    [0.5, 0.25],
    (0.5, 0.25),
    np.array([0.5, 0.25], dtype=np.float16),
    [np.float32(0.5), np.array(0.25)],
    np.array([[0.5], [0.25]]),
    torch.tensor([0.5, 0.25], dtype=torch.bfloat16, requires_grad=True),
    [torch.tensor(0.5, requires_grad=True), torch.tensor([0.25])],
    pd.Series([0.5, 0.25], index=[7, 9]),
    pd.DataFrame({"loss": [0.5, 0.25]}),
    (loss for loss in [0.5, 0.25]),
]
NAMES = [
    "list",
    "tuple",
    "half array",
    "numpy scalars",
    "column",
    "bf16 tensor",
    "tensors",
    "series",
    "frame",
    "iterator",
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "benchmarks.db"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def benchmark(file, clock):
    with Benchmark(file, context=RunContext("", clock=clock)) as benchmark:
        yield benchmark


def rows(benchmark):
    """Description, type, value and data of what was tracked."""
    assert benchmark.flush()
    query = "SELECT description, type, value, data FROM measurements ORDER BY number"
    with sqlite3.connect(benchmark.db_file) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return [(*columns, json.loads(data)) for *columns, data in found]


# losses and accuracies


@pytest.mark.parametrize("losses", CURVES, ids=NAMES)
def test_losses_come_in_anything_that_holds_numbers_in_a_line(benchmark, losses):
    LossTracker(benchmark).track(losses, "training loss")

    assert rows(benchmark) == [("training loss", "loss", 0.25, [0.5, 0.25])]


def test_a_loss_that_is_not_finite_is_kept(benchmark):
    LossTracker(benchmark).track([1.0, math.inf, math.nan], "loss")
    LossTracker(benchmark).track([10**400, 2], "whole")

    assert [data for *_, data in rows(benchmark)] == [[1.0, "Infinity", "NaN"], ["Infinity", 2.0]]


def test_the_way_to_an_accuracy_is_its_best_until_each_epoch(benchmark):
    TTATracker(benchmark).track([math.nan, 0.5, 0.25, math.nan, 0.75], "accuracy")

    assert rows(benchmark) == [("accuracy", "tta", 0.75, ["NaN", 0.5, 0.5, 0.5, 0.75])]


def test_the_time_to_an_accuracy_is_kept_once_for_each_description(benchmark, clock):
    tracker = TimedTTATracker(benchmark, 0.95)
    for accuracy in (0.5, torch.tensor(0.96), 0.99):
        clock.advance(10.0)
        tracker.track(accuracy, "digits")
    tracker.track(np.array([0.95]), "other")

    first, second = rows(benchmark)
    assert first[:3] == ("digits", "timed_tta", 20.0)
    assert second == ("other", "timed_tta", 30.0, {"target": 0.95, "accuracy": 0.95})


@pytest.mark.parametrize("bad", [[], "abc", ["0.5"], [[0.5, 0.25]], [1j], None, [None], {"a": 1}, object()])
@pytest.mark.parametrize("tracker", [LossTracker, TTATracker])
def test_what_is_no_curve_is_refused_and_costs_no_other(benchmark, tracker, bad):
    tracker(benchmark).track([0.5], "before")
    with pytest.raises(LogValueError):
        tracker(benchmark).track(bad, "bad")
    with pytest.raises(LogValueError, match="description"):
        tracker(benchmark).track([0.5], None)
    tracker(benchmark).track([0.25], "after")

    assert [row[0] for row in rows(benchmark)] == ["before", "after"]


# hyperparameters


def test_each_trial_is_kept_as_soon_as_it_is_told_with_what_is_good(benchmark):
    with HyperparameterTracker(benchmark, "sweep", ["lr", "name"], "accuracy", low_means_good=False) as tracker:
        tracker.track({"lr": np.float64(0.1), "name": "adam", "accuracy": torch.tensor(0.5)})
        assert len(rows(benchmark)) == 1
        tracker.track({"lr": 0.2, "name": "sgd", "accuracy": math.nan, "seed": 3})

    first, second = rows(benchmark)
    sweep = first[3].pop("sweep")
    assert first == (
        "sweep",
        "hyperparameters",
        0.5,
        {"hyperparameters": {"lr": 0.1, "name": "adam"}, "target": "accuracy", "low_means_good": False},
    )
    assert second[2] is None  # NaN, on SQLite
    assert second[3]["hyperparameters"] == {"lr": 0.2, "name": "sgd", "seed": 3}
    assert second[3]["sweep"] == sweep
    assert json.loads(tracker.serialize()) == {
        "hyperparameters": ["lr", "name"],
        "target": "accuracy",
        "low_means_good": False,
        "trials": [
            {"lr": 0.1, "name": "adam", "accuracy": 0.5},
            {"lr": 0.2, "name": "sgd", "seed": 3, "accuracy": "NaN"},
        ],
    }


@pytest.mark.parametrize(
    "bad", [{"lr": 0.1}, {"loss": 1.0}, {"lr": 0.1, "loss": "low"}, {"lr": object(), "loss": 1}, [1]]
)
def test_a_trial_that_is_none_is_refused_and_costs_no_other(benchmark, bad):
    tracker = HyperparameterTracker(benchmark, "sweep", ["lr"], "loss")
    tracker.track({"lr": 0.1, "loss": 1.0})
    with pytest.raises(LogValueError), tracker:
        tracker.track(bad)

    assert [row[2] for row in rows(benchmark)] == [1.0]
    assert len(json.loads(tracker.serialize())["trials"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [("x", "lr", "loss"), ("x", [], "loss"), ("x", ["lr", "lr"], "loss"), ("x", ["lr"], "lr"), (1, ["lr"], "loss")],
)
def test_a_search_that_is_none_is_refused_when_it_begins(benchmark, arguments):
    with pytest.raises(ConfigError):
        HyperparameterTracker(benchmark, *arguments)


# confusion matrices


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, pd.Series])
def test_a_confusion_matrix_has_the_predicted_class_on_axis_0(benchmark, kind):
    y_true, y_pred = [0, 1, 1, 1, 2], [0, 0, 0, 1, 2]
    matrix = confusion_matrix(kind(y_true), kind(y_pred), [0, 1, 2])
    ConfusionMatrixTracker(benchmark).track(matrix, ["cat", "dog", "cow"], "animals")

    assert matrix[0][1] == 2  # two dogs were taken for cats
    assert rows(benchmark) == [
        ("animals", "confusion_matrix", None, {"matrix": matrix, "labels": ["cat", "dog", "cow"]}),
    ]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, pd.DataFrame])
def test_cells_are_numbers_of_any_kind_also_shares(benchmark, kind):
    ConfusionMatrixTracker(benchmark).track(kind([[0.75, 0.0], [0.25, 1.0]]), np.array(["a", "b"]), "x")

    assert rows(benchmark)[0][3]["matrix"] == [[0.75, 0], [0.25, 1]]


@pytest.mark.parametrize(
    ("matrix", "labels"),
    [
        ([[1, 2]], ["a", "b"]),
        ([[1, 2], [3]], ["a", "b"]),
        ([[1, 2], [3, 4]], ["a"]),
        ([1, 2], ["a", "b"]),
        ([], []),
        ([["1"]], ["a"]),
        ("[[1]]", ["a"]),
        ([[1]], "a"),
        ([[[1]], [[2]]], ["a", "b"]),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(benchmark, matrix, labels):
    with pytest.raises(LogValueError):
        ConfusionMatrixTracker(benchmark).track(matrix, labels, "x")
    assert rows(benchmark) == []


@pytest.mark.parametrize(
    ("y_true", "y_pred", "labels"), [([0], [0, 1], [0, 1]), ([0], [2], [0, 1]), ([0], [0], [0, 0])]
)
def test_classes_that_do_not_fit_are_refused(y_true, y_pred, labels):
    with pytest.raises(LogValueError):
        confusion_matrix(y_true, y_pred, labels)


# all of them


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (LossTracker, ([0.5, math.nan],)),
        (TTATracker, ([0.5, 0.25],)),
        (lambda benchmark: TimedTTATracker(benchmark, 0.5), (0.5,)),
        (ConfusionMatrixTracker, ([[1, 0], [0, 1]], ["a", "b"])),
    ],
)
def test_serialize_returns_the_json_that_track_keeps(benchmark, make, arguments):
    tracker = make(benchmark)
    tracker.track(*arguments, "x")

    assert isinstance(tracker.serialize(*arguments), bytes)
    assert json.loads(tracker.serialize(*arguments)) == rows(benchmark)[0][3]


@pytest.mark.parametrize("make", [LossTracker, TTATracker, ConfusionMatrixTracker])
def test_a_tracker_needs_a_benchmark_that_takes_values(benchmark, make):
    benchmark.flush()
    with pytest.raises(ConfigError, match="Benchmark"):
        make("benchmarks.db")
    with Benchmark(benchmark.db_file, mode="r") as reading, pytest.raises(ConfigError, match="reading"):
        make(reading)
    for target in (math.nan, "high", None):
        with pytest.raises(ConfigError, match="target_acc"):
            TimedTTATracker(benchmark, target)


# the defects of UMLAUT


def test_umlaut_two_tracks_with_one_description_are_both_kept_when_it_closes(file):
    with Benchmark(file) as benchmark:
        LossTracker(benchmark).track([0.5], "loss")
        LossTracker(benchmark).track([0.25], "loss")

    connection = sqlite3.connect(file)
    assert connection.execute("SELECT data FROM measurements").fetchall() == [("[0.5]",), ("[0.25]",)]


@pytest.mark.parametrize("tracker", [LossTracker, TTATracker])
def test_umlaut_a_list_is_taken_as_documented(benchmark, tracker):
    tracker(benchmark).track([1, 2], "x")

    assert rows(benchmark)[0][3] == [1.0, 2.0]


def test_umlaut_a_confusion_matrix_survives_labels_and_cells_of_any_look(benchmark):
    labels = ["a b", "a,b", "[0 1]", "\"'"]
    matrix = np.arange(16).reshape(4, 4) * 10**6
    ConfusionMatrixTracker(benchmark).track(matrix, labels, "x")

    assert rows(benchmark)[0][3] == {"matrix": matrix.tolist(), "labels": labels}


def test_umlaut_a_matrix_of_scikit_learn_is_turned_as_is_said(benchmark):
    y_true, y_pred, labels = [0, 1, 1, 1, 2], [0, 0, 0, 1, 2], [0, 1, 2]
    actual_by_predicted = metrics.confusion_matrix(y_true, y_pred, labels=labels)
    ConfusionMatrixTracker(benchmark).track(actual_by_predicted, labels, "x", axis_0="actual")

    assert rows(benchmark)[0][3]["matrix"] == confusion_matrix(y_true, y_pred, labels)
    assert rows(benchmark)[0][3]["matrix"] != actual_by_predicted.tolist()
    with pytest.raises(LogValueError, match="axis_0"):
        ConfusionMatrixTracker(benchmark).track(actual_by_predicted, labels, "x", axis_0="rows")


def test_umlaut_nothing_is_pickled(benchmark):
    for data in (LossTracker(benchmark).serialize([0.5]), TTATracker(benchmark).serialize([0.5])):
        with pytest.raises(pickle.UnpicklingError):
            pickle.loads(data)
