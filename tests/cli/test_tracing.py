import json
import shutil
from pathlib import Path

import pytest

from ml.tracing.record import Identity
from tests.tracing.said import keep
from tests.tracing.sights import CAMERA, HOSTILE, IDENTITY, LABELLED, WATCHED, labelled, make

BESIDE = Identity("detr", "v0", "b" * 64, "detection", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("traced") / "traces.db", has_picture=False)


@pytest.fixture
def database(made, tmp_path):
    """What the command, which stands in ``tmp_path``, finds as ``traces.db``."""
    return Path(shutil.copy(made, tmp_path))


def test_what_was_traced_is_listed_a_line_for_each_dataset_type(mlog, database):
    keep(database, [labelled(n, epoch=epoch) for epoch in (0, 1, 2, 4) for n in range(2)], BESIDE, fields=CAMERA)

    said = mlog("tracing", "ls", "traces.db")

    head, *rows = said.out.splitlines()
    assert (said.status, said.err) == (0, "")
    assert head.split() == [
        "model", "version", "task", "dataset", "type", "runs", "epochs", "inferences", "labelled", "seen", "an",
        "image", "last", "(UTC)",
    ]  # fmt: skip
    assert [row.split()[:9] for row in rows] == [
        ["detr", "v0", "detection", "val", "1", "0-2,", "4", "8", "8"],
        ["fcos", "v1", "detection", "val", "1", "0", f"{LABELLED}", f"{LABELLED}", "4"],
        ["fcos", "v1", "detection", "deploying", "1", "0", f"{WATCHED}", "0", "4"],
    ]


def test_files_of_ranks_are_counted_together(mlog, tmp_path):
    for rank in (0, 1):
        some = [labelled(n) for n in range(rank * 3, rank * 3 + 3)]
        keep(tmp_path / "traces.db", some, IDENTITY, fields=CAMERA, rank=rank, world_size=2, run="1" * 32)

    [listed] = json.loads(mlog("tracing", "ls", "traces.db", "--json").out)

    [group] = listed["inferences"]
    assert (group["num_inferences"], group["num_visible"], group["run"]) == (6, 24, "1" * 32)


def test_a_version_is_shown_in_numbers(mlog, database):
    said = mlog("tracing", "show", "traces.db", "--class-names", "cat,dog")

    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[0] == "fcos v1"
    for line in (
        "val, epoch 0", f"  inferences  {LABELLED}, {LABELLED} with a truth", "  quality     mAP 0.",
        "deploying, epoch 0", "  drift       alarm in", "judged  default      0  0.", "usual   drift        0      -",
    ):  # fmt: skip
        assert f"\n{line}" in said.out
    assert " dog " in said.out


def test_json_is_strict_and_says_what_an_evaluation_says(mlog, database):
    shown = json.loads(mlog("tracing", "show", "traces.db", "--json").out, parse_constant=pytest.fail)

    val, deploying = shown["surveys"]
    assert (val["num_labelled"], deploying["num_labelled"]) == (LABELLED, 0)
    assert [result["name"] for result in shown["results"]] == ["judged", "usual"]
    assert val["errors"]["map"] == shown["results"][0]["figure"]
    assert deploying["errors"] is None
    assert len(val["thresholds"]) == 99
    assert val["as_shown"]["precision"] < 1
    assert shown["estimator"]["auroc"] > 0.5
    assert deploying["windows"][0]["num_inferences"] == WATCHED


def test_a_dataset_type_an_epoch_and_a_run_choose(mlog, tmp_path):
    for number, epochs in enumerate([(0, 1), (1,)]):
        some = [labelled(n, epoch=epoch) for epoch in epochs for n in range(4 + number)]
        some += [labelled(n, dataset_type="train", epoch=1) for n in range(2)]
        keep(tmp_path / "traces.db", some, IDENTITY, fields=CAMERA, run=f"{number + 1}" * 32)

    def counts(*options):
        shown = json.loads(mlog("tracing", "show", "traces.db", "fcos", "v1", "--json", *options).out)
        return {one["dataset_type"]: one["num_inferences"] for one in shown["surveys"]}

    assert counts() == {"train": 2, "val": 5}
    assert counts("--dataset-type", "val") == {"val": 5}
    assert counts("--epoch", "0") == {"val": 4}
    assert counts("--epoch", "all") == {"train": 4, "val": 13}
    assert counts("--run", "11", "--dataset-type", "val") == {"val": 4}


