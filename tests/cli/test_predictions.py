import json
import os
import pty
import subprocess
import sys
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import pandas as pd
import pytest
from PIL import Image

from ml.io.store import open_store
from tests.cli.conftest import MLOG
from tests.predictions.records import HOSTILE, Records, box

WORDS_LOADED = """
import sys
from ml.cli.main import main
main(["predictions", "ls", "."])
print("loaded:", *sorted(sys.modules))
"""


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "kept")


def rows_of(text):
    return [line.split() for line in text.splitlines()]


# ls


def test_records_are_listed_a_line_each_by_time(mlog, records):
    records.classification(2)
    records.detection(1, box("face", 0.75), box("face", 0.5))
    records.detection(3, error_message="out of memory", latency_ms=None)

    said = mlog("predictions", "ls", "kept")

    head, *rows = said.out.splitlines()
    assert (said.status, said.err) == (0, "")
    assert head.split()[:5] == ["time", "(UTC)", "type", "model", "version"]
    assert [row[:23] for row in rows] == [f"2026-01-02 12:00:00.00{n}" for n in (1, 2, 3)]
    assert rows[0].split()[2:] == [
        "detection", "yolo", "1.0", "factory/camera", "2", "face", "0.750", "12.50", "-", "01KDX0Q2Q6W3H5T9V8N4M20002",
    ]  # fmt: skip
    assert "cat" in rows[1]
    assert rows[2].split()[-4:-1] == ["out", "of", "memory"]


def test_what_is_asked_for_is_listed_and_nothing_else(mlog, records):
    records.detection(1, box("face", 0.9), model_name="yolo-s")
    records.detection(2, box("face", 0.3), model_name="yolo-m")
    records.detection(3, box("dog", 0.9), device_name="phone")
    records.detection(4, error_message="no", model_version="2.0", device_group="lab")
    records.classification(86_400_000)

    def listed(*filters):
        return [
            one["timestamp"] % 1000 for one in json.loads(mlog("predictions", "ls", "kept", "--json", *filters).out)
        ]

    assert listed() == [1, 2, 3, 4, 0]
    assert listed("--model", "yolo-*") == [1, 2]
    assert listed("--class", "face", "--min-confidence", "0.5") == [1]
    assert listed("--max-confidence", "0.5") == [2]
    assert listed("--device", "phone") == [3]
    assert listed("--errors") == listed("--version", "2*") == listed("--group", "lab") == [4]
    assert listed("--type", "classification") == listed("--day", "2026-01-03") == [0]
    assert listed("--since", "2026-01-02T12:00:00.002", "--until", "2026-01-02T12:00:00.004Z") == [2, 3]
    assert listed("--newest", "-n", "2") == [0, 4]
    assert listed("--model", "absent") == []


def test_a_damaged_record_is_one_line_on_standard_error(mlog, records):
    records.detection(1)
    records.damage(records.detection(2))

    said = mlog("predictions", "ls", "kept")

    assert said.status == 0
    assert len(said.out.splitlines()) == 2
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("mlog: The record DETECTION/yolo")
    assert "is left out: " in said.err


def test_a_list_of_nothing_says_so_beside_the_output(mlog, records):
    records.detection(1)

    said = mlog("predictions", "ls", "kept", "--model", "absent")
    as_json = mlog("predictions", "ls", "kept", "--model", "absent", "--json")

    assert (said.status, said.out) == (0, "")
    assert said.err == "mlog: No record in kept is one of those that were asked for.\n"
    assert (as_json.status, as_json.out, as_json.err) == (0, "[]\n", "")


def test_hostile_names_are_shown_and_do_nothing(mlog, records):
    records.detection(1, box(HOSTILE), model_name=HOSTILE, device_name=HOSTILE, error_message=HOSTILE)

    for arguments in (("ls", "kept"), ("ls", "kept", "--keys"), ("ls", "kept", "--json"), ("show", "01K", "kept")):
        said = mlog("predictions", *arguments)
        assert said.status == 0
        assert not {"\x1b", "\u202e"} & set(said.out)
        assert r"\x1b" in said.out or r"\u001b" in said.out or "%1B" in said.out


