import io
import wave

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from ml.core.errors import FormatError, LogValueError
from ml.evaluation.blobs import MediaFile
from ml.evaluation.values import Audio, Boxes, Image, Masks
from tests.media.lossless_webp import file_of, groups

PIXELS = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)


def encoded(form, pixels=PIXELS, **options):
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (PIXELS, PIXELS),
        (PIXELS[..., 0], PIXELS[..., 0]),
        (np.moveaxis(PIXELS, 2, 0), PIXELS),
        (PIXELS / np.float32(255), PIXELS),
        (torch.from_numpy(PIXELS), PIXELS),
        (torch.from_numpy(PIXELS / np.float32(255)).requires_grad_(), PIXELS),
        (PilImage.fromarray(PIXELS), PIXELS),
        (PIXELS[..., :1] > 20, 255 * (PIXELS[..., 0] > 20)),
    ],
)
def test_a_picture_comes_back_pixel_by_pixel(data, shown):
    image = Image(data)

    assert (image.height, image.width) == image.size == shown.shape[:2]
    np.testing.assert_array_equal(image.array(), shown)


def test_a_picture_is_taken_over_when_it_is_made():
    pixels, corners = PIXELS.copy(), np.ones((2, 4))
    image = Image(pixels, boxes=Boxes(corners))
    pixels[:] = 0
    corners[:] = 0

    np.testing.assert_array_equal(image.array(), PIXELS)
    assert image.boxes is not None
    assert image.boxes.xyxy.tolist() == [[1.0] * 4] * 2
    with pytest.raises(ValueError, match="read-only"):
        image.boxes.xyxy[0] = 0


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_an_encoded_file_is_kept_as_it_is(tmp_path, form):
    data = encoded(form)
    (tmp_path / "x").write_bytes(data)

    images = [Image(data), Image(bytearray(data)), Image(tmp_path / "x"), Image(str(tmp_path / "x"))]

    assert {image.file.read() for image in images} == {data}
    assert {(image.file.ref.ext, image.size) for image in images} == {(form, (6, 7))}
    np.testing.assert_array_equal(images[0].array(), np.asarray(PilImage.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no PNG, JPEG or WebP"),
        (b"GIF89a", "no PNG, JPEG or WebP"),
        (encoded("png")[:40], "ends before"),
        (np.zeros((2, 2, 5)), "shape"),
        (np.zeros((0, 5)), "at least one pixel"),
        (np.zeros((2, 2), complex), "complex"),
        ([["a"]], "numbers"),
        pytest.param(file_of(*groups(65_536, 65_536)), "65536 blocks of codes", id="webp of many codes"),
    ],
)
def test_what_is_no_picture_is_refused(data, problem):
    with pytest.raises(LogValueError, match=problem):
        Image(data)


def test_two_pictures_are_equal_when_their_files_are_and_what_was_said_of_them():
    boxes = Boxes([[1, 2, 3, 4]], labels=["cat"])

    assert Image(PIXELS) == Image(PIXELS.copy())
    assert hash(Image(PIXELS)) == hash(Image(PIXELS.copy()))
    assert Image(PIXELS) != Image(PIXELS + 1)
    assert Image(PIXELS) != Image(PIXELS, caption="cat")
    assert Image(PIXELS, boxes=boxes) == Image(PIXELS, boxes=Boxes([[1, 2, 3, 4.0]], labels=("cat",)))
    assert Image(PIXELS, boxes=boxes) != Image(PIXELS, boxes=Boxes([[1, 2, 3, 4]], labels=["dog"]))
    assert Image(PIXELS, masks=Masks(PIXELS[..., 0])) != Image(PIXELS, masks=Masks(PIXELS[..., 1]))


def test_masks_have_the_size_of_their_picture():
    with pytest.raises(LogValueError, match="6 x 7 has masks of 2 x 2"):
        Image(PIXELS, masks=Masks(np.zeros((2, 2), int)))


def test_a_file_that_holds_another_picture_than_was_noted_is_refused():
    file = MediaFile.held(encoded("png"), "png")

    with pytest.raises(FormatError, match="noted"):
        Image.stored(file, 7, 6, None, None, "").array()
    with pytest.raises(FormatError, match="noted"):
        Masks.stored(file, 6, 7, {}).array()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint16, torch.int32])
def test_masks_come_back_label_by_label(dtype):
    top = {bool: 1, np.uint8: 255}.get(dtype, 65_535)
    labels = (
        torch.tensor([[0, 1], [1, top]]).to(dtype)
        if isinstance(dtype, torch.dtype)
        else np.array([[0, 1], [1, top]], dtype)
    )

    masks = Masks(labels, labels=["background", "cat"])

    np.testing.assert_array_equal(masks.array(), np.array([[0, 1], [1, top]]))
    assert masks.labels == {0: "background", 1: "cat"}


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2)), np.full((2, 2), -1), np.full((2, 2), 65_536), np.zeros((1, 2, 2), int), np.zeros((0, 2), int)],
)
def test_what_is_no_map_of_labels_is_refused(array):
    with pytest.raises(LogValueError, match="masks"):
        Masks(array)


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (["a", "b"], ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        ([1, 2], (1, 2)),
        (torch.tensor([1, 2]), (1, 2)),
        (None, None),
    ],
)
def test_labels_of_boxes_are_texts_or_numbers(labels, kept):
    boxes = Boxes(torch.ones(2, 4), labels, torch.tensor([0.5, 1.0]), ids=labels)

    assert (boxes.labels, boxes.ids, boxes.scores.tolist(), len(boxes)) == (kept, kept, [0.5, 1.0], 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (([[1, 2, 3]],), "shape"),
        (([[1, 2, 3, 4]], ["a", "b"]), "2 labels for 1"),
        (([[1, 2, 3, 4]], [1.5]), "whole numbers"),
        (([[1, 2, 3, 4]] * 2, ["a", 1]), "all of them alike"),
        (([[1, 2, 3, 4]], [2**63]), "whole numbers"),
        (([[1, 2, 3, 4]], None, [1, 2]), "scores"),
        (([[1, 2, 3, 4]], None, None, ["a", "b"]), "2 ids for 1"),
    ],
)
def test_boxes_that_do_not_fit_together_are_refused(arguments, problem):
    with pytest.raises(LogValueError, match=problem):
        Boxes(*arguments)


def test_boxes_of_an_untrained_detector_are_kept_as_they_are():
    boxes = Boxes([[np.nan, 1, np.inf, 0]])

    assert boxes == Boxes([[np.nan, 1, np.inf, 0]])
    assert len(Boxes([])) == len(Boxes(np.zeros((0, 4)))) == 0


def test_sound_comes_back_sample_by_sample(tmp_path):
    samples = (np.arange(-50, 50) * 300).astype(np.int16)
    audio = Audio(samples, 8000)
    (tmp_path / "x.wav").write_bytes(audio.file.read())

    with wave.open(io.BytesIO(audio.file.read())) as clip:
        assert (clip.getframerate(), clip.getnframes()) == (8000, 100)
    np.testing.assert_array_equal(audio.array() * 2**15, samples)
    assert Audio(tmp_path / "x.wav") == Audio(audio.file.read(), 8000) == audio
    assert Audio(tmp_path / "x.wav").sample_rate == 8000


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((np.zeros(3),), "sample_rate"),
        ((np.zeros((2, 2, 2)), 1), "shape"),
        ((b"RIFF", 1), "WAV"),
        ((np.zeros(3), 0), "positive"),
    ],
)
def test_what_is_no_sound_is_refused(arguments, problem):
    with pytest.raises(LogValueError, match=problem):
        Audio(*arguments)
