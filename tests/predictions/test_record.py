"""Laws of a record: what goes in comes out."""

import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import FormatError, LogValueError
from ml.predictions.census import MAX_BOXES, MAX_CLASSES, MAX_REST_BYTES
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.logged import LoggedPrediction
from ml.predictions.record import Box, Class, encode_record, numbered, without_images
from tests.predictions.fuzzing import draft, pictures

TEXTS = st.text(st.characters(), max_size=20)  # with NUL, and with lone surrogates
NUMBERS = st.floats()  # with NaN and infinities
CLASSES = st.lists(st.builds(Class, TEXTS, NUMBERS), max_size=4).map(tuple)
BOXES = st.lists(st.builds(Box, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, CLASSES), max_size=4).map(tuple)
DRAFTS = st.builds(
    draft,
    run_id=TEXTS,
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    logged_at_us=st.integers(0, 2**63 - 1),
    model_type=st.sampled_from(VisionModelType),
    model_name=TEXTS,
    model_version=TEXTS,
    device_name=TEXTS,
    device_group=TEXTS,
    image=st.sampled_from([None, *pictures().values()]),
    prediction=st.sampled_from([None, *pictures().values()]),
    latency_ms=st.none() | NUMBERS,
    inference_device=st.none() | st.sampled_from(InferenceDevice),
    error_message=TEXTS,
    classification=CLASSES,
    detection=BOXES,
)


def single(number: float) -> float:
    """Returns a number as float32 has it."""
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)


def clean(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


def as_dicts(classes: tuple[Class, ...]) -> list[dict[str, object]]:
    return [{"class_name": clean(name), "probability": single(probability)} for name, probability in classes]


def read(one) -> LoggedPrediction:
    return LoggedPrediction.from_bytes(encode_record(one, "key").data)


@settings(max_examples=100, deadline=None)
@given(DRAFTS)
def test_what_is_logged_is_what_is_read(one):
    """Numbers of results have the precision of float32; the latency that of float64; lone surrogates are replaced."""
    record = read(one)
    record.verify()
    assert (record.record_id, record.run_id, record.schema_version) == (one.record_id, clean(one.run_id), 1)
    assert record.timestamp == one.timestamp_ms
    assert record.model == {
        "type": one.model_type.name,
        "name": clean(one.model_name),
        "version": clean(one.model_version),
    }
    assert record.device_details == {"device_name": clean(one.device_name), "group_name": clean(one.device_group)}
    stats = record.inference_stats
    np.testing.assert_equal(stats["latency_ms"], one.latency_ms)
    assert (stats["latency"] is None) == (one.latency_ms is None)
    assert stats["inference_device"] == (one.inference_device or InferenceDevice.DEFAULT).name
    assert record.error_message == clean(one.error_message)
    assert record.is_error == bool(one.error_message)
    np.testing.assert_equal(record.classification, as_dicts(one.classification))
    for expected, found in ((one.image, record.image), (one.prediction, record.prediction)):
        assert (expected is None) == (found is None)
        if expected is not None:
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
    assert record.image_shape == (one.image.shape if one.image is not None else None)

    with np.errstate(all="ignore"):
        corners = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in one.detection]
        np.testing.assert_array_equal(record.boxes, np.array(corners, np.float32).reshape(-1, 4))
    np.testing.assert_equal(
        [box["classification"] for box in record.detection], [as_dicts(b.classes) for b in one.detection]
    )
    np.testing.assert_equal(
        [box["confidence"] for box in record.detection], [single(b.confidence) for b in one.detection]
    )
    assert len(record.labels) == len(record.scores) == len(one.detection)


def test_text_that_utf_8_cannot_hold_is_replaced_and_nul_is_kept():
    text, held = "half \ud800 a pair\0", "half \ufffd a pair\0"
    one = draft(model_name=text, error_message=text, classification=(Class(text, 0.5),), run_id=text)
    record = read(one)
    assert (record.model["name"], record.error_message, record.run_id) == (held,) * 3
    assert record.classification == [{"class_name": held, "probability": 0.5}]


@given(st.lists(st.tuples(*[st.integers(-(2**20), 2**20).map(lambda number: number / 8)] * 4), max_size=5))
def test_boxes_within_any_picture_are_exact(sides):
    boxes = tuple(Box(x, y, abs(width), abs(height), 0.5, ()) for x, y, width, height in sides)
    found = read(draft(detection=boxes)).detection
    assert [(one["x"], one["y"], one["width"], one["height"]) for one in found] == [box[:4] for box in boxes]


