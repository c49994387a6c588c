import csv
import io
import json

import numpy as np
import pytest

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.samples import KEY_NAMES, PREDICTED_NAMES, TRUTH_NAMES
from ml.evaluation.table import Table
from ml.evaluation.values import Boxes, Image

HOSTILE = "\x1b]0;owned\x07\u202e<script>"
BEFORE, AFTER = ["cat", "dog", "cat", "dog"], ["cat", "cat", "dog", HOSTILE]


@pytest.fixture
def store(tmp_path):
    artifacts = Artifacts(tmp_path / "evaluation", run_id="demo")
    data = Table(["image", "label", "width"])
    for number, label in enumerate(["cat", "cat", "cat", "dog"]):
        data.add_data(Image(np.full((4, 4), 60 * number, np.uint8)), label, number / 2)
    artifacts.publish("val", {"val_data": data}, type="dataset")
    for epoch, predicted in enumerate([BEFORE, AFTER]):
        table = Table(["sample", "pred"])
        for row, name in zip(data.get_index(), predicted, strict=True):
            table.add_data(row, name)
        artifacts.publish("pred", {"eval_data": table}, type="evaluation", aliases=[f"epoch_{epoch}"])
    return artifacts


def test_two_versions_are_compared_in_text(mlog, store):
    said = mlog("eval", "diff", "pred:epoch_0", "pred", "--by", "width", "--bins", 2)

    assert (said.status, said.err) == (0, "")
    lines = [line.split() for line in said.out.splitlines()]
    assert said.out.splitlines()[:6] == [
        "pred:v0 and pred:v1: 4 samples in both",
        "  accuracy  0.7500 to 0.5000, -0.2500",
        "  right to wrong  2",
        "  wrong to right  1",
        "  still wrong  0",
        "  still right  1",
    ]
    for row in (
        ["dog", "1", "1.0000", "0.0000", "-1.0000"],
        ["cat", "cat", "2", "2", "+0"],
        ["0", "to", "0.5", "2", "0.5000", "1.0000", "+0.5000", "0", "1"],
        ["val:v0/val_data#2", "cat", "cat", "dog"],
    ):
        assert (row in lines) == (row[-1] != "+0")  # what did not change is not said
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out)


def test_json_has_everything_and_csv_a_line_for_each_sample(mlog, store):
    found = json.loads(mlog("eval", "diff", "pred:v0", "pred", "--to", "json").out)
    lines = list(csv.DictReader(io.StringIO(mlog("eval", "diff", "pred:v0", "pred", "-p", "csv").out)))

    assert found["changes"] == {"right to wrong": 2, "wrong to right": 1, "still wrong": 0, "still right": 1}
    assert found["value"] == {"before": 0.75, "after": 0.5}
    assert found["columns"] == {"key": "sample", "truth": "label", "predicted": "pred"}
    assert {"truth": "dog", "predicted": HOSTILE, "before": 0, "after": 1} in found["confusion"]
    assert found["classes"][0] == {
        "class": "cat", "support": {"before": 3, "after": 3}, "accuracy": {"before": 2 / 3, "after": 2 / 3}
    }  # fmt: skip
    assert [line["change"] for line in lines] == ["still right", "wrong to right", "right to wrong", "right to wrong"]
    assert lines[2] == {
        "sample": "val:v0/val_data#2", "change": "right to wrong", "truth": "cat", "before": "cat", "after": "dog"
    }  # fmt: skip
    assert [one["sample"] for one in found["by_sample"]] == [line["sample"] for line in lines]


def test_samples_that_one_version_lacks_are_told(mlog, store):
    table = Table(["sample", "pred"])
    table.add_data(store.get("val").table().get_index()[1], "cat")
    store.publish("pred", {"eval_data": table}, type="evaluation")

    said = mlog("eval", "diff", "pred:v1", "pred", "--fail-if-worse", "1")

    assert said.status == 1
    assert "  only before  3: val:v0/val_data#0, val:v0/val_data#2, val:v0/val_data#3" in said.out
    assert said.out.splitlines()[-1] == "worse: pred:v2 lacks 3 samples"
    listed = json.loads(mlog("eval", "diff", "pred", "pred:v1", "--to", "json").out)
    assert len(listed["only_after"]) == 3
    assert [one["change"] for one in listed["by_sample"]].count("only after") == 3