def test_a_report_is_one_private_file_and_its_path_is_printed(mlog, database, tmp_path):
    said = mlog("tracing", "report", "traces.db", "fcos", "--class-names", "cat,dog,owl,bee", "--max-samples", "3")

    assert (said.status, said.out, said.err) == (0, "fcos_v1.html\n", "")
    page = tmp_path / "fcos_v1.html"
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text("utf-8")
    assert "owl" in text
    assert f"3 of {LABELLED} inferences" in text
    assert mlog("tracing", "report", "traces.db", "fcos", "v1", "-o", "deep.html").out == "deep.html\n"


def test_what_is_exported_can_be_imported(mlog, database, tmp_path):
    exported = mlog("tracing", "export", "traces.db", "--dataset-type", "val", "-o", "val.zip")
    imported = mlog("tracing", "import", "val.zip", "there")

    assert (exported.status, exported.err) == (0, "")
    assert exported.out.startswith("val.zip: ")
    assert (imported.status, imported.err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in imported.out.splitlines()[2:]}
    assert rows["inferences"] == [f"{LABELLED}", "there/inferences.parquet"]
    assert rows["detections"][0] == str(4 * LABELLED)
    assert (tmp_path / "there" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ls", "absent.db"), "absent.db"),
        (("show", "absent.db"), "absent.db"),
        (("show", "traces.db", "fcso"), "no model 'fcso'. There are: fcos."),
        (("report", "traces.db", "fcos", "v2"), "no version 'v2' of the model 'fcos'. There are: v1."),
        (("export", "traces.db", "--dataset-type", "tset"), "'tset'. There are: val, deploying."),
        (("show", "traces.db", "--epoch", "7"), "no inferences of epoch 7. There are: 0."),
        (("show", "traces.db", "--epoch", "last"), "--epoch is a number, 'latest' or 'all', got 'last'"),
        (("show", "traces.db", "--run", "ab"), f"begins with 'ab'. There are: {'1' * 32}, {'2' * 32}"),
        (("show", "traces.db", "--result", "best"), "no result 'best'. There are: judged, usual."),
        (("show", "traces.db", "--window", "0"), "A window has 1 image or more, got 0."),
        (("report", "traces.db", "--max-samples", "-1"), "--max-samples takes 0 or more, got -1"),
        (("import", "traces.db", "there"), "traces.db"),
        (("import", "absent.zip", "there"), "absent.zip"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_one_line_that_names_what_is_there(mlog, database, tmp_path, arguments, words):
    said = mlog("tracing", *arguments)

    assert (said.status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert not (tmp_path / "there").exists()


def test_of_several_models_one_has_to_be_named(mlog, tmp_path):
    keep(tmp_path / "traces.db", [labelled(0)], IDENTITY, fields=CAMERA)
    keep(tmp_path / "traces.db", [labelled(0)], BESIDE, fields=CAMERA)
    keep(tmp_path / "traces.db", [labelled(0)], BESIDE._replace(version_name="v9"), fields=CAMERA)

    assert "several models: name one. There are: detr, fcos." in mlog("tracing", "show", "traces.db").err
    assert "several versions: name one. There are: v0, v9." in mlog("tracing", "show", "traces.db", "detr").err
    assert mlog("tracing", "show", "traces.db", "fcos").status == 0


def test_a_hostile_text_is_visible_and_does_nothing(mlog, tmp_path):
    identity = Identity(f"m{HOSTILE}", f"v{HOSTILE}", "a" * 64, "detection", 4)
    keep(tmp_path / "traces.db", [labelled(n, dataset_type=f"val{HOSTILE}") for n in range(3)], identity, fields=CAMERA)

    for word in ("ls", "show", "report", "export"):
        said = mlog("tracing", word, "traces.db")
        assert (said.status, said.err) == (0, "")
        assert "\x1b" not in said.out
        assert "\u202e" not in said.out
    assert {path.suffix for path in tmp_path.iterdir()} >= {".html", ".zip"}


def test_a_database_that_is_damaged_is_told_in_one_line(mlog, tmp_path):
    (tmp_path / "traces.db").write_bytes(b"no database at all" * 100)

    for word in ("ls", "show", "report", "export"):
        said = mlog("tracing", word, "traces.db")
        assert (said.status, said.out) == (2, "")
        assert said.err.count("\n") == 1
        assert "traces.db" in said.err
