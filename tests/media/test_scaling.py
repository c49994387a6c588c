"""Laws of pictures in another size."""

import io

import numpy as np
import pytest
from PIL import Image

from ml.media.scaling import encode_jpeg, on_white, scaled, thumbnail

CHECKERS = np.kron(np.indices((4, 6)).sum(0) % 2, np.full((2, 2), 255)).astype(np.uint8)[np.newaxis]


@pytest.mark.parametrize("side", range(3, 400))
def test_the_longer_side_of_a_thumbnail_is_what_was_asked_for_or_nearly(side):
    height, width = thumbnail(np.zeros((1, 3, side), np.uint8), side_px=160).shape[1:]

    assert width == (160 if side >= 160 else 160 // side * side)
    assert height == max(1, 3 * width // side)


def test_a_picture_is_enlarged_without_smoothing():
    large = thumbnail(CHECKERS, side_px=40)

    assert large.shape == (1, 24, 36)
    np.testing.assert_array_equal(large[:, ::3, ::3], CHECKERS)
    assert set(np.unique(large)) == {0, 255}


def test_a_picture_is_never_enlarged_beyond_the_area_that_it_may_have():
    assert scaled(CHECKERS, 2.9, min_side_px=1000).shape == (1, 16, 24)


def test_a_picture_of_the_right_size_is_not_copied():
    assert scaled(CHECKERS, 1.5, min_side_px=12) is CHECKERS


def test_what_is_transparent_is_white():
    picture = np.zeros((4, 8, 8), np.uint8)
    picture[3, :, 4:] = 255

    white = on_white(picture)
    file = Image.open(io.BytesIO(encode_jpeg(picture)))

    np.testing.assert_array_equal(white[0], np.repeat([[255] * 4 + [0] * 4], 8, axis=0))
    assert np.abs(np.moveaxis(np.asarray(file).astype(int), 2, 0) - white).max() < 60
    assert on_white(CHECKERS) is CHECKERS