@pytest.mark.parametrize(
    ("number", "whole"),
    [(1.5, 2), (-0.4, 0), (math.nan, 0), (math.inf, 2**31 - 1), (-math.inf, -(2**31)), (1e300, 2**31 - 1)],
)
def test_the_ancestor_reads_whole_pixels_and_milliseconds(number, whole):
    from ml.predictions.wire import parse

    box = Box(number, number, number, number, 0.5, ())
    message = parse(encode_record(draft(detection=(box,), latency_ms=number), "key").data)
    (found,) = message.bounding_boxes
    assert (found.x, found.y, found.width, found.height, message.inference_stats.latency) == (whole,) * 5


def test_labels_are_the_most_probable_classes():
    classes = [
        (Class("cat", 0.25), Class("dog", 0.5)),
        (Class("not a number", math.nan), Class("cat", 0.0)),
        (),
        (Class("first", 0.5), Class("second", 0.5)),
    ]
    boxes = tuple(Box(0, 0, 1, 1, 0.5, one) for one in classes)
    assert read(draft(detection=boxes)).labels == ["dog", "cat", "", "first"]


def test_what_is_not_given_is_not_there():
    record = read(
        draft(latency_ms=None, inference_device=None, classification=(), detection=(), run_id="", device_group="")
    )
    assert record.inference_stats == {
        "latency": None,
        "latency_ms": None,
        "inference_device": "DEFAULT",
        "error_message": "",
    }
    assert (record.image, record.image_shape, record.image_bytes, record.codec) == (None, None, b"", "")
    assert (record.classification, record.detection, record.labels) == ([], [], [])
    assert record.boxes.shape == (0, 4)
    assert record.scores.shape == (0,)
    assert (record.stream_id, record.stream_sequence, record.omitted) == (None, None, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"detection": (Box(0, 0, 1, 1, 0.5, ()),) * (MAX_BOXES + 1)},
        {"classification": (Class("cat", 0.5),) * (MAX_CLASSES + 1)},
        {"detection": (Box(0, 0, 1, 1, 0.5, (Class("cat", 0.5),) * 51_000),) * 2},
        {"error_message": "x" * MAX_REST_BYTES},
        {"image": np.zeros((1, 70_000), np.uint8), "codec": "jpeg"},
        {"image": np.zeros((8, 8), np.uint16), "codec": "webp"},
    ],
    ids=["boxes", "classes", "classes of boxes", "texts", "a long jpeg", "16 bit webp"],
)
def test_what_no_reader_would_take_is_refused(changes):
    with pytest.raises(LogValueError, match=r"got|bits"):
        encode_record(draft(**changes), "key")


def test_a_record_of_more_bytes_than_are_read_is_refused(monkeypatch):
    monkeypatch.setattr("ml.predictions.record.MAX_RECORD_BYTES", 3000)
    with pytest.raises(LogValueError, match="3000 bytes, got"):
        encode_record(draft(image=pictures()["rgba"]), "key")


def test_the_largest_record_that_is_written_is_read():
    boxes = tuple(Box(0.5, 0.5, 1e4, 1e4, 0.5, (Class("c" * 10, 0.5),) * 10) for _ in range(MAX_BOXES))
    record = read(draft(detection=boxes, classification=()))
    assert len(record.labels) == MAX_BOXES
    assert sum(len(box["classification"]) for box in record.detection) == MAX_CLASSES


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp"])
def test_a_record_without_its_images_keeps_everything_else(codec):
    one = draft(image=pictures()["rgb"], prediction=pictures()["gray"], codec=codec)
    whole = encode_record(one, "key").data
    bare = without_images(whole, "disk_low")
    before, after = LoggedPrediction.from_bytes(whole), LoggedPrediction.from_bytes(bare)

    assert len(bare) < 600
    assert (after.image, after.prediction, after.image_bytes, after.omitted) == (None, None, b"", "disk_low")
    assert (after.image_shape, after.codec) == ((24, 32, 3), codec)
    after.verify()
    expected = before.as_dict()
    for name in ("image", "prediction"):
        expected[name] |= {"omitted": "disk_low", "size_bytes": 0}
    assert after.as_dict() == expected
    assert without_images(bare, "spool_budget") == bare


def test_there_is_nothing_to_omit_where_there_is_no_image():
    data = encode_record(draft(), "key").data
    assert LoggedPrediction.from_bytes(without_images(data, "disk_low")).as_dict() == LoggedPrediction(data).as_dict()
    with pytest.raises(FormatError):
        without_images(b"\x0a", "disk_low")


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_record_has_the_number_that_a_publisher_appended(stream_id, sequence):
    data = encode_record(draft(), "key").data
    record = LoggedPrediction.from_bytes(numbered(numbered(data, 1, 2), stream_id, sequence))
    assert (record.stream_id, record.stream_sequence) == (stream_id, sequence)
    assert record.labels == ["cat"]


def test_an_encoded_record_knows_its_key():
    one = encode_record(replace(draft(), record_id="id"), "a/b.bin")
    assert (one.record_id, one.key) == ("id", "a/b.bin")
