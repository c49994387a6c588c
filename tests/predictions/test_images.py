"""Laws of taking over the images that users log."""

import numpy as np
import pytest
from PIL import Image

from ml.core.errors import LogValueError
from ml.predictions.images import check_encodable, snapshot


def picture(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_pixels_stay_as_they_are(shape, dtype):
    image = picture(*shape, dtype=dtype)
    taken = snapshot(image)
    np.testing.assert_array_equal(taken, image)
    assert taken.dtype == dtype
    assert taken.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int64])
def test_what_the_caller_does_afterwards_does_not_matter(dtype):
    for image in (picture(5, 7, 3, dtype=dtype), picture(5, 7, 3, dtype=dtype)[::-1, ::2]):
        before = image.copy()
        taken = snapshot(image)
        kept = taken.copy()
        image[...] = 0
        np.testing.assert_array_equal(taken, kept)
        assert before.any()
        assert taken.any()
        assert not np.shares_memory(taken, image)


def test_the_image_of_the_caller_is_never_changed():
    image = picture(5, 7, 3)
    image.flags.writeable = False
    snapshot(image, bgr=True)[...] = 0
    np.testing.assert_array_equal(image, picture(5, 7, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bgr_becomes_rgb_and_alpha_stays_last(dtype):
    image = picture(5, 7, 4, dtype=dtype)
    np.testing.assert_array_equal(snapshot(image[..., :3], bgr=True), image[..., 2::-1])
    np.testing.assert_array_equal(snapshot(image, bgr=True), image[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(snapshot(image[..., :1], bgr=True), image[..., :1])
    np.testing.assert_array_equal(snapshot(image[..., 0], bgr=True), image[..., 0])


def test_channels_may_come_first_and_are_last_where_both_are_possible():
    image = picture(5, 7, 3)
    np.testing.assert_array_equal(snapshot(np.moveaxis(image, 2, 0)), image)
    np.testing.assert_array_equal(snapshot(picture(3, 7, 4)), picture(3, 7, 4))
    assert snapshot(picture(1, 5, 7)).shape == (5, 7, 1)


def test_floats_become_pixels_by_the_rule_of_all_images():
    np.testing.assert_array_equal(snapshot(np.array([[0.0, 0.5, 1.0]])), [[0, 128, 255]])
    np.testing.assert_array_equal(snapshot(np.array([[np.nan, np.inf, -np.inf, 2.0]])), [[0, 255, 0, 255]])
    np.testing.assert_array_equal(snapshot(np.array([[True, False]])), [[255, 0]])
    np.testing.assert_array_equal(snapshot(np.array([[0, 7, 255]])), [[0, 7, 255]])


def test_the_byte_order_of_another_machine_is_turned():
    image = picture(5, 7, dtype=np.uint16)
    taken = snapshot(image.astype(">u2"))
    assert taken.dtype == np.uint16
    assert taken.dtype.isnative
    np.testing.assert_array_equal(taken, image)


def test_tensors_and_pil_images_are_images():
    torch = pytest.importorskip("torch")
    image = picture(5, 7, 3)
    np.testing.assert_array_equal(snapshot(torch.from_numpy(image).permute(2, 0, 1)), image)
    np.testing.assert_array_equal(snapshot(Image.fromarray(image)), image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5), np.uint8),
        np.zeros((5, 7, 2), np.uint8),
        np.zeros((2, 5, 7, 3), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((5, 5), complex),
        np.array([["a"]]),
        "image.png",
        None,
        object(),
    ],
    ids=lambda image: str(getattr(image, "shape", type(image).__name__)),
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(LogValueError):
        snapshot(image)


@pytest.mark.parametrize(("codec", "shape"), [("jpeg", (1, 65_501)), ("webp", (16_384, 1))])
def test_an_image_that_a_codec_cannot_hold_is_refused_with_what_to_do(codec, shape):
    with pytest.raises(LogValueError, match="png"):
        check_encodable(np.zeros(shape, np.uint8), codec)
    check_encodable(np.zeros(shape, np.uint8), "png")


def test_webp_loses_no_bits_silently():
    with pytest.raises(LogValueError, match="png"):
        check_encodable(np.zeros((2, 2), np.uint16), "webp")
