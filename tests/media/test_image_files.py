import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ml.core.errors import FormatError
from ml.media import image_files
from ml.media.image_files import decode_image, inspect

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 7, 4), np.uint8)


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


RGB, RGBA, GRAY = (Image.fromarray(PIXELS[..., :3]), Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., 0]))
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned by 90 degrees
FILES = {
    "png rgb": (encoded(RGB, "PNG"), RGB),
    "png rgba": (encoded(RGBA, "PNG"), RGBA),
    "png gray": (encoded(GRAY, "PNG"), GRAY),
    "png 16 bits": (encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG"), None),
    "png palette": (encoded(RGB.quantize(16), "PNG"), RGB.quantize(16).convert("RGB")),
    "png black and white": (encoded(GRAY.convert("1"), "PNG"), GRAY.convert("1").convert("L")),
    "png interlaced": (encoded(RGB, "PNG", interlace=1), RGB),
    "png with texts": (encoded(RGB, "PNG", dpi=(72, 72), exif=EXIF), RGB),
    "jpeg": (encoded(RGB, "JPEG"), None),
    "jpeg gray": (encoded(GRAY, "JPEG"), None),
    "jpeg progressive": (encoded(RGB, "JPEG", progressive=True), None),
    "jpeg with metadata": (encoded(RGB, "JPEG", exif=EXIF, comment=b"x" * 99), None),
    "webp": (encoded(RGB, "WEBP"), None),
    "webp with alpha": (encoded(RGBA, "WEBP"), None),
    "webp lossless": (encoded(RGBA, "WEBP", lossless=True, exact=True), RGBA),
    "webp with metadata": (encoded(RGB, "WEBP", lossless=True, exif=EXIF), RGB),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_programs_are_read_as_pillow_reads_them(name):
    data, wanted = FILES[name]
    found = inspect(data)

    assert (found.format, found.height, found.width) == (name.split()[0], 6, 7)
    np.testing.assert_array_equal(decode_image(data), np.asarray(wanted or Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("name", FILES)
def test_every_cut_file_is_refused(name):
    data, _ = FILES[name]

    for size in range(len(data) - 1):
        with pytest.raises(FormatError):
            decode_image(data[:size])


@pytest.mark.parametrize("name", ["png with texts", "jpeg with metadata", "webp with metadata"])
def test_metadata_are_not_shown_to_the_decoder(name):
    plain = inspect(FILES[name][0]).plain

    assert len(plain) < len(FILES[name][0])
    assert Image.open(io.BytesIO(plain)).getexif() == {}


@pytest.mark.parametrize("name", FILES)
def test_a_size_that_is_claimed_is_bounded_before_anything_is_decoded(name, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 41)
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: pytest.fail("it was opened"))

    with pytest.raises(FormatError, match="6 x 7"):
        decode_image(FILES[name][0])


def test_a_bomb_of_text_in_a_png_file_is_never_unpacked(monkeypatch):
    data = FILES["png rgb"][0]
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(b"a" * 2**20))

    np.testing.assert_array_equal(decode_image(data[:33] + bomb * 5 + data[33:]), PIXELS[..., :3])


def test_an_animation_is_refused():
    data = encoded(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)])

    with pytest.raises(FormatError, match="animated"):
        inspect(data)


def test_the_first_picture_of_an_animated_png_file_is_read():
    data = encoded(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)])

    np.testing.assert_array_equal(decode_image(data), PIXELS[..., :3])


def test_a_jpeg_file_of_many_scans_is_refused(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_SCANS", 2)

    with pytest.raises(FormatError, match="scans"):
        inspect(FILES["jpeg progressive"][0])


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 50, b"BM" + b"\0" * 50, b"\x89PNG", b"RIFF\0\0\0\0WAVE"])
def test_other_files_are_refused(data):
    with pytest.raises(FormatError, match="no PNG, JPEG or WebP"):
        inspect(data)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_damaged_bytes_is_refused_or_a_picture_of_its_size(name):
    data, _ = FILES[name]
    random = np.random.default_rng(1)

    for position in random.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[position] ^= int(random.integers(1, 256))
        try:
            pixels = decode_image(bytes(damaged))
        except FormatError:
            continue
        assert pixels.shape[:2] == inspect(bytes(damaged))[1:3]
