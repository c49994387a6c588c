"""Exports: the same inferences make the same file, which is whole or not there, and which others can read."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml.core.errors import ConfigError, WriteError
from ml.tracing import archive
from ml.tracing.archive import regrouped
from ml.tracing.export import archive_path, default_name, export
from ml.tracing.output import DetectionOutput
from ml.tracing.reading import open_traces
from ml.tracing.record import Identity, Inference
from ml.tracing.selection import Selection
from ml.tracing.writing import TraceWriter
from tests.tracing.traced_tables import TablesInMemory

PROGRAM = Path(__file__).parent / "programs" / "exporting.py"
SELECTION = Selection("fcos", "v1")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def inference(number):
    """A traced input with a few candidates."""
    chance = np.random.default_rng(number)
    output = DetectionOutput(
        boxes=chance.random((5, 4)).astype(np.float32),
        scores=np.linspace(0.9, 0.1, 5, dtype=np.float32),
        labels=chance.integers(0, 3, 5),
        logits=chance.random((5, 3)).astype(np.float32),
        candidates=np.arange(5),
        image_size=(64, 64),
        visible=np.array([True, True, False, False, False]),
    )
    return Inference(
        f"image-{number}", "val", 0, number, 1e9 + number, 0.25, output, 5, features={"head": np.ones(4, np.float16)}
    )


def traced(path, numbers, wall_clock=lambda: 1e9):
    """A database that has them, written in this order."""
    writer = TraceWriter(path, Identity("fcos", "v1", "ab" * 16, "detection", 3), run="cd" * 16, wall_clock=wall_clock)
    for number in numbers:
        writer.submit([inference(number)])
        writer.flush(60)
    writer.close(60)
    return path


def test_the_same_inferences_make_the_same_file_whatever_the_order_of_rows_in_the_database(tmp_path):
    digests = set()
    for name, numbers in (("a", range(20)), ("b", reversed(range(20)))):
        with open_traces(traced(tmp_path / f"{name}.db", numbers)) as traces:
            for again in range(2):
                path = export(traces, SELECTION, tmp_path / f"{name}{again}.zip")
                digests.add(hashlib.sha256(path.read_bytes()).hexdigest())

    assert len(digests) == 1


def test_an_export_has_what_the_database_has_and_says_so_file_by_file(tmp_path):
    with open_traces(traced(tmp_path / "traces.db", range(20))) as traces:
        path = export(traces, SELECTION, tmp_path)
    with zipfile.ZipFile(path) as opened:
        opened.extractall(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    rows = {name: said["rows"] for name, said in manifest["tables"].items()}

    assert path == tmp_path / "fcos_v1_all_latest.zip"
    assert manifest["identity"] == {
        "model_name": "fcos", "version_name": "v1", "architecture": "ab" * 16, "task": "detection", "n_class": 3,
    }  # fmt: skip
    expected = {"models": 1, "versions": 1, "runs": 1, "inferences": 20, "detections": 40, "candidates": 100}
    assert rows == expected | {"features": 20}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "manifest.json", "README.txt", *(f"{name}.parquet" for name in rows),
    }  # fmt: skip
    for name, said in manifest["tables"].items():
        data = (tmp_path / "out" / f"{name}.parquet").read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (said["size_bytes"], said["sha256"])
        assert len(pd.read_parquet(tmp_path / "out" / f"{name}.parquet")) == said["rows"]
    detections = pd.read_parquet(tmp_path / "out" / "detections.parquet")
    assert detections["score"].tolist()[:2] == [np.float32(0.9), np.float32(0.7)]


def test_how_rows_come_makes_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "ROWS_PER_GROUP", 70)
    monkeypatch.setattr(archive, "GROUP_BYTES", 4000)
    paths = [
        export(TablesInMemory(200, batch_rows=rows), SELECTION, tmp_path / f"{rows}.zip") for rows in (1, 7, 64, 1000)
    ]

    assert len({path.read_bytes() for path in paths}) == 1


def test_a_group_ends_where_its_rows_or_their_bytes_reach_the_limit(monkeypatch):
    monkeypatch.setattr(archive, "ROWS_PER_GROUP", 4)
    monkeypatch.setattr(archive, "GROUP_BYTES", 100)
    sizes = [1, 1, 1, 1, 1, 200, 1, 50, 50, 1]
    batch = pa.RecordBatch.from_pydict({"data": [b"x" * size for size in sizes]})

    assert [group.num_rows for group in regrouped([batch])] == [4, 2, 3, 1]
    assert pa.Table.from_batches(regrouped([batch])) == pa.Table.from_batches([batch])


def test_no_more_than_a_group_is_in_memory(tmp_path):
    class Endless(TablesInMemory):
        def table_batches(self, name, selection, *, ids=None):
            if name != "features":
                yield from super().table_batches(name, selection, ids=ids)
                return
            for number in range(100):
                data = np.random.default_rng(number).bytes(2**20)
                yield pa.RecordBatch.from_pydict({"inference_id": [f"{number}"], "data": [data]})

    tracemalloc.start()
    before = pa.total_allocated_bytes()
    path = export(Endless(1), SELECTION, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size > 100 * 2**20
    assert peak < 32 * 2**20
    assert pa.total_allocated_bytes() - before < 32 * 2**20


@pytest.mark.parametrize(
    ("selection", "name"),
    [
        (SELECTION, "fcos_v1_all_latest.zip"),
        (Selection("fcos", "v1", "val", 3), "fcos_v1_val_3.zip"),
        (Selection("../a b", "v/1", n_epoch="all"), "%2E.%2Fa%20b_v%2F1_all_all.zip"),
    ],
    ids=["latest", "chosen", "strange"],
)
def test_the_default_name_says_what_is_in_it_and_leads_nowhere_else(selection, name):
    assert default_name(selection) == name


def test_a_path_that_ends_in_zip_is_the_file_and_any_other_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.zip").mkdir()
    (tmp_path / "file").touch()
    name = default_name(SELECTION)

    assert archive_path(SELECTION) == Path(name)
    assert archive_path(SELECTION, "out") == Path("out", name)
    assert archive_path(SELECTION, "out/a.ZIP") == Path("out/a.ZIP")
    assert archive_path(SELECTION, str(tmp_path / "there.zip")) == tmp_path / "there.zip" / name
    with pytest.raises(ConfigError, match="no directory"):
        archive_path(SELECTION, "file")


def test_a_database_that_fails_in_the_middle_leaves_the_old_file(tmp_path):
    class Failing(TablesInMemory):
        def table_batches(self, name, selection, *, ids=None):
            yield from super().table_batches(name, selection, ids=ids)
            if name == "detections":
                raise WriteError("gone")

    path = tmp_path / "a.zip"
    export(TablesInMemory(5), SELECTION, path)
    before = path.read_bytes()
    with pytest.raises(WriteError, match="gone"):
        export(Failing(50), SELECTION, path)

    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_process_that_is_killed_at_any_moment_never_leaves_half_a_file(tmp_path, kills):
    path, chance = tmp_path / "a.zip", np.random.default_rng(kills)
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, PROGRAM, path], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        ) as process:
            for _ in range(chance.integers(1, 60)):
                process.stdout.readline()
            process.kill()
        if path.exists():
            with zipfile.ZipFile(path) as opened:
                assert opened.testzip() is None
                assert "manifest.json" in opened.namelist()
    export(TablesInMemory(5), SELECTION, path)

    assert os.listdir(tmp_path) == ["a.zip"]


def test_nothing_of_the_time_is_in_it(tmp_path):
    path = export(TablesInMemory(3), SELECTION, tmp_path)
    with zipfile.ZipFile(path) as opened:
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert str(datetime.now(UTC).year) not in opened.read("manifest.json").decode()
