"""Where records lie."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from ml.predictions.layout import key_of, moment_of, parse_key

RECORD_ID = "01KDX0Q2Q6W3H5T9V8N4M2C7BA"
TEXTS = st.text(max_size=30)


def test_a_key_says_type_model_version_group_device_day_time_and_id():
    key = key_of("DETECTION", "YOLOv8", "1.0.0", "factory", "camera-3", 1_767_322_445_678, RECORD_ID)

    assert key == f"DETECTION/YOLOv8/1.0.0/factory/camera-3/2026-01-02/2026-01-02T02-54-05.678Z_{RECORD_ID}.bin"


@given(model=TEXTS, version=TEXTS, group=TEXTS, device=TEXTS, timestamp_ms=st.integers(-(2**63), 2**63 - 1))
def test_any_names_give_a_plain_relative_path_that_reads_back(model, version, group, device, timestamp_ms):
    key = key_of("NONE", model, version, group, device, timestamp_ms, RECORD_ID)
    parts = parse_key(f"somewhere/else/{key}")

    segments = key.split("/")
    assert len(segments) == 7
    assert not any(segment.startswith(".") or not segment for segment in segments)
    assert key.isascii()
    assert not set(key) & set(' :\\\0"*?<>|')
    assert parts is not None
    if all(len(text.encode()) * 3 <= 120 for text in (model, version, group, device)):
        assert parts[:5] == ("NONE", model, version, group, device)
    assert parts.record_id == RECORD_ID
    assert parts.day == moment_of(timestamp_ms).date()


def test_names_that_lead_elsewhere_lead_nowhere():
    key = key_of("NONE", "../../etc", "/", "..", ".", 0, RECORD_ID)

    assert key.startswith("NONE/%2E.%2F..%2Fetc/%2F/%2E./%2E/1970-01-01/")


def test_keys_sort_by_time_within_a_device():
    keys = [key_of("NONE", "m", "1", "g", "d", stamp, RECORD_ID) for stamp in range(0, 10**11, 10**8 + 7)]

    assert keys == sorted(keys)


def test_the_layout_of_the_ancestor_is_read():
    parts = parse_key("DETECTION/yolo v8/1.0.0/group/device/2023-01-29/2023-01-29 12:53:13.473.bin")

    assert parts == ("DETECTION", "yolo v8", "1.0.0", "group", "device", date(2023, 1, 29), "")


def test_what_is_no_key_is_none():
    good = key_of("NONE", "m", "1", "g", "d", 0, RECORD_ID)

    for wrong in ("", "a.bin", good.removesuffix(".bin"), good.replace("1970-01-01/", "1970-13-01/"), good[5:]):
        assert parse_key(wrong) is None
