import csv
import io
import json
import os
import sys

import pandas as pd
import pytest

from ml.reading import open_run


def test_csv_is_what_open_run_reads(mlog, make_run):
    path = make_run()

    said = mlog("export", path, "--to", "csv")

    frame = pd.read_csv(io.StringIO(said.out), parse_dates=["time"])
    frame["time"] = frame["time"].astype("datetime64[us, UTC]")
    assert said.status == 0
    pd.testing.assert_frame_equal(frame, open_run(path).scalars())


def test_json_has_one_strict_object_a_value(mlog, make_run):
    path = make_run()

    said = mlog("export", path, "--to", "json").out

    lines = [json.loads(line, parse_constant=pytest.fail) for line in said.splitlines()]
    expected = open_run(path).scalars()
    assert [line["value"] for line in lines[:4]] == [1.0, 0.5, 0.5, "NaN"]
    assert [(line["step"], line["key"]) for line in lines] == list(zip(expected.step, expected.key, strict=True))


def test_parquet_is_what_open_run_reads(mlog, make_run, tmp_path):
    path = make_run()

    said = mlog("export", path, "--to", "parquet", "-o", "scalars.parquet")

    assert said == (0, "", "")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scalars.parquet"), open_run(path).scalars())


def test_parquet_of_a_run_without_values_has_its_columns(mlog, make_run, tmp_path):
    assert mlog("export", make_run(steps=0), "--to", "parquet", "-o", "none.parquet").status == 0

    columns = open_run(tmp_path / "run").scalars().columns
    assert list(pd.read_parquet(tmp_path / "none.parquet").columns) == list(columns)


def test_keys_are_chosen_by_a_glob(mlog, make_run):
    said = mlog("export", make_run(), "--to", "csv", "--keys", "*/rate")

    assert {row["key"] for row in csv.DictReader(io.StringIO(said.out))} == {"task/rate"}


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_file_is_replaced_whole_and_is_for_its_owner_alone(mlog, make_run, tmp_path, form):
    target = tmp_path / f"scalars.{form}"
    target.write_text("before")

    assert mlog("export", make_run(), "--to", form, "-o", target).status == 0

    assert target.stat().st_size > 500
    assert target.stat().st_mode & 0o777 == 0o600
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_a_file_that_cannot_be_written_is_one_line(mlog, make_run):
    said = mlog("export", make_run(), "--to", "csv", "-o", "absent/scalars.csv")

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("mlog: Cannot write absent/scalars.csv: ")


def test_a_key_that_a_spreadsheet_would_calculate_is_quoted(mlog, make_run):
    path = make_run(steps=1)
    log = path / "json/log.jsonl"
    log.write_text(log.read_text().replace("task/loss", "=1+cmd|' /C calc'!A0").replace("task/rate", 'a,\\n\\"b'))

    rows = list(csv.DictReader(io.StringIO(mlog("export", path, "--to", "csv").out)))

    assert [row["key"] for row in rows] == ["'=1+cmd|' /C calc'!A0", 'a,\n"b']


def test_a_missing_pyarrow_names_the_extra(mlog, make_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    said = mlog("export", make_run(), "--to", "parquet", "-o", "scalars.parquet")

    assert said.status == 2
    assert "pip install 'ml-logbook[parquet]'" in said.err
    assert not os.path.exists("scalars.parquet")


def test_a_run_that_has_a_journal_alone_is_exported_from_it_whatever_its_id(mlog, make_run):
    tables = []
    for name, logger in (("a", "json"), ("b", "journal"), ("c", {"name": "journal", "id": "book"})):
        path = make_run(name, loggers=(logger,))
        table = pd.read_csv(io.StringIO(mlog("export", path, "--to", "csv").out))
        tables.append(table.drop(columns="time"))
        pd.testing.assert_frame_equal(tables[-1], open_run(path).scalars().drop(columns="time"), check_dtype=False)
        assert open_run(path).strings().value.tolist() == ["started"]

    assert len(tables[0]) == 42
    pd.testing.assert_frame_equal(tables[1], tables[0])
    pd.testing.assert_frame_equal(tables[2], tables[0])
