"""Files that were encoded come back as the arrays that they were, and what is no such file is refused."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import FormatError
from ml.media.audio import encode_wav
from ml.media.decode import decode_gif, decode_ply, decode_png, decode_wav
from ml.media.image import encode_png
from ml.media.ply import encode_ply
from ml.media.video import encode_gif

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 20, 30), np.uint8)
SOUND = RNG.integers(-(2**15), 2**15, (2, 300)) / np.float32(2**15)
POINTS = RNG.normal(size=(2, 9, 3)).astype(np.float32)
COLORS = RNG.integers(0, 256, (2, 9, 3), np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_comes_back_exactly(channels):
    picture = PIXELS[:channels]

    assert np.array_equal(decode_png(encode_png(picture), picture.shape), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_clip_of_few_colours_comes_back_exactly(channels):
    clip = np.kron(RNG.integers(0, 2, (6, channels, 5, 4), np.uint8) * 255, np.ones((3, 3), np.uint8))
    clip[3] = clip[2]  # a frame that equals the one before

    assert np.array_equal(decode_gif(encode_gif(clip, 10), clip.shape), clip)


def test_a_clip_with_alpha_comes_back_on_white():
    clip = np.zeros((2, 4, 5, 6), np.uint8)
    decoded = decode_gif(encode_gif(clip, 10), clip.shape)

    assert np.array_equal(decoded, np.full_like(clip, 255))


@pytest.mark.parametrize("samples", [SOUND, SOUND[0]], ids=["stereo", "mono"])
def test_sound_of_16_bits_comes_back_exactly(samples):
    assert np.array_equal(decode_wav(encode_wav(samples, 8000), samples.shape), samples)


@pytest.mark.parametrize("colors", [None, COLORS], ids=["plain", "coloured"])
def test_points_come_back_exactly(colors):
    points, decoded = decode_ply(encode_ply(POINTS, colors), POINTS.shape)

    assert np.array_equal(points, POINTS)
    assert np.array_equal(decoded, colors) if colors is not None else decoded is None


FILES = [
    (decode_png, encode_png(PIXELS[:3]), (3, 20, 30)),
    (decode_gif, encode_gif(PIXELS[np.newaxis, :3], 10), (1, 3, 20, 30)),
    (decode_wav, encode_wav(SOUND, 8000), (2, 300)),
    (decode_ply, encode_ply(POINTS, COLORS), (2, 9, 3)),
]


@pytest.mark.parametrize(("decode", "data", "shape"), FILES, ids=lambda value: getattr(value, "__name__", ""))
def test_another_shape_than_was_noted_is_refused(decode, data, shape):
    for other in ((*shape[:-1], shape[-1] + 1), (shape[0] + 1, *shape[1:]), (0, *shape[1:]), (2**40, *shape[1:]), ()):
        with pytest.raises(FormatError, match="this is no"):
            decode(data, other)


@pytest.mark.parametrize(("decode", "data", "shape"), FILES, ids=lambda value: getattr(value, "__name__", ""))
@given(place=st.floats(0, 1), noise=st.binary(min_size=0, max_size=8))
def test_a_damaged_file_is_decoded_or_refused_and_nothing_else(decode, data, shape, place, noise):
    offset = int(place * len(data))
    damaged = data[:offset] + noise if len(noise) % 2 else data[:offset] + noise + data[offset + len(noise) :]
    try:
        made = decode(damaged, shape)
    except FormatError:
        return
    assert (made[0] if isinstance(made, tuple) else made).shape == shape


def test_a_picture_that_says_it_is_huge_is_refused_before_it_is_made():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(FormatError, match=r"50000|decompression bomb"):
        decode_png(bomb, (3, 64, 64))
    with pytest.raises(FormatError, match="elements"):
        decode_png(bomb, (3, 50_000, 50_000))
