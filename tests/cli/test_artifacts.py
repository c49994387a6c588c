import json
import os

import numpy as np
import pytest

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.blobs import Blobs
from ml.evaluation.table import Table
from ml.evaluation.values import Image
from ml.testing import FakeClock

HOSTILE = "\x1b]0;owned\x07\u202e<script>"
NOW_S = 1_767_355_200.0  # 2026-01-02 12:00:00


@pytest.fixture
def clock():
    return FakeClock(NOW_S)


@pytest.fixture
def artifacts(tmp_path, clock):
    return Artifacts(tmp_path / "evaluations", run_id="run-1", wall_clock=clock)


@pytest.fixture
def published(artifacts, clock):
    data = Table(["image", "label"])
    for number in range(4):
        data.add_data(Image(np.full((2, 2, 3), number, np.uint8)), "cat")
    truth = artifacts.publish("val", {"val_data": data}, type="dataset")
    for epoch, loss in enumerate([0.5, 0.25, 0.75]):
        clock.advance(60)
        table = Table(["row", "score"])
        for index in truth.table().get_index():
            table.add_data(index, epoch + 0.5)
        artifacts.publish(
            "pred", {"eval_data": table}, type="evaluation", aliases=[f"epoch_{epoch}"],
            metadata={"epoch": epoch, "model": "small"}, metrics={"loss": loss}, best=("loss", "min"),
        )  # fmt: skip
    return artifacts


def test_versions_are_listed_a_line_each(mlog, published):
    said = mlog("artifacts", "ls", "evaluations")

    head, *rows = said.out.splitlines()
    assert (said.status, said.err) == (0, "")
    assert head.split() == ["version", "type", "aliases", "rows", "size", "metrics", "run", "time", "(UTC)"]
    assert [row.split()[0] for row in rows] == ["pred:v0", "pred:v1", "pred:v2", "val:v0"]
    assert rows[1].split()[1:5] == ["evaluation", "best", "epoch_1", "4"]
    assert rows[1].split()[-4:] == ["loss=0.2500", "run-1", "2026-01-02", "12:02:00"]
    assert "latest epoch_2" in rows[2]


def test_one_artifact_is_listed_alone_and_an_absent_one_is_told_with_what_is_there(mlog, published):
    assert [row.split()[0] for row in mlog("artifacts", "ls", "evaluations", "val").out.splitlines()[1:]] == ["val:v0"]
    said = mlog("artifacts", "ls", "evaluations", "vla")
    assert said.status == 2
    assert "no artifact 'vla'. Those there: 'pred', 'val'" in said.err


def test_json_is_strict_and_has_the_same(mlog, published):
    listed = json.loads(mlog("artifacts", "ls", "evaluations", "--json").out, parse_constant=pytest.fail)

    assert [one["ref"] for one in listed] == ["pred:v0", "pred:v1", "pred:v2", "val:v0"]
    assert listed[1]["metrics"] == {"loss": 0.25}
    assert listed[1]["aliases"] == ["best", "epoch_1"]
    assert listed[3]["rows"] == {"val_data": 4}