def test_the_exit_status_says_whether_it_is_worse(mlog, store):
    for most, status in (("0.2", 1), ("0.25", 0), ("1", 0)):
        said = mlog("eval", "diff", "pred:v0", "pred:v1", "--fail-if-worse", most)
        assert said.status == status
        assert ("worse: accuracy fell by more than 0.2" in said.out) == bool(status)
    assert mlog("eval", "diff", "pred:v1", "pred:v0", "--fail-if-worse", "0").status == 0
    assert mlog("eval", "diff", "pred:v0", "pred:v1", "--fail-if-worse", "0", "-p", "csv").status == 1


def test_a_report_is_one_file_of_its_own(mlog, store, tmp_path):
    said = mlog("eval", "report", "pred", "--by", "width")

    assert (said.status, said.out, said.err) == (0, "pred.html\n", "")
    text = (tmp_path / "pred.html").read_text()
    assert text.count("<img ") == 4
    assert "Slices by width" in text
    assert "\x1b" not in text
    assert (tmp_path / "pred.html").stat().st_mode & 0o777 == 0o600
    said = mlog("eval", "report", "pred", "-o", "last.html", "--last", 1, "--max-samples", 2)
    assert said.out.splitlines() == ["last.html", "It shows the last 1 of 2 versions; --last shows more."]
    assert (tmp_path / "last.html").read_text().count("<img ") == 2


def test_boxes_are_judged_by_the_thresholds(mlog, tmp_path):
    artifacts = Artifacts(tmp_path / "evaluation")
    for score in (0.9, 0.2):
        table = Table(["id", "truth", "predicted"])
        table.add_data(1, Boxes([[0, 0, 10, 10]], ["a"]), Boxes([[0, 0, 10, 8]], ["a"], [score]))
        artifacts.publish("found", {"found": table}, type="evaluation")

    def said(*more):
        return json.loads(mlog("eval", "diff", "found:v0", "found", "--to", "json", *more).out)

    assert said()["changes"]["right to wrong"] == 1
    assert said("--score", 0.1)["changes"]["still right"] == 1
    assert said("--score", 0.1, "--iou", 0.9)["changes"]["still wrong"] == 1
    assert (said()["metric"], said()["value"]) == ("mAP", {"before": pytest.approx(0.7), "after": pytest.approx(0.7)})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["diff", "pred:v0", "pred:v7"], "There is no pred:v7"),
        (["diff", "pred", "pred", "--key", "row"], "no column 'row'. There is 'sample', 'pred'"),
        (["diff", "pred", "pred", "--by", "image"], "not by values of kind image"),
        (["diff", "pred", "pred", "--fail-if-worse", "nan"], "a part of 1 such as 0.01"),
        (["diff", "pred", "pred", "--limit", "-1"], "--limit"),
        (["diff", "pred", "pred", "--table", "x"], "no table 'x'"),
        (["diff", "val", "val", "--key", "image"], "Which column of val:v0 is the prediction? Say --predicted, one of"),
        (
            ["diff", "odd", "odd", "--key", "width"],
            "column of odd:v0 is the truth of 'pred'? Say --truth, one of 'width'",
        ),
        (["report", "odd", "--truth", "other"], "says which sample a row is about? Say --key, one of 'width', 'other'"),
        (["report", "pred", "--key", "label"], "both about label cat. Say --key, a column that tells samples apart"),
        (
            ["diff", "odd", "pred", "--key", "width", "--truth", "pred"],
            "no sample in common. Say --key, a column that tells samples",
        ),
        (["diff", "pred", "pred", "--iou", "2"], "--iou takes a part of 1 such as 0.5, got 2"),
        (["report", "pred", "--score", "nan"], "--score takes a number, got nan"),
        (["diff", "pred", "pred", "--by", "width", "--bins", "0"], "--bins takes 1 or more, got 0"),
        (["report", "pred", "--last", "0"], "--last takes 1 or more"),
        (["report", "nobody"], "no artifact 'nobody'"),
        (["report", "pred", "--store", "absent"], "no directory absent"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(mlog, store, arguments, told):
    odd = Table(["width", "other", "pred"])
    odd.add_data(7.0, "cat", "cat")
    store.publish("odd", {"eval_data": odd}, type="evaluation")

    said = mlog("eval", *arguments)

    assert (said.status, said.out) == (2, "")
    assert told in said.err
    assert said.err.count("\n") == 1


def test_the_help_lists_all_names_by_which_columns_are_found(mlog):
    words = mlog("eval", "diff", "--help").out.replace(",", " ").split()

    assert {*KEY_NAMES, *TRUTH_NAMES, *PREDICTED_NAMES} <= set(words)
