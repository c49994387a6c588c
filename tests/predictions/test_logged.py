"""Laws of reading a record back, from wherever it lies; whatever is wrong with it is a ``FormatError``."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ml.core.errors import FormatError
from ml.io.store import open_store
from ml.predictions.census import MAX_RECORD_BYTES, varint
from ml.predictions.logged import LoggedPrediction
from ml.predictions.record import encode_record
from ml.predictions.wire import new_message, parse, serialize
from tests.predictions.fuzzing import RECORD_ID, draft, pictures

GOLDEN = Path(__file__).parents[1] / "golden" / "predictions"
CLASSES = [{"class_name": "cat", "probability": 0.75}, {"class_name": "dog", "probability": 0.25}]


def quartered() -> np.ndarray:
    """The picture of the golden files: red, green, blue and white quarters."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32, 0] = picture[:24, 32:, 1] = picture[24:, :32, 2] = picture[24:, 32:] = 255
    return picture


def changed(**fields: object) -> bytes:
    """Returns a record with a PNG image, of which fields were changed by somebody else."""
    message = parse(encode_record(draft(image=pictures()["rgb"]), "key").data)
    for name, value in fields.items():
        target, _, field = name.rpartition("__")
        setattr(getattr(message, target) if target else message, field, value)
    return serialize(message)


def test_a_classification_of_the_published_package_is_read():
    record = LoggedPrediction.from_path(GOLDEN / "babylog_classification.bin")
    assert record.model == {"type": "CLASSIFICATION", "name": "resnet", "version": "1.0"}
    assert record.device_details == {"device_name": "camera", "group_name": "factory"}
    assert record.classification == CLASSES
    assert record.detection == []
    assert record.prediction is None
    assert record.timestamp == 1_700_000_000_123
    assert record.time == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert (record.record_id, record.run_id, record.schema_version, record.logged_at) == ("", "", 0, None)
    assert (record.codec, record.image_shape) == ("jpeg", (48, 64, 3))
    assert record.inference_stats["latency"] is None
    assert np.abs(record.image.astype(int) - quartered()).mean() < 3  # as RGB: it was logged as BGR
    record.verify()


def test_a_detection_of_the_published_package_is_read():
    record = LoggedPrediction.from_path(str(GOLDEN / "babylog_detection.bin"))
    assert record.model == {"type": "DETECTION", "name": "yolo", "version": "2.0"}
    assert record.detection == [
        {"x": 8.0, "y": 4.0, "width": 20.0, "height": 30.0, "confidence": 0.5, "classification": CLASSES}
    ]
    assert record.boxes.tolist() == [[8.0, 4.0, 28.0, 34.0]]
    assert record.labels == ["cat"]
    assert record.inference_stats == {
        "latency": 7,
        "latency_ms": 7.0,
        "inference_device": "CUDA",
        "error_message": "too hot",
    }
    assert record.is_error
    assert record.prediction.shape == (48, 64, 3)


def test_a_record_of_the_first_version_is_read():
    record = LoggedPrediction.from_path(GOLDEN / "ours.bin")
    assert (record.record_id, record.run_id, record.schema_version) == ("01HF7YAT3C0123456789ABCDEF", "a run", 1)
    assert record.logged_at == datetime(2023, 11, 14, 22, 13, 20, 789_012, tzinfo=UTC)
    assert record.classification == [{"class_name": "indoors", "probability": 0.875}]
    assert record.detection == [
        {"x": 8.25, "y": 4.5, "width": 20.5, "height": 30.0, "confidence": 0.5, "classification": CLASSES}
    ]
    assert record.inference_stats["latency_ms"] == 7.375
    assert np.abs(record.image.astype(int) - quartered()).mean() < 3
    assert record.prediction.shape == (24, 64, 3)
    record.verify()


