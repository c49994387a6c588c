import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from ml.core.errors import LogValueError
from ml.media.arrays import as_array, evenly_spaced


def test_an_array_is_returned_as_it_is():
    array = np.arange(6).reshape(2, 3)
    assert as_array(array) is array


@pytest.mark.parametrize("value", [3, 2.5, True, np.float16(1.5), np.int64(-4)])
def test_a_number_becomes_an_array_without_axes(value):
    assert as_array(value).shape == ()
    assert as_array(value) == value


def test_nested_sequences_become_one_array():
    assert as_array([[1, 2], (3, 4)]).tolist() == [[1, 2], [3, 4]]


class HasArray:
    def __array__(self, dtype=None, copy=None):
        return np.ones((2, 2))


def test_whatever_numpy_can_read_becomes_an_array():
    assert as_array(HasArray()).shape == (2, 2)


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("1", (2, 3), bool),
        ("L", (2, 3), np.uint8),
        ("P", (2, 3, 3), np.uint8),
        ("RGB", (2, 3, 3), np.uint8),
        ("CMYK", (2, 3, 3), np.uint8),
        ("YCbCr", (2, 3, 3), np.uint8),
        ("HSV", (2, 3, 3), np.uint8),
        ("LA", (2, 3, 4), np.uint8),
        ("PA", (2, 3, 4), np.uint8),
        ("RGBA", (2, 3, 4), np.uint8),
        ("I;16", (2, 3), np.uint16),
        ("I", (2, 3), np.int32),
        ("F", (2, 3), np.float32),
    ],
)
def test_every_mode_of_a_pil_image_becomes_gray_rgb_or_rgba(mode, shape, dtype):
    array = as_array(Image.new(mode, (3, 2)))
    assert (array.shape, array.dtype) == (shape, dtype)


def test_a_palette_shows_its_colours():
    image = Image.new("RGB", (2, 1), (10, 200, 30)).quantize(4)
    assert as_array(image).tolist() == [[[10, 200, 30]] * 2]


def test_a_transparent_palette_keeps_its_alpha():
    image = Image.new("P", (1, 1), 0)
    image.putpalette([9, 8, 7])
    image.info["transparency"] = 0
    assert as_array(image).tolist() == [[[9, 8, 7, 0]]]


def test_a_figure_made_without_pyplot_becomes_its_pixels():
    array = as_array(Figure(figsize=(2, 1), dpi=50, facecolor="red"))
    assert array.shape[2] == 4
    assert array[0, 0].tolist() == [255, 0, 0, 255]


def test_a_sequence_of_images_becomes_one_array():
    assert as_array([Image.new("L", (3, 2)), Image.new("L", (3, 2), 9)]).shape == (2, 2, 3)
    assert as_array((np.zeros((2, 3)), np.ones((2, 3)))).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1j]), ["complex128", "(1,)", "np.abs"]),
        ([[1, 2], [3]], ["same shape"]),
        ([np.zeros((2, 3)), np.zeros((3, 2))], ["(2, 3)", "(3, 2)", "Resize"]),
        (np.array([object()]), ["object"]),
        ("text", ["<U4"]),
        (None, ["object"]),
        (np.array(["2020-01-01"], "datetime64[D]"), ["datetime64"]),
        (np.zeros(2, [("x", float)]), ["'x'"]),
        (10**30, ["object"]),
    ],
)
def test_what_holds_no_real_numbers_is_refused_with_what_it_is(value, words):
    with pytest.raises(LogValueError) as raised:
        as_array(value)
    assert all(word in str(raised.value) for word in words)
    assert raised.value.fix.endswith(".")


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("on another device")


def test_the_reason_of_a_foreign_array_is_passed_on():
    with pytest.raises(LogValueError, match=r"a Broken cannot become one array.*on another device"):
        as_array(Broken())


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 500), limit=st.integers(1, 100))
def test_evenly_spaced_indices_are_distinct_ascending_and_span_all(count, limit):
    indices = evenly_spaced(count, limit)
    gaps = np.diff(indices)
    assert len(indices) == min(count, limit)
    assert indices[0] == 0
    assert limit < 2 or indices[-1] == count - 1
    assert not gaps.size or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


def test_no_samples_leave_no_indices_and_a_limit_below_one_is_refused():
    assert evenly_spaced(0, 4) == []
    with pytest.raises(LogValueError, match="limit of 0"):
        evenly_spaced(3, 0)