def test_a_version_is_shown_by_any_of_its_names(mlog, published):
    texts = {mlog("artifacts", "show", "evaluations", f"pred:{name}").out for name in ("best", "epoch_1", "v1")}

    assert len(texts) == 1
    [text] = texts
    assert text.splitlines()[0] == "pred:v1  evaluation"
    for line in (
        "  aliases     best, epoch_1", "  made of     val:v0", "  logged by   run-1", "  metrics     loss=0.2500",
        '  metadata    {"epoch": 1, "model": "small"}', "  row     reference  val:v0/val_data",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert mlog("artifacts", "show", "evaluations", "val").out.splitlines()[0] == "val:v0  dataset"
    shown = json.loads(mlog("artifacts", "show", "evaluations", "val", "--json").out, parse_constant=pytest.fail)
    assert shown["used_by"] == ["run-1"]
    assert shown["tables"]["val_data"]["media_count"] == 4


def test_two_versions_are_compared(mlog, published):
    said = mlog("artifacts", "diff", "evaluations", "pred:v0", "pred")

    rows = [line.split() for line in said.out.splitlines()]
    assert said.status == 0
    assert rows[0] == ["pred:v0", "pred:v2"]
    assert ["metrics", "loss", "0.5000", "0.7500"] in rows
    assert ["metadata", "epoch", "0", "2"] in rows
    assert ["values", "of", "eval_data", "these", "others"] in rows
    assert said.out.splitlines()[-1] == "Their content differs."
    assert not any("model" in row for row in rows)
    assert mlog("artifacts", "diff", "evaluations", "pred:best", "pred:v1").out == "Their content is the same.\n"


def test_versions_of_other_kinds_are_compared_too(mlog, published):
    found = json.loads(mlog("artifacts", "diff", "evaluations", "val", "pred", "--json").out)

    assert {"what": "type", "before": "dataset", "after": "evaluation"} in found["differences"]
    assert {"what": "table val_data", "before": "4 rows", "after": None} in found["differences"]
    assert {"what": "made of val:v0", "before": None, "after": True} in found["differences"]
    assert found["same_content"] is False


def test_columns_and_rows_are_compared(mlog, artifacts):
    first, second = Table(["a", "b"]), Table(["a", "c"])
    first.add_data(1, "x")
    second.add_data(1.5, "x")
    second.add_data(2.5, "y")
    artifacts.publish("t", {"t": first}, type="x")
    artifacts.publish("t", {"t": second}, type="x")

    rows = [line.split() for line in mlog("artifacts", "diff", "evaluations", "t:v0", "t:v1").out.splitlines()]
    for row in (
        ["column", "of", "t", "a", "integer", "number"], ["column", "of", "t", "b", "string", "-"],
        ["column", "of", "t", "c", "-", "string"], ["rows", "of", "t", "1", "2"],
    ):  # fmt: skip
        assert row in rows


def test_fsck_says_that_all_is_whole_and_1_where_it_is_not(mlog, published):
    assert mlog("artifacts", "fsck", "evaluations").out == "Everything is whole; the sizes of all blobs are right.\n"
    assert mlog("artifacts", "fsck", "evaluations", "--deep").status == 0
    blob = next(entry for entry in published.store.list("blobs/") if entry.key.endswith(".png"))
    published.store.put(blob.key, b"x" * blob.size_bytes)

    assert mlog("artifacts", "fsck", "evaluations").status == 0
    said = mlog("artifacts", "fsck", "evaluations", "--deep")
    assert said.status == 1
    assert said.out.startswith(f"problem: {blob.key}: ")
    assert json.loads(mlog("artifacts", "fsck", "evaluations", "--deep", "--json").out)["whole"] is False


def test_fsck_of_a_directory_without_artifacts_says_so(mlog, tmp_path):
    (tmp_path / "other").mkdir()
    assert mlog("artifacts", "fsck", "other").out == "There is no artifact.\n"


def test_gc_removes_what_nothing_names_unless_it_is_dry(mlog, published):
    Blobs(published.store).put(b"left behind", "png")
    note = mlog("artifacts", "fsck", "evaluations")
    assert note.status == 0
    assert note.out.startswith("note: blobs/: no version names 1 blobs of 11 bytes")

    dry = mlog("artifacts", "gc", "evaluations", "--dry-run")
    assert dry.out.startswith("Would remove 1 blobs (11 B) and 0 marks")
    assert mlog("artifacts", "gc", "evaluations").out.startswith("Removed 1 blobs (11 B)")
    assert mlog("artifacts", "gc", "evaluations", "--json").out.split() == (
        ["{", '"dry_run":', "false,", '"blobs":', "0,", '"size_bytes":', "0,", '"marks":', "0,", '"kept":', "9", "}"]
    )
    assert mlog("artifacts", "fsck", "evaluations", "--deep").out.startswith("Everything is whole")


@pytest.mark.parametrize("grace", ["1", "d", "-1d", "1w", "1.5h", ""])
def test_a_grace_that_is_no_time_is_refused(mlog, published, grace):
    said = mlog("artifacts", "gc", "evaluations", f"--grace={grace}")

    assert said.status == 2
    assert "--grace is a time such as 90s" in said.err


def test_a_directory_that_is_not_there_is_not_made(mlog, tmp_path):
    for word, *rest in (["ls"], ["show", "val"], ["diff", "a", "b"], ["fsck"], ["gc"]):
        said = mlog("artifacts", word, "absent", *rest)
        assert said.status == 2
        assert "There is no directory absent. A store is" in said.err
    assert os.listdir(tmp_path) == []


def test_hostile_names_are_shown_and_do_nothing(mlog, artifacts):
    table = Table([HOSTILE])
    table.add_data(HOSTILE)
    for number in range(2):
        artifacts.publish(
            HOSTILE, {HOSTILE: table}, type=HOSTILE, aliases=[HOSTILE.replace(":", "")],
            metadata={HOSTILE: [HOSTILE, number]}, metrics={HOSTILE: float("nan")},
        )  # fmt: skip
    artifacts.store.delete(next(entry.key for entry in artifacts.store.list("blobs/")))

    for arguments in (["ls"], ["show", f"{HOSTILE}:v1"], ["diff", f"{HOSTILE}:v0", f"{HOSTILE}:v1"], ["fsck"]):
        for more in ([], ["--json"]):
            said = mlog("artifacts", arguments[0], "evaluations", *arguments[1:], *more)
            assert said.status == (arguments[0] == "fsck")
            assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)
