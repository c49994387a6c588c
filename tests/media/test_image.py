import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ml.core.errors import LogValueError
from ml.media.image import encode_png, size_px, standardize_image, to_uint8


def gradient(height, width):
    """A colour gradient in [0, 1], shape (3, height, width), float32."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x / (width - 1), y / (height - 1), (x + y) / (height + width - 2)])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((70, 80), (1, 70, 80)),
        ((1, 70, 80), (1, 70, 80)),
        ((70, 80, 1), (1, 70, 80)),
        ((3, 70, 80), (3, 70, 80)),
        ((70, 80, 3), (3, 70, 80)),
        ((4, 70, 80), (4, 70, 80)),
        ((70, 80, 4), (4, 70, 80)),
        ((3, 70, 3), (3, 70, 3)),  # channels first wins a tie
        ((1, 70, 4), (1, 70, 4)),
    ],
)
def test_every_layout_becomes_channels_first(shape, expected):
    assert standardize_image(np.zeros(shape)).shape == expected


@pytest.mark.parametrize("shape", [(70, 80), (3, 70, 80), (70, 80, 3)])
def test_the_size_is_height_and_width_in_every_layout(shape):
    assert size_px(np.zeros(shape)) == (70, 80)


def test_channels_last_is_transposed_and_not_reshaped():
    image = (gradient(64, 70) * 255).astype(np.uint8)
    np.testing.assert_array_equal(standardize_image(np.moveaxis(image, 0, 2)), image)


@pytest.mark.parametrize("shape", [(5,), (2, 70, 80), (70, 80, 5), (2, 3, 70, 80), (0, 80), (3, 0, 80), ()])
def test_another_shape_is_refused_with_the_shape_and_a_cure(shape):
    with pytest.raises(LogValueError) as raised:
        standardize_image(np.zeros(shape))
    assert str(shape) in raised.value.problem
    assert raised.value.fix.endswith(".")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # [0, 1] is as it is
        ([0.25, 0.25, 0.5], [64, 64, 128]),  # and not stretched
        ([0.0, 1.0, 2.0], [0, 128, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([-3.0, -3.0, 1.0], [0, 0, 255]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([np.inf, -np.inf, 0.5], [255, 0, 128]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([-1e300, 0.0, 1e300], [0, 128, 255]),
        ([-1.7e308, 0.0, 1.7e308], [0, 128, 255]),
    ],
)
def test_floats_are_scaled_by_the_range_that_includes_black_and_white(values, expected):
    assert to_uint8(np.array(values)).tolist() == expected


@pytest.mark.parametrize("value", [0.0, 0.2, 1.0, 7.0, -7.0])
def test_a_constant_image_is_not_stretched(value):
    expected = {0.0: 0, 0.2: 51, 1.0: 255, 7.0: 255, -7.0: 0}[value]
    assert set(standardize_image(np.full((64, 64), value)).ravel().tolist()) == {expected}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_every_float_dtype_gives_the_same_pixels(dtype):
    assert to_uint8(np.array([0, 0.5, 1], dtype)).tolist() == [0, 128, 255]
    assert to_uint8(np.array([-3e4, 0, 3e4], dtype)).tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([False, True]), [0, 255]),
        (np.array([0, 7, 255], np.int64), [0, 7, 255]),
        (np.array([0, 65535], np.uint16), [0, 255]),
        (np.array([0, 1000, 2000], np.int32), [0, 128, 255]),
        (np.array([-255, 0, 255], np.int16), [0, 128, 255]),
        (np.array([-128, 127], np.int8), [0, 170]),  # from -128 to 255
        (np.array([-(2**63), 0, 2**63 - 1]), [0, 128, 255]),
        (np.array([0, 2**64 - 1], np.uint64), [0, 255]),
    ],
)
def test_integers_are_pixels_or_scaled_by_the_range_that_includes_them(values, expected):
    assert to_uint8(values).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint16, np.bool_, np.uint8]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    )
)
def test_any_numbers_become_pixels_in_their_order_and_the_input_stays(values):
    before = values.copy()
    pixels = to_uint8(values)
    np.testing.assert_array_equal(values, before)
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    assert (np.diff(pixels[finite][order].astype(int)) >= 0).all()
    assert not pixels[np.isnan(values)].any()


def test_large_arrays_are_scaled_in_parts_as_if_at_once():
    values = np.linspace(-1, 1, 600_000, dtype=np.float32)
    expected = np.floor((values.astype(np.float64) + 1) / 2 * 255 + 0.5)
    assert np.abs(to_uint8(values) - expected).max() <= 1
    assert to_uint8(values)[[0, -1]].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (512, 512)),
        ((1024, 1024), (512, 512)),
        ((480, 640), (443, 591)),
        ((64, 10), (64, 10)),  # one side under 64 pixels is no reason
        ((8, 8), (64, 64)),
        ((28, 28), (84, 84)),
        ((10, 20), (40, 80)),
        ((63, 1), (126, 2)),
        ((1, 1), (64, 64)),
        ((1, 1_000_000), (1, 262_144)),
        ((1_000_000, 1), (262_144, 1)),
        ((3, 400_000), (1, 186_955)),
    ],
)
def test_pictures_fit_the_area_and_small_ones_grow_by_a_whole_factor(size, expected):
    assert standardize_image(np.zeros(size)).shape[1:] == expected


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000), limit=st.integers(1, 70_000))
def test_no_picture_is_beyond_its_area_or_without_a_side(height, width, limit):
    _, new_height, new_width = standardize_image(np.zeros((height, width), np.uint8), max_area_px=limit).shape
    assert 1 <= new_height * new_width <= limit


@pytest.mark.parametrize("size", [(8, 8), (600, 600)])
def test_keeping_the_resolution_neither_shrinks_nor_enlarges(size):
    assert standardize_image(np.zeros(size), keep_resolution=True).shape == (1, *size)


def test_shrinking_averages_areas():
    checkers = np.indices((1024, 1024)).sum(axis=0) % 2
    assert set(standardize_image(checkers.astype(bool)).ravel().tolist()) <= {127, 128}


def test_enlarging_repeats_pixels():
    image = np.array([[0, 255], [100, 200]], np.uint8)
    np.testing.assert_array_equal(standardize_image(image)[0], np.kron(image, np.ones((32, 32), np.uint8)))


def test_transparent_pixels_do_not_bleed_into_their_neighbours():
    image = np.zeros((4, 1024, 1024), np.uint8)
    image[:, :, ::2] = np.array([255, 0, 0, 255])[:, np.newaxis, np.newaxis]
    assert standardize_image(image)[:, 5, 5].tolist() == [255, 0, 0, 128]


def test_uint8_of_the_right_size_passes_untouched():
    image = np.random.default_rng(0).integers(0, 256, (3, 100, 90), np.uint8)
    np.testing.assert_array_equal(standardize_image(image), image)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_reads_back_the_same_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (channels, 20, 30), np.uint8)
    read = np.asarray(Image.open(io.BytesIO(encode_png(image))))
    np.testing.assert_array_equal(read.reshape(20, 30, channels), np.moveaxis(image, 0, 2))


def test_a_shrunk_picture_looks_as_it_did(golden_pixels):
    shrunk = standardize_image(gradient(120, 160), max_area_px=48 * 64)
    np.testing.assert_allclose(shrunk.astype(int), golden_pixels("shrunk.png"), atol=1)
