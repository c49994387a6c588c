import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.core.errors import LogValueError
from ml.media.grid import image_grid, tile


def numbered(count, channels=1, height=64, width=64):
    """Images filled with 1, 2, 3 ..."""
    images = np.arange(1, count + 1, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
    return np.broadcast_to(images, (count, channels, height, width))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), gap_px=st.integers(0, 3), channels=st.sampled_from([1, 3, 4]))
def test_a_grid_is_the_most_nearly_square_one_in_reading_order(count, gap_px, channels):
    grid = tile(numbered(count, channels, 2, 5), gap_px=gap_px)
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    assert grid.shape == (channels, rows * 2 + (rows - 1) * gap_px, columns * 5 + (columns - 1) * gap_px)
    cells = grid[0, :: 2 + gap_px, :: 5 + gap_px].ravel()
    assert cells.tolist() == [*range(1, count + 1), *[0] * (rows * columns - count)]
    assert grid.sum(dtype=int) == 10 * channels * count * (count + 1) // 2  # gaps and last cells are zeros


def test_seven_images_take_three_columns_and_three_rows():
    assert tile(numbered(7)).shape == (1, 3 * 64, 3 * 64)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.bool_])
def test_a_grid_keeps_the_dtype(dtype):
    assert tile(np.ones((2, 3, 4, 5), dtype)).dtype == dtype


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 3, 4, 5), (2, 2, 4, 5), (2, 3, 0, 5)])
def test_what_is_no_batch_of_images_is_refused(shape):
    with pytest.raises(LogValueError, match="shape"):
        tile(np.zeros(shape))


def test_a_negative_gap_is_refused():
    with pytest.raises(LogValueError, match="-1"):
        tile(numbered(2), gap_px=-1)


@pytest.mark.parametrize(
    "shape", [(4, 64, 70), (4, 1, 64, 70), (4, 64, 70, 1), (4, 3, 64, 70), (4, 64, 70, 3), (4, 4, 64, 70)]
)
def test_every_layout_of_a_batch_becomes_a_grid(shape):
    channels = 1 if len(shape) == 3 else next(side for side in shape[1:] if side < 5)
    assert image_grid(np.zeros(shape, np.uint8)).shape == (channels, 128, 140)


def test_cells_of_one_batch_are_scaled_by_one_range():
    images = np.zeros((2, 64, 64), np.float32)
    images[0], images[1] = 1.0, 10.0
    for batch in (images, list(images), [Image.fromarray(image) for image in images]):
        assert np.unique(image_grid(batch)).tolist() == [26, 255]


def test_images_of_other_dtypes_keep_their_own_range():
    grid = image_grid([np.full((64, 64), 0.5), np.full((64, 64), 255, np.uint8), np.ones((64, 64), bool)])
    assert grid[0, 0, 0] == 128
    assert grid[0, 0, 64] == 255
    assert grid[0, 64, 0] == 255


def test_cells_are_shrunk_to_their_area_unless_the_resolution_is_kept():
    images = np.zeros((4, 512, 512), np.uint8)
    assert image_grid(images).shape == (1, 512, 512)
    assert image_grid(images, keep_resolution=True).shape == (1, 1024, 1024)


def test_images_of_several_sizes_are_centred_on_one():
    grid = image_grid([np.full((64, 64), 200, np.uint8), np.full((100, 80), 100, np.uint8)])
    first = grid[0, :, :80]
    assert grid.shape == (1, 100, 160)
    assert (first[18:82, 8:72] == 200).all()
    assert first.sum(dtype=int) == 64 * 64 * 200


def test_gray_beside_colour_becomes_colour_and_opaque_beside_alpha_gets_alpha():
    gray, colour = np.full((64, 64), 100, np.uint8), np.full((3, 64, 64), 50, np.uint8)
    clear = np.zeros((64, 64, 4), np.uint8)
    assert image_grid([gray, colour])[:, 0, 0].tolist() == [100, 100, 100]
    grid = image_grid([gray, colour, clear])
    assert [grid[:, y, x].tolist() for y, x in ((0, 0), (0, 64), (64, 0))] == [
        [100, 100, 100, 255],
        [50, 50, 50, 255],
        [0, 0, 0, 0],
    ]


def test_every_image_has_its_label_under_it():
    images = numbered(3, height=64, width=100)
    bare, labeled = image_grid(images), image_grid(images, texts=["one", "a label that needs two lines", "three"])
    band = labeled.shape[1] // 2 - 64
    assert labeled.shape == (1, bare.shape[1] + 2 * band, bare.shape[2])
    for row, column, value in ((0, 0, 1), (0, 1, 2), (1, 0, 3)):
        top, left = row * (64 + band), column * 100
        assert (labeled[0, top : top + 64, left : left + 100] == value).all()
        assert labeled[0, top + 64, left + 50] == 255


def test_another_number_of_labels_is_refused():
    with pytest.raises(LogValueError, match="1 labels for 2 images"):
        image_grid(numbered(2), texts=["one"])


@pytest.mark.parametrize(
    "images",
    [[], np.zeros((0, 3, 8, 8)), np.zeros((2, 8, 0)), np.zeros((8, 8)), np.zeros((2, 2, 8, 8)), [np.zeros((2, 8, 8))]],
)
def test_a_batch_without_images_is_refused(images):
    with pytest.raises(LogValueError):
        image_grid(images)


def test_the_images_are_not_changed():
    images = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    before = images.copy()
    image_grid(images, texts=["a", "b", "c"])
    np.testing.assert_array_equal(images, before)


def test_a_grid_looks_as_it_did(golden_pixels):
    ramp = np.linspace(-1, 3, 5 * 3 * 6 * 8, dtype=np.float32).reshape(5, 3, 6, 8)
    np.testing.assert_allclose(image_grid(ramp, sep=2).astype(int), golden_pixels("grid.png"), atol=1)