def test_gray_and_alpha_of_the_ancestor_are_read():
    """It noted the channels of what it was given, and JPEG dropped the fourth."""
    for name, channels, shape in (
        ("rgba", 4, (24, 32, 3)),
        ("gray", 1, (24, 32, 1)),
        ("gray", None, (24, 32, 1)),
        ("rgb", None, (24, 32, 3)),
    ):
        image = parse(encode_record(draft(image=pictures()[name], codec="jpeg"), "key").data).raw_image
        message = new_message()
        message.raw_image.height, message.raw_image.width = image.height, image.width
        message.raw_image.image_bytes = image.image_bytes
        if channels is not None:
            message.raw_image.channels = channels
        record = LoggedPrediction.from_bytes(serialize(message))
        assert record.image.shape == record.image_shape == shape


def test_a_uri_is_a_path_or_a_file_or_an_object(tmp_path):
    path = tmp_path / "a file.bin"
    path.write_bytes(encode_record(draft(), "key").data)
    for uri in (str(path), path.as_uri()):
        assert LoggedPrediction.from_uri(uri).record_id == RECORD_ID


def test_an_object_of_a_bucket_is_read_by_its_uri(s3, monkeypatch):
    for name, value in s3.server.environ.items():
        monkeypatch.setenv(name, value)
    key = "DETECTION/yolo%20x/1.0/a_record.bin"
    open_store(f"s3://{s3.name}").create(key, changed(raw_image__width=33))
    record = LoggedPrediction.from_uri(f"s3://{s3.name}/{key}")
    assert record.record_id == RECORD_ID
    with pytest.raises(FormatError, match=f"s3://{s3.name}/{key}, byte"):
        _ = record.image
    with pytest.raises(FileNotFoundError):
        LoggedPrediction.from_uri(f"s3://{s3.name}/nothing.bin")


def test_bytes_may_be_any_buffer():
    data = encode_record(draft(), "key").data
    for buffer in (data, bytearray(data), memoryview(data)):
        assert LoggedPrediction.from_bytes(buffer).record_id == RECORD_ID


def test_what_is_no_file_is_no_record(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.bin"):
        LoggedPrediction.from_path(tmp_path / "nothing.bin")
    os.mkfifo(tmp_path / "pipe.bin")
    for path in (tmp_path, tmp_path / "pipe.bin", Path("/dev/zero")):
        with pytest.raises(FormatError, match="regular"):
            LoggedPrediction.from_path(path)


def test_a_large_file_is_refused(tmp_path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(FormatError, match="at most"):
        LoggedPrediction.from_path(path)
    assert MAX_RECORD_BYTES < 2**40


def test_an_error_says_which_file_and_where(tmp_path):
    path = tmp_path / "record.bin"
    data = changed(raw_image__width=33)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"record\.bin, byte") as caught:
        _ = LoggedPrediction.from_path(path).image
    assert caught.value.path == str(path)
    assert data[caught.value.offset :].startswith(b"\x89PNG")
    path.write_bytes(data[:-3])
    with pytest.raises(FormatError, match=r"record\.bin"):
        LoggedPrediction.from_path(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"raw_image__height": 100_000, "raw_image__width": 100_000},
        {"raw_image__height": -1},
        {"raw_image__width": 2**31 - 1, "raw_image__height": 2**31 - 1},
        {"raw_image__channels": 2},
        {"raw_image__channels": -(2**31)},
        {"raw_image__codec": "tiff"},
        {"raw_image__codec": "jpeg"},
        {"raw_image__codec": ""},
        {"raw_image__dtype": "object"},
        {"raw_image__dtype": "uint16"},
        {"raw_image__is_stacked": True},
        {"raw_image__image_bytes": b"\x80\x04cos\nsystem\n(S'true'\ntR."},
    ],
    ids=str,
)
def test_an_image_that_is_not_what_was_noted_is_a_format_error(fields):
    record = LoggedPrediction.from_bytes(changed(**fields))
    with pytest.raises(FormatError):
        _ = record.image
    json.dumps(record.as_dict())


