import io

import numpy as np
import pytest
from PIL import Image

from ml.predictions.drawing import annotated_png, thumbnail_of
from ml.predictions.logged import LoggedPrediction
from tests.predictions.records import GRAY, HOSTILE, Records, box


@pytest.fixture
def read(tmp_path):
    """Writes a record, and reads it back."""

    def read(**fields):
        return LoggedPrediction.from_path(tmp_path / Records(tmp_path).write(**fields))

    return read


def drawn(record, **arguments):
    """The picture, shape (H, W, C) or (H, W)."""
    return np.asarray(Image.open(io.BytesIO(annotated_png(record, **arguments))))


def test_a_photograph_keeps_every_pixel_that_no_box_covers(read, photograph):
    record = read(image=photograph, detection=(box("face", 0.97, 177, 67, 97, 120),))

    picture = drawn(record)

    assert picture.shape == photograph.shape
    changed = np.argwhere((picture != photograph).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert (left, right, bottom) == (177, 273, 186)
    assert 40 < top < 67  # the label stands above
    assert (picture[100:150, 190:260] == photograph[100:150, 190:260]).all()  # a frame, not an area


def test_a_box_has_the_colour_of_its_class(read, photograph):
    def edge(name):
        return drawn(read(image=photograph, detection=(box(name, 0.5, 100, 200, 50, 50),)))[225, 100]

    assert (edge("cat") == edge("cat")).all()
    assert (edge("cat") != edge("dog")).any()


def test_below_a_classification_stand_its_surest_classes(read, photograph):
    one = drawn(read(image=photograph, classification=(("cat", 0.9),)))
    many = drawn(read(image=photograph, classification=tuple((f"class {n}", n / 100) for n in range(50))))

    assert one.shape[0] > 512
    assert (one[:512] == photograph).all()
    assert one.shape[0] < many.shape[0] < 512 + 150  # five of fifty


def test_an_error_stands_below_its_picture(read, photograph):
    picture = drawn(read(image=photograph, error_message="out of memory"))
    long = drawn(read(image=photograph, error_message="out of memory " * 10_000))

    assert (picture[:512] == photograph).all()
    assert picture.shape[0] > 512
    assert long.shape[0] < 700


def test_a_gray_picture_of_16_bits_is_shown_in_all_its_range(read):
    image = np.linspace(0, 4095, 300 * 300).reshape(300, 300).astype(np.uint16)

    picture = drawn(read(image=image))

    assert (picture.shape, picture.min(), picture.max()) == ((300, 300), 0, 255)
    assert (np.diff(picture.reshape(-1).astype(int)) >= 0).all()


def test_transparency_is_kept_and_boxes_are_opaque(read):
    image = np.zeros((300, 300, 4), np.uint8)

    picture = drawn(read(image=image, detection=(box(None, 1.0, 10, 10, 50, 50),)))

    assert picture.shape == (300, 300, 4)
    assert picture[200, 200, 3] == 0
    assert picture[40, 10, 3] == 255


def test_a_small_picture_is_enlarged_by_a_whole_factor_and_its_boxes_with_it(read):
    picture = drawn(read(image=np.arange(64, dtype=np.uint8).reshape(8, 8) * 4))
    boxed = drawn(read(image=np.zeros((8, 8), np.uint8), detection=(box(None, 1.0, 2, 2, 4, 4),)))

    assert (picture == np.kron(np.arange(64).reshape(8, 8) * 4, np.ones((32, 32)))).all()
    assert boxed[64:192, 64].any(axis=1).all()  # its left edge: 2 * 32
    assert not boxed[:, :64].any(axis=2)[100:].any()


def test_a_large_picture_is_shrunk_to_the_area_that_is_allowed_and_its_boxes_with_it(read):
    record = read(image=np.zeros((600, 900, 3), np.uint8), detection=(box(None, 1.0, 300, 300, 300, 300),))

    picture = drawn(record, max_area_px=60_000)

    assert picture.shape == (200, 300, 3)
    assert picture[150, 100].any()
    assert not picture[150, 90].any()


@pytest.mark.parametrize("omitted", ["local_budget", ""])
def test_a_picture_that_is_not_there_is_blank_and_says_why(read, omitted):
    fields = {"omitted": omitted} if omitted else {"image": None}

    record = read(detection=(box(None, 1.0, 0, 0, 30, 20),), **fields)

    assert drawn(record).shape[0] > (160 if omitted else 240)  # the picture, and why it is not there
    assert (omitted or "no picture") in thumbnail_of(record, side_px=100).remark


def test_a_record_that_claims_a_gigantic_picture_it_has_not_costs_nothing(read, photograph):
    from ml.predictions.record import without_images
    from ml.predictions.wire import parse, serialize

    record = read(image=GRAY)
    message = parse(without_images(record._data, "disk_low"))
    message.raw_image.height = message.raw_image.width = 2**31 - 1
    huge = LoggedPrediction.from_bytes(serialize(message))

    assert max(drawn(huge).shape) < 1000


def test_a_damaged_picture_is_blank_and_says_so(read):
    record = read()
    damaged = LoggedPrediction.from_bytes(record._data.replace(b"IDAT", b"IDxT"))

    assert "cannot be read" in thumbnail_of(damaged, side_px=100).remark
    assert drawn(damaged).shape[0] > 160


def test_what_would_not_be_seen_is_drawn_as_an_escape(read, photograph):
    def same(a, b, **fields):
        first, second = (drawn(read(image=photograph, **{name: make(text) for name, make in fields.items()}))
                         for text in (a, b))  # fmt: skip
        return first.shape == second.shape and bool((first == second).all())

    assert same("a\x1b\u202eb", r"a\x1b\u202eb", error_message=str)
    assert same("a\nb", r"a\nb", classification=lambda text: ((text, 0.5),))
    assert same("a\nb", r"a\nb", detection=lambda text: (box(text, 0.5, 5, 200, 99, 99),))
    for name in (HOSTILE, "x" * 10_000, "\ufffd", "猫"):
        assert drawn(read(image=photograph, detection=(box(name, 0.5, 5, 200, 9, 9),))).shape == photograph.shape


@pytest.mark.parametrize("edges", [(float("nan"), 0, 1, 1), (-1e30, -1e30, 2e30, 2e30), (1e9, 1e9, 5, 5), (0, 0, 0, 0)])
def test_no_box_whatever_its_size_stops_the_drawing(read, edges):
    record = read(detection=(box("face", 0.5, *edges), box("face", float("nan"))))

    assert drawn(record).ndim == 3
    assert Image.open(io.BytesIO(thumbnail_of(record, side_px=64).file)).size


@pytest.mark.parametrize("shape", [(512, 300, 3), (8, 8), (3, 2000), (2000, 3, 4), (100, 100, 1)])
def test_a_thumbnail_is_a_jpeg_no_larger_than_it_may_be(read, shape):
    record = read(image=np.full(shape, 77, np.uint8))

    picture = Image.open(io.BytesIO(thumbnail_of(record, side_px=256).file))

    assert picture.format == "JPEG"
    assert 128 < max(picture.size) <= 256
    assert thumbnail_of(record, side_px=256).remark == ""
