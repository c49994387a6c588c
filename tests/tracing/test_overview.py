from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ml.tracing.evaluator import Evaluator
from ml.tracing.findings import find
from ml.tracing.overview import epochs_text, overview, results_of
from ml.tracing.selection import Selection
from tests.tracing.said import CLASSIFIER, DETECTOR, answered, inference, keep, said, there

BOX = [[0, 0, 9, 9]]


def seen(number, *, dataset_type="val", epoch=0, truth=None, boxes=2):
    return inference(said(BOX * boxes), truth, input_id=f"{number}", dataset_type=dataset_type, epoch=epoch)


def test_what_a_database_counts_is_what_was_written(where):
    keep(where, [seen(n, epoch=n // 2, truth=there(BOX)) for n in range(4)], run="1" * 32)
    keep(where, [seen(n, dataset_type="deploying", boxes=n) for n in range(3)], run="2" * 32)
    keep(where, [inference(answered(0, 1, 0))], CLASSIFIER, run="3" * 32)

    there_is = overview([where])

    assert [(one.model_name, one.version_name, one.task, one.n_class) for one in there_is.versions] == [
        ("cnn", "v1", "classification", 3), ("fcos", "v1", "detection", 10),
    ]  # fmt: skip
    assert [group[2:8] for group in there_is.groups] == [
        ("1" * 32, "val", 0, 2, 2, 4),
        ("1" * 32, "val", 1, 2, 2, 4),
        ("2" * 32, "deploying", 0, 3, 0, 3),
        ("3" * 32, "val", 0, 1, 0, 1),
    ]
    for group in there_is.groups:
        assert group.mean_latency_s == 0.01
        assert isinstance(group.mean_latency_s, float)
        assert group.first == group.last == datetime.fromtimestamp(1e9, UTC)


def test_a_page_of_a_server_is_that_of_a_file(where):
    keep(where, [seen(n, truth=there(BOX)) for n in range(3)])
    Evaluator("fcos", "v1", database=where).request_evaluation(result_name="judged")

    found = find([where], Selection("fcos", "v1"), max_samples=2)

    assert [entry.name for entry in results_of([where], DETECTOR)] == ["judged"]
    [survey] = found.surveys
    assert survey.errors["errors"]["duplicate"] == 3
    assert found.figures["judged"] == survey.errors["map"]


def test_ranks_are_one_run_and_their_latency_is_the_mean_of_all(file):
    for rank, count in ((0, 1), (1, 3)):
        some = [replace(seen(f"{rank}-{n}"), latency_s=0.01 * (1 + rank)) for n in range(count)]
        keep(file, some, rank=rank, world_size=2, run="1" * 32)

    [group] = overview([file]).groups

    assert (group.run, group.num_inferences) == ("1" * 32, 4)
    assert group.mean_latency_s == pytest.approx(0.0175)


def test_epochs_that_follow_each_other_are_told_together():
    assert epochs_text([]) == ""
    assert epochs_text([3]) == "3"
    assert epochs_text([7, 0, 1, 2, 4, 5, 5]) == "0-2, 4-5, 7"