def test_json_has_everything_and_is_strict(mlog, records):
    key = records.detection(1, box("face", float("nan"), 1.5, 2, 3, 4))

    [one] = json.loads(mlog("predictions", "ls", "kept", "--json").out, parse_constant=pytest.fail)
    shown = json.loads(mlog("predictions", "show", key, "kept", "--json").out, parse_constant=pytest.fail)

    assert one == shown
    assert one["key"] == key
    assert one["detection"][0]["confidence"] == "NaN"
    assert one["inference_stats"]["latency_ms"] == 12.5


def test_a_narrow_terminal_gets_the_columns_that_matter_most(records, tmp_path):
    records.detection(1, box("face", 0.75))
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 24, 60, 0, 0))

    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"NO_COLOR": "1"}

    subprocess.run([MLOG, "predictions", "ls", "kept"], cwd=tmp_path, stdout=theirs, env=environment, check=True)
    os.close(theirs)
    lines = os.read(ours, 65536).decode().splitlines()

    assert [line for line in lines if len(line) > 60] == []
    assert lines[0].split() == ["time", "(UTC)", "model", "version", "result", "confidence"]
    assert " more, for --json: " in lines[-1]


def test_ls_loads_no_library_that_only_exports_need(records, tmp_path):
    records.detection(1)

    ran = subprocess.run(
        [sys.executable, "-c", WORDS_LOADED], cwd=records.root, capture_output=True, text=True, check=True
    )

    loaded = set(ran.stdout.partition("loaded:")[2].split())
    assert {"torch", "pandas", "pyarrow", "obstore", "zmq", "PIL", "matplotlib"} & loaded == set()


