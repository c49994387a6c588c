import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from ml.core.errors import LogValueError
from ml.media.video import MAX_FPS, encode_gif, frame_indices, standardize_video


def read_gif(file):
    """Returns the frames as RGB, shape (T, H, W, 3), and their durations in ms."""
    with Image.open(file) as clip:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(clip):
            frames.append(np.asarray(frame.convert("RGB")))
            durations.append(frame.info["duration"])
        assert clip.info["loop"] == 0
    return np.stack(frames), durations


def moving_square(channels=3, count=4):
    """A square of eight colours that moves to the right, uint8 (T, channels, 16, 24)."""
    frames = np.full((count, channels, 16, 24), 20, np.uint8)
    for index, frame in enumerate(frames):
        frame[:, 4:10, 3 + index : 9 + index] = 40 * np.arange(1, 7)
    return frames


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 64, 70), (5, 1, 64, 70)),
        ((5, 1, 64, 70), (5, 1, 64, 70)),
        ((5, 3, 64, 70), (5, 3, 64, 70)),
        ((5, 64, 70, 3), (5, 3, 64, 70)),
        ((5, 64, 70, 4), (5, 4, 64, 70)),
        ((5, 3, 70, 3), (5, 3, 70, 3)),
        ((1, 64, 70), (1, 1, 64, 70)),
        ((3, 1024, 1024), (3, 1, 512, 512)),
        ((2, 8, 10, 3), (2, 3, 56, 70)),
    ],
)
def test_every_layout_becomes_frames_that_fit(shape, expected):
    assert standardize_video(np.zeros(shape)).shape == expected


def test_a_clip_is_scaled_over_all_its_frames():
    clip = np.zeros((3, 64, 64), np.float32)
    clip[1], clip[2] = 2.0, 4.0
    assert standardize_video(clip)[:, 0, 0, 0].tolist() == [0, 128, 255]


def test_frames_may_be_pil_images():
    clip = [Image.new("RGB", (70, 64), (index, 0, 9)) for index in range(3)]
    assert standardize_video(clip)[:, :, 0, 0].tolist() == [[0, 0, 9], [1, 0, 9], [2, 0, 9]]


def test_the_frames_are_not_changed():
    clip = np.random.default_rng(0).normal(size=(3, 8, 8))
    before = clip.copy()
    standardize_video(clip)
    np.testing.assert_array_equal(clip, before)


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (2, 3, 0, 8), (2, 2, 8, 8), (1, 2, 3, 8, 8)])
def test_what_is_no_video_is_refused_with_its_shape(shape):
    with pytest.raises(LogValueError) as raised:
        standardize_video(np.zeros(shape))
    assert str(shape) in raised.value.problem


@pytest.mark.parametrize(
    ("count", "options", "expected"),
    [
        (4, {}, [0, 1, 2, 3]),
        (1, {}, [0]),
        (9, {"length": 3}, [0, 4, 8]),
        (9, {"max_frames": 3}, [0, 4, 8]),
        (2, {"length": 5}, [0, 0, 0, 1, 1]),  # slowed down
        (2, {"length": 500, "max_frames": 4}, [0, 0, 1, 1]),
        (9, {"fps": 150}, [0, 4, 8]),  # 60 ms, 20 each
        (9, {"fps": 50}, list(range(9))),
        (9, {"fps": 1e9}, [0]),
        (2, {"fps": 25, "length": 100}, [0, 0, 1, 1]),  # 80 ms, 20 each
    ],
)
def test_frames_are_chosen_evenly_in_time(count, options, expected):
    assert frame_indices(count, **options) == expected


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 2000),
    fps=st.none() | st.floats(0.1, 1000),
    length=st.none() | st.integers(1, 2000),
    max_frames=st.integers(1, 300),
)
def test_frames_stay_in_order_within_every_limit(count, fps, length, max_frames):
    indices = frame_indices(count, fps=fps, length=length, max_frames=max_frames)
    assert 1 <= len(indices) <= min(max_frames, length or count)
    assert indices == sorted(indices)
    assert indices[0] == 0
    assert len(indices) == 1 or indices[-1] == count - 1
    if fps is not None and len(indices) > 1:
        assert fps * len(indices) / count <= MAX_FPS * (1 + 0.5 / (len(indices) - 0.5))


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"count": 4, "length": 0}, {"count": 4, "max_frames": 0}, {"count": 4, "fps": 0}]
)
def test_no_frames_are_refused(options):
    with pytest.raises(LogValueError):
        frame_indices(**options)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_clip_of_few_colours_reads_back_exactly(channels):
    clip = moving_square(channels)
    frames, _ = read_gif(io.BytesIO(encode_gif(clip, 10)))
    np.testing.assert_array_equal(np.moveaxis(frames, 3, 1), np.broadcast_to(clip, (4, 3, 16, 24)))


def test_a_gray_clip_of_all_shades_reads_back_exactly():
    clip = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    frames, _ = read_gif(io.BytesIO(encode_gif(clip, 10)))
    np.testing.assert_array_equal(frames[..., 0], clip[:, 0])


def test_a_clip_of_many_colours_comes_close():
    y, x, t = np.mgrid[0:64, 0:64, 0:6]
    clip = np.stack([4 * x, 4 * y, 40 * t]).transpose(3, 0, 1, 2).astype(np.uint8)
    frames, _ = read_gif(io.BytesIO(encode_gif(clip, 10)))
    difference = np.abs(np.moveaxis(frames, 3, 1).astype(int) - clip)
    assert difference.mean() < 12
    assert difference.max() < 64


def test_equal_frames_are_all_kept():
    clip = np.repeat(moving_square(count=2), 3, axis=0)
    frames, durations = read_gif(io.BytesIO(encode_gif(clip, 10)))
    assert durations == [100] * 6
    np.testing.assert_array_equal(np.moveaxis(frames, 3, 1), clip)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (10, [100] * 4),
        (30, [30, 40, 30, 30]),
        (50, [20] * 4),
        (1000, [20] * 4),
        (0.5, [2000] * 4),
        (1e-9, [655350] * 4),
    ],
)
def test_durations_add_up_in_steps_of_ten_milliseconds(fps, expected):
    _, durations = read_gif(io.BytesIO(encode_gif(moving_square(), fps)))
    assert durations == expected


def test_alpha_is_laid_on_white():
    clip = np.zeros((1, 4, 8, 8), np.uint8)
    clip[0, 3, :4] = 255
    frames, _ = read_gif(io.BytesIO(encode_gif(clip, 10)))
    assert frames[0, :, 0, 0].tolist() == [0] * 4 + [255] * 4


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_not_positive_is_refused(fps):
    with pytest.raises(LogValueError, match=str(fps)):
        encode_gif(moving_square(), fps)


def test_a_side_that_no_gif_holds_is_refused():
    with pytest.raises(LogValueError, match="1 x 65536"):
        encode_gif(np.zeros((1, 1, 1, 65536), np.uint8), 10)


def test_a_gif_looks_as_it_did(golden):
    expected, expected_durations = read_gif(golden("moving.gif"))
    frames, durations = read_gif(io.BytesIO(encode_gif(moving_square(), 30)))
    np.testing.assert_array_equal(frames, expected)
    assert durations == expected_durations
