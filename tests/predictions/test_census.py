"""Laws of what is found out about a record before protobuf sees it."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import FormatError
from ml.predictions.census import (
    MAX_BOXES,
    MAX_CLASSES,
    MAX_FIELDS,
    MAX_RECORD_BYTES,
    MAX_REST_BYTES,
    Span,
    locate_damage,
    take_census,
    varint,
)
from ml.predictions.wire import new_message, parse, serialize
from tests.predictions.fuzzing import corpus

BOX, CLASS, IMAGE, STATS = b"\x42", b"\x3a", b"\x22", b"\x32"


def field(tag: bytes, value: bytes) -> bytes:
    return tag + varint(len(value)) + value


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (BOX + b"\0", "10000 fields of BoundingBox"),
        (CLASS + b"\0", "100000 fields of ClassificationResult"),
        (field(BOX, b"\x32\0" * 1000), "100000 fields of ClassificationResult"),
        (b"\x08\x01", "400000 fields"),
        (IMAGE + b"\0", "16 fields of Image"),
        (field(IMAGE, b"\x08\x01" * 2_000_000), "400000 fields"),
        (b"\xc2\x06\x05" + field(b"\x12", bytes(3)), "16 fields of Boxes"),
        (field(b"\xc2\x06", field(b"\x12", bytes(2**22))), "of corners"),
    ],
    ids=["boxes", "classes", "classes in boxes", "scalars", "images", "scalars in an image", "corners", "long corners"],
)
def test_sixteen_mebibytes_of_little_fields_are_refused(data, what):
    with pytest.raises(FormatError, match=what):
        take_census(data * (2**24 // len(data)))


def test_nothing_is_allocated_for_boxes_that_are_refused():
    bomb = BOX + b"\0" + field(BOX, b"\x32\0") * (2**22)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            take_census(bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**22


@pytest.mark.parametrize(
    ("data", "message", "offset"),
    [
        (b"\x08\x01\x0a\x05ab", "ends 3 bytes behind", 2),
        (b"\x08\x01\x22\xff\xff\xff\xff\x07", "behind its message", 2),
        (b"\x08\x01\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "behind its message", 2),
        (b"\x08\x01\x22" + b"\xff" * 11, "at most 10 bytes", 3),
        (b"\x08", "at most 10 bytes", 1),
        (b"\x08" + b"\x80" * 12, "at most 10 bytes", 1),
        (b"\xb1\x06\0\0\0", "behind its message", 0),
        (b"\x25\0\0", "behind its message", 0),
        (b"\x08\x01\x23\x24", "group", 2),
        (b"\x08\x01\x44", "group", 2),
        (b"\x08\x01\x26", "wire type 6", 2),
        (b"\x08\x01\x07", "wire type 7", 2),
        (b"\x02\0", "no number of a field", 0),
        (b"\x82\x80\x80\x80\x80\x01\0", "no number of a field", 0),
        (b"\x40\x01", "bounding_boxes is a message", 0),
        (field(IMAGE, b"\x08\x01\x22\x09ab"), "behind its message", 4),
        (field(IMAGE, b"\x08\x01\x20\x09"), "image file is bytes", 4),
    ],
)
def test_damage_is_told_with_its_place(data, message, offset):
    with pytest.raises(FormatError, match=message) as caught:
        take_census(data)
    assert caught.value.offset == offset


def test_damage_that_protobuf_found_is_told_with_its_place():
    data = b"\x08\x01" + field(BOX, b"\x08\x01\x32\x09ab")
    take_census(data)
    with pytest.raises(FormatError):
        parse(data)
    with pytest.raises(FormatError, match="behind its message") as caught:
        locate_damage(data)
    assert caught.value.offset == 6


def test_as_much_as_is_allowed_passes():
    one_box = field(BOX, CLASS.replace(b"\x3a", b"\x32") + b"\0" + (b"\x32\0" * (MAX_CLASSES // MAX_BOXES - 1)))
    full = one_box * MAX_BOXES
    assert take_census(full).rest == full
    for extra in (BOX + b"\0", CLASS + b"\0"):
        with pytest.raises(FormatError, match="at most"):
            take_census(full + extra)
    fields = b"\x08\x01" * MAX_FIELDS
    assert take_census(fields).rest == fields
    with pytest.raises(FormatError, match="fields"):
        take_census(fields + b"\x08\x01")


def test_only_image_files_may_be_large():
    file = bytes(MAX_REST_BYTES)
    assert take_census(field(IMAGE, field(b"\x22", file))).raw_image == Span(10, 10 + len(file))
    for tag in (b"\xb2\x06", STATS):  # the run's id; statistics
        with pytest.raises(FormatError, match="beside images"):
            take_census(field(tag, file))
    with pytest.raises(FormatError, match="at most"):
        take_census(bytes(MAX_RECORD_BYTES + 1))


def test_what_an_unknown_field_holds_is_not_looked_at():
    deep = b""
    for _ in range(1000):
        deep = field(b"\xfa\x3f", deep)
    assert parse(take_census(deep).rest) == parse(deep)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"", b"\x2a\0", b"\x22\x02\x22\0", b"\x08\x05", *corpus()]), max_size=4))
def test_the_rest_is_the_record_without_its_image_files(parts):
    """Also of records behind each other, which protobuf merges into one."""
    data = b"".join(parts)
    census, whole = take_census(data), parse(data)
    for span, image in ((census.raw_image, whole.raw_image), (census.prediction, whole.prediction)):
        assert (b"" if span is None else data[span.start : span.end]) == image.image_bytes
        if image.image_bytes:
            image.ClearField("image_bytes")
    assert serialize(parse(census.rest)) == serialize(whole)


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_what_protobuf_writes(number):
    message = new_message()
    message.stream_sequence = number
    assert serialize(message)[2:] == varint(number)