def test_a_bucket_is_a_source_as_a_directory_is(mlog, records, s3, monkeypatch, tmp_path):
    key = records.detection(1, box("face", 0.75))
    open_store(s3.config("kept")).put(key, (records.root / key).read_bytes())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.server.secret_access_key)
    there = ("--endpoint-url", s3.server.endpoint_url, "--region", s3.server.region)
    url = f"s3://{s3.name}/kept"

    assert mlog("predictions", "ls", url, *there).out == mlog("predictions", "ls", "kept").out != ""
    assert mlog("predictions", "show", "01K", url, *there).out == mlog("predictions", "show", "01K", "kept").out != ""
    assert mlog("predictions", "show", f"{url}/{key}", *there).status == 0
    assert mlog("predictions", "export", url, "page.html", "--to", "html", *there).status == 0
    assert "Predictions in kept" in (tmp_path / "page.html").read_text()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    refused = mlog("predictions", "ls", url, *there)
    assert (refused.status, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "planted-secret" not in refused.err


# show


def test_a_record_is_found_by_file_by_key_and_by_the_beginning_of_its_id(mlog, records):
    records.detection(0)
    key = records.detection(1, box("face", 0.75, 1.5, 2, 3, 4), error_message="late")

    by_file = mlog("predictions", "show", f"kept/{key}")
    by_key = mlog("predictions", "show", key, "kept")
    by_id = mlog("predictions", "show", "01kdx0q2q6w3h5t9v8n4m20002", "kept")

    assert by_key.out == by_id.out
    assert by_file.out.splitlines()[1:] == by_key.out.splitlines()[1:]
    lines = rows_of(by_key.out)
    assert ["model", "yolo", "1.0"] in lines
    assert ["error", "late"] in lines
    assert lines[[line[:1] for line in lines].index(["image"])][:5] == ["image", "60", "x", "40,", "png,"]
    assert lines[-1] == ["face", "0.7500", "1.500", "2", "3", "4"]


def test_a_picture_of_the_record_is_drawn(mlog, records, tmp_path):
    records.detection(1, box("face"))

    said = mlog("predictions", "show", "01KDX", "kept", "--png", "seen.png")

    assert said.out.splitlines()[-1] == "seen.png"
    assert Image.open(tmp_path / "seen.png").size == (240, 160)
    assert (tmp_path / "seen.png").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ls", "absent"), "There is no directory absent"),
        (("ls", "kept", "--since", "yesterday"), "--since is a time in UTC such as 2026-01-02"),
        (("ls", "kept", "--day", "2026-01-02T03:00"), "--day is a day"),
        (("ls", "kept", "--day", "2026-01-02", "--since", "2026-01-01"), "give it alone"),
        (("ls", "kept", "-n", "0"), "--limit is 1 or more"),
        (("show", "absent.bin"), "There is no file 'absent.bin'"),
        (("show", "01K", "kept"), "2 records have an id that begins with '01K'"),
        (("show", "02", "kept"), "No record in kept has an id that begins with '02'"),
        (("show", "absent.bin", "kept"), "absent.bin: No such file"),
        (("show", "notes.txt"), "notes.txt, byte"),
        (("export", "kept", "x", "--to", "png", "--images"), "--images is for coco and parquet"),
        (("export", "kept", "x", "--to", "html", "--model", "absent"), "No record in kept is one of those"),
        (("export", "kept", "kept", "--to", "coco"), "kept is there already"),
        (("export", "kept", "no/where.html", "--to", "html"), "No such file"),
        (("tail", "localhost", "camera"), "'localhost' is no ADDRESS:PORT"),
        (("tail", "127.0.0.1:0", "camera"), "is no ADDRESS:PORT"),
        (("tail", "127.0.0.1:7777", "camera", "--count", "0"), "--count is 1 or more"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(mlog, records, tmp_path, arguments, words):
    records.detection(1)
    records.detection(2)
    (tmp_path / "notes.txt").write_text("no record")

    said = mlog("predictions", *arguments)

    assert (said.status, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert words in said.err
    assert said.err.startswith("mlog: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "notes.txt"]


# export


def test_each_format_is_written_whole_and_says_what_it_holds(mlog, records, tmp_path):
    records.detection(1, box("face"), box("dog"))
    records.classification(2)

    said = {
        to: mlog("predictions", "export", "kept", f"out-{to}", "--to", to) for to in ("coco", "parquet", "html", "png")
    }

    assert [one.status for one in said.values()] == [0, 0, 0, 0]
    assert said["coco"].out == "out-coco: 1 images, 2 boxes\n"
    assert said["coco"].err == "mlog: 1 record left out: nothing in them tells of boxes.\n"
    assert said["parquet"].out == "out-parquet: 2 records\n"
    assert said["html"].out.startswith("out-html: 2 records, as of ")
    assert said["png"].out == "out-png: 2 records\n"
    assert len(pd.read_parquet(tmp_path / "out-parquet")) == 2
    assert (tmp_path / "out-html").read_text().startswith("<!DOCTYPE html>")
    pictures = sorted((tmp_path / "out-png").iterdir())
    assert [path.name[:31] for path in pictures] == [f"00000{n}_2026-01-02T12-00-00.00{n}Z" for n in (1, 2)]
    assert all(Image.open(path).format == "PNG" for path in pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", *sorted(f"out-{to}" for to in said)]


def test_the_limit_holds_in_every_format(mlog, records, tmp_path):
    for ms in range(3):
        records.detection(ms, box())

    mlog("predictions", "export", "kept", "coco", "--to", "coco", "-n", "2", "--images")
    mlog("predictions", "export", "kept", "table", "--to", "parquet", "--limit", "2", "--newest")
    page = mlog("predictions", "export", "kept", "page", "--to", "html", "-n", "2")

    assert len(list((tmp_path / "coco" / "images").iterdir())) == 2
    assert list(pd.read_parquet(tmp_path / "table").time.dt.microsecond) == [2000, 1000]
    assert "The first 2 records; more matched" in page.out


def test_an_export_that_fails_leaves_what_was_there(mlog, records, tmp_path, monkeypatch):
    records.detection(1)
    (tmp_path / "table").write_text("as it was")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    said = mlog("predictions", "export", "kept", "table", "--to", "parquet")

    assert said.status == 2
    assert "No space left" in said.err
    assert (tmp_path / "table").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "table"]


def test_a_directory_that_is_empty_may_be_exported_to(mlog, records, tmp_path):
    records.detection(1)
    (tmp_path / "out").mkdir()

    assert mlog("predictions", "export", "kept", "out", "--to", "png").status == 0
    assert len(list((tmp_path / "out").iterdir())) == 1
