import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ml.predictions.kinds import InferenceDevice
from ml.predictions.parquet import write_parquet
from ml.predictions.reading import open_predictions
from tests.predictions.records import HOSTILE, Records, box


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "predictions")


@pytest.fixture
def export(records, tmp_path):
    def export(**options):
        path = tmp_path / "predictions.parquet"
        count = write_parquet(path, open_predictions(records.root), **options)
        assert count == pq.ParquetFile(path).metadata.num_rows
        return path

    return export


def test_pandas_reads_a_row_for_each_record(records, export):
    seen = records.detection(1, box("face", 0.75, 1.5, 2, 3, 4), box("", 0.5), inference_device=InferenceDevice.CPU)
    read = records.classification(2, latency_ms=None)
    failed = records.detection(3, error_message=HOSTILE, image=None)

    frame = pd.read_parquet(export())

    assert list(frame.key) == [seen, read, failed]
    assert list(frame.type) == ["DETECTION", "CLASSIFICATION", "DETECTION"]
    first, second, third = (row for _, row in frame.iterrows())
    assert first.time.to_pydatetime() == datetime(2026, 1, 2, 12, 0, 0, 1000, UTC) == first.logged_at
    assert (first.model_name, first.model_version, first.group, first.device) == ("yolo", "1.0", "factory", "camera")
    assert (first.latency_ms, first.inference_device, first.class_name, first.confidence) == (12.5, "CPU", "face", 0.75)
    assert (first.height, first.width, first.codec) == (40, 60, "png")
    assert [(b["class_name"], b["x"], b["y"], b["width"], b["height"], b["confidence"]) for b in first.boxes] == [
        ("face", 1.5, 2, 3, 4, 0.75), ("", 10, 5, 20, 15, 0.5),
    ]  # fmt: skip
    assert [dict(one) for one in first.boxes[0]["classification"]] == [{"class_name": "face", "probability": 0.75}]
    assert {one["class_name"]: one["probability"] for one in second.classification} == {"dog": 0.25, "cat": 0.75}
    assert (second.class_name, second.confidence) == ("cat", 0.75)
    assert math.isnan(second.latency_ms)
    assert third.error_message == HOSTILE
    assert pd.isna(third.class_name)
    assert math.isnan(third.height)


def test_pictures_come_along_when_they_are_asked_for(records, export, photograph):
    records.detection(1, image=photograph)
    records.detection(2, omitted="disk_low")

    frame = pd.read_parquet(export(has_images=True))

    from ml.predictions.codecs import Layout, decode_image

    assert np.array_equal(decode_image(frame.image_bytes[0], Layout("png", 512, 512, 3)), photograph)
    assert frame.image_bytes[1] is None
    assert list(frame.omitted) == ["", "disk_low"]
    assert "image_bytes" not in pd.read_parquet(export()).columns


def test_rows_are_written_in_groups_and_no_more_is_held(records, export):
    for ms in range(7):
        records.detection(ms)

    file = pq.ParquetFile(export(rows_per_group=3))

    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [3, 3, 1]
    assert pd.read_parquet(export(rows_per_group=3)).time.is_monotonic_increasing


def test_numbers_beyond_all_others_are_kept(records, export):
    records.detection(1, box("a", float("nan")), box("b", float("inf"), float("-inf")))

    boxes = pd.read_parquet(export()).boxes[0]

    assert math.isnan(boxes[0]["confidence"])
    assert (boxes[1]["confidence"], boxes[1]["x"]) == (math.inf, -math.inf)


def test_no_record_at_all_is_a_file_with_columns_and_no_rows(records, export):
    records.root.mkdir()

    frame = pd.read_parquet(export())

    assert len(frame) == 0
    assert "boxes" in frame.columns
