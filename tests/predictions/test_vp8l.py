"""Laws of stepping over the transforms of a lossless WebP picture."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from ml.core.errors import FormatError
from ml.predictions.codecs import Layout, decode_image
from ml.predictions.vp8l import check_groups

NOISE = np.random.default_rng(0).integers(0, 256, (90, 110, 4), np.uint8)
PICTURES = {
    "photograph": data.chelsea()[:160, :240],
    "gray": data.coins()[:160, :240],
    "alpha": data.logo()[::4, ::4],
    "noise": NOISE,
    "one color": np.zeros((300, 200, 3), np.uint8),
    **{f"{colors} colors": (NOISE[..., 0] % colors * 9).astype(np.uint8) for colors in (2, 4, 16, 17, 200)},
    "pixel": NOISE[:1, :1],
    "row": NOISE[:1],
    "column": NOISE[:, :1],
}


def file_of(*parts: tuple[int, int], side: int = 1024) -> bytes:
    """Returns a WebP file of a square picture, of numbers with so many bits behind its header."""
    bits = [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4), *parts, (0, 64)]
    number = count = 0
    body = bytearray()
    for value, size in bits:
        number, count = number | value << count, count + size
        while count >= 8:
            body.append(number & 0xFF)
            number, count = number >> 8, count - 8
    body += bytes([number]) + bytes(len(body) % 2 == 0)
    return b"RIFF" + (len(body) + 12).to_bytes(4, "little") + b"WEBPVP8L" + len(body).to_bytes(4, "little") + body


NOTHING = (0, 1)
ONE_SYMBOL = (0b0001, 4)  # simple, one symbol, of one bit: 0
EVERY_BYTE = [(0, 1), (8, 4), *[(0, 3)] * 11, (1, 3), (1, 1), (3, 3), (254, 8)]  # 256 symbols of 8 bits
GROUPS = [NOTHING, NOTHING, (1, 1), (0, 3), NOTHING, *EVERY_BYTE, *EVERY_BYTE, *[ONE_SYMBOL] * 3]


def test_a_file_that_has_a_decoder_make_300_megabytes_of_tables_is_refused():
    """65,536 groups of five codes, in 295 kB."""
    blocks = [(number, 16) for number in range(65_536)]
    bomb = file_of(*GROUPS, *blocks, *[ONE_SYMBOL] * 5 * 65_536)
    assert len(bomb) < 300_000
    with pytest.raises(FormatError, match="65536 blocks"):
        decode_image(bomb, Layout("webp", 1024, 1024, 3))


def test_such_a_file_is_one_that_a_decoder_takes():
    small = file_of(*GROUPS, *[(number, 16) for number in range(16)], *[ONE_SYMBOL] * 5 * 256, side=16)
    assert not decode_image(small, Layout("webp", 16, 16, 3)).any()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("method", "quality"), [(0, 0), (0, 100), (3, 50), (4, 90)])
def test_what_an_encoder_writes_passes(name, method, quality):
    picture, file = PICTURES[name], io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, exact=True, method=method, quality=quality)
    check_groups(file.getvalue(), 25, picture.shape[1], picture.shape[0])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([(1, 1), (2, 2), (1, 1), (2, 2)], "once"),
        ([(1, 1), (0, 2), (0, 3)], "transform of WebP with 65536 pixels"),
        ([(1, 1), (0, 2), (7, 3), NOTHING, (0b11, 2), (1, 1), (255, 8), (255, 8)], "not complete"),
        ([(1, 1), (0, 2), (7, 3), NOTHING, (0, 1), (0, 4), *[(0, 3)] * 4], "not complete"),
        ([(1, 1), (0, 2), (7, 3), NOTHING, *EVERY_BYTE[:-4], (1, 3), (0, 1)], "not complete"),
    ],
    ids=["twice the same", "a large transform", "twice a symbol", "no lengths", "too many codes"],
)
def test_bits_that_mean_nothing_are_a_format_error(parts, message):
    with pytest.raises(FormatError, match=message):
        check_groups(file_of(*parts), 25, 1024, 1024)


@given(st.binary(max_size=200))
def test_any_bits_are_a_picture_or_a_format_error(bits):
    with contextlib.suppress(FormatError):
        check_groups(bits, 0, 640, 480)