def test_the_image_is_looked_at_when_it_is_asked_for():
    record = LoggedPrediction.from_bytes(changed(raw_image__image_bytes=b"no image"))
    assert record.labels == ["cat"]
    assert record.image_shape == (24, 32, 3)
    with pytest.raises(FormatError):
        _ = record.image


def test_an_image_that_was_changed_is_found_by_its_hash():
    LoggedPrediction.from_bytes(changed()).verify()
    image = parse(changed()).raw_image.image_bytes
    for fields in ({"image_bytes": image + b"\0"}, {"sha256": b""}, {"sha256": bytes(32)}):
        with pytest.raises(FormatError, match="hashed"):
            LoggedPrediction.from_bytes(
                changed(**{f"raw_image__{name}": value for name, value in fields.items()})
            ).verify()


def test_boxes_and_corners_that_do_not_match_are_a_format_error():
    data = changed()
    with pytest.raises(FormatError, match="corners"):
        LoggedPrediction.from_bytes(data + b"\x42\0")
    message = parse(data)
    message.boxes.format = "a format to come"
    (box,) = LoggedPrediction.from_bytes(serialize(message) + b"\x42\0").detection[:1]
    assert (box["x"], box["y"], box["width"], box["height"]) == (8.0, 4.0, 20.0, 30.0)


def test_a_kind_to_come_is_its_number():
    record = LoggedPrediction.from_bytes(changed(model__type=77, inference_stats__inference_device=99))
    assert record.model["type"] == "77"
    assert record.inference_stats["inference_device"] == "99"


@pytest.mark.parametrize("timestamp", [2**63 - 1, -(2**63)])
def test_a_time_that_is_none_hides_nothing_else(timestamp):
    record = LoggedPrediction.from_bytes(changed(timestamp=timestamp, logged_at_us=timestamp))
    assert record.timestamp == timestamp
    assert record.as_dict()["time"] is None
    assert record.logged_at is None
    with pytest.raises(FormatError, match="time"):
        _ = record.time


def test_a_record_in_words_says_which_one_it_is():
    assert repr(LoggedPrediction.from_bytes(changed())).startswith(f"<LoggedPrediction {RECORD_ID} of '")
    assert repr(LoggedPrediction.from_path(GOLDEN / "babylog_detection.bin")).endswith(" of 'yolo' '2.0'>")


def test_everything_but_pixels_is_plain_data():
    one = LoggedPrediction.from_bytes(changed()).as_dict()
    assert json.loads(json.dumps(one)) == one
    assert one["time"] == "2023-11-14T22:13:20.123+00:00"
    assert one["image"]["size_bytes"] == len(parse(changed()).raw_image.image_bytes)


def test_a_later_record_on_top_wins_as_protobuf_merges():
    other = encode_record(draft(image=pictures()["rgb"][::-1], detection=()), "key").data
    record = LoggedPrediction.from_bytes(changed() + other)
    np.testing.assert_array_equal(record.image, pictures()["rgb"][::-1])
    record.verify()


def test_nesting_is_no_way_to_exhaust_the_stack():
    deep = b""
    while len(deep) < 30_000:  # thousands of boxes in boxes, which the schema does not have
        deep = b"\x42" + varint(len(deep)) + deep
    assert LoggedPrediction.from_bytes(deep).labels == [""]
    for groups in (b"\x0b" * 100_000, b"\x43" * 100_000, b"\x0b" * 50 + b"\x0c" * 50):
        with pytest.raises(FormatError, match="group"):
            LoggedPrediction.from_bytes(groups)


def test_reading_loads_no_heavy_library():
    program = (
        "import sys, ml.predictions.logged as logged;"
        f"logged.LoggedPrediction.from_path({str(GOLDEN / 'ours.bin')!r}).image;"
        "print(sorted({'torch', 'pandas', 'obstore', 'zmq', 'pyarrow', 'matplotlib', 'omegaconf'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
