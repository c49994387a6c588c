"""Laws of stepping over the transforms of a lossless WebP picture."""

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from ml.core.errors import FormatError
from ml.media.image_files import decode_image
from ml.media.vp8l import check_groups
from tests.media.lossless_webp import EVERY_BYTE, FILES, NOTHING, file_of, groups

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


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_that_has_a_decoder_make_300_megabytes_of_tables_is_refused(file):
    """65,536 groups of five codes, in 295 kB."""
    bomb = file(*groups(65_536, 65_536))
    assert len(bomb) < 300_000
    with pytest.raises(FormatError, match="65536 blocks"):
        decode_image(bomb)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_such_a_file_is_one_that_a_decoder_takes(file):
    small = file(*groups(16, 256), side=16)
    assert decode_image(small).shape[:2] == (16, 16)


_MEASURED = """
import re, sys
from ml.core.errors import FormatError
from ml.media.image_files import decode_image

def peak_kib():  # ru_maxrss begins with that of the parent
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])

first, *others = [open(path, "rb").read() for path in sys.argv[1:]]
decode_image(first)
before = peak_kib()
for data in others:
    try:
        decode_image(data)
    except FormatError:
        pass
print((peak_kib() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_no_file_takes_much_more_memory_than_its_pixels_do(tmp_path):
    """Of 65,536 groups of codes, all are used, or 2,500."""
    files = {"plain": file_of(*groups(2500, 1), side=200)}
    for name, file in FILES.items():
        files[f"all of {name}"] = file(*groups(65_536, 65_536))
        files[f"few of {name}"] = file(*groups(2500, 65_536), side=200)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    taken = subprocess.run(
        [sys.executable, "-c", _MEASURED, *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(taken.stdout) < 64, f"{taken.stdout} MiB"


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("method", "quality"), [(0, 0), (0, 100), (3, 50), (4, 90)])
def test_what_an_encoder_writes_passes(name, method, quality):
    picture, file = PICTURES[name], io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, exact=True, method=method, quality=quality)
    check_groups(file.getvalue(), 25, picture.shape[1], picture.shape[0], max_transform_pixels=20_000)


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
        check_groups(file_of(*parts), 25, 1024, 1024, max_transform_pixels=20_000)


@given(st.binary(max_size=200))
def test_any_bits_are_a_picture_or_a_format_error(bits):
    with contextlib.suppress(FormatError):
        check_groups(bits, 0, 640, 480, max_transform_pixels=20_000)
