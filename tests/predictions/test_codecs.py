"""Laws of image files: lossless ones give every pixel back, JPEG nearly, and hostile ones allocate nothing."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage import data

from ml.core.errors import FormatError, LogValueError
from ml.predictions.codecs import MAX_PIXELS, Layout, decode_image, encode_image
from ml.predictions.headers import MAX_SCANS, read_header
from tests.media import lossless_webp

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PHOTOGRAPHS = {
    "astronaut": data.astronaut(),
    "coffee": data.coffee(),
    "cat": data.chelsea(),
    "camera": data.camera(),
    "coins": data.coins(),
    "logo": data.logo(),  # RGBA
    "cell": data.cell(),
    "camera with an axis": data.camera()[..., None],
}


def as_file(picture, kind, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def png(*chunks):
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def ihdr(height, width, bits=8, color=2, interlace=0):
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace)


def in_front_of_scan(jpeg, segment):
    """A JPEG file with one more segment in its header."""
    return jpeg[:2] + segment + jpeg[2:]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("codec", ["png", "webp"])
def test_a_lossless_file_gives_every_pixel_of_a_photograph_back(codec, name):
    picture = PHOTOGRAPHS[name]
    decoded = decode_image(*encode_image(picture, codec))
    np.testing.assert_array_equal(decoded, picture)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable


@pytest.mark.parametrize("codec", ["png", "webp"])
def test_transparent_pixels_keep_their_colors(codec):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    picture[..., 3] = 0
    np.testing.assert_array_equal(decode_image(*encode_image(picture, codec)), picture)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1), (40, 30, 3), (40, 30, 4), (1, 1, 3), (1, 1)])
def test_png_gives_sixteen_bits_back(shape):
    picture = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    decoded = decode_image(*encode_image(picture, "png"))
    np.testing.assert_array_equal(decoded, picture)
    assert decoded.dtype == np.uint16


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("png", np.uint8), ("png", np.uint16), ("webp", np.uint8)]),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([None, 1, 3, 4])),
    st.data(),
)
def test_a_lossless_file_gives_pixels_of_any_shape_back(kind, size, draw):
    codec, dtype = kind
    picture = draw.draw(arrays(dtype, size[:2] if size[2] is None else size))
    np.testing.assert_array_equal(decode_image(*encode_image(picture, codec)), picture)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_jpeg_is_close(name):
    picture = PHOTOGRAPHS[name]
    decoded = decode_image(*encode_image(picture, "jpeg"))
    expected = picture[..., :3] if picture.ndim == 3 else picture
    assert decoded.shape == expected.shape
    squared = np.mean(np.square(decoded.astype(float) - expected))
    assert 10 * np.log10(255**2 / squared) > 34  # dB


def test_jpeg_keeps_the_upper_8_of_16_bits():
    picture = np.full((16, 16), 0x8042, np.uint16)
    decoded = decode_image(*encode_image(picture, "jpeg"))
    assert decoded.dtype == np.uint8
    assert (decoded == 0x80).all()


def test_a_lower_quality_makes_a_smaller_file():
    sizes = [len(encode_image(PHOTOGRAPHS["cat"], "jpeg", quality).file) for quality in (50, 90, 95, 100)]
    assert sizes == sorted(sizes)


def test_colors_have_half_the_resolution_as_in_files_of_opencv():
    file = encode_image(PHOTOGRAPHS["cat"], "jpeg").file
    assert [layer[1:3] for layer in Image.open(io.BytesIO(file)).layer] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp"])
def test_noise_at_the_best_quality_is_never_too_large_to_be_read(codec):
    for shape in ((1, 1), (2000, 1), (1, 2000), (64, 64, 3), (90, 2, 4)):
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        assert decode_image(*encode_image(noise, codec, 100)).shape[:2] == shape[:2]


def test_an_image_that_a_codec_cannot_hold_is_refused():
    with pytest.raises(LogValueError, match="webp"):
        encode_image(np.zeros((20_000, 1), np.uint8), "webp")


LARGE = 100_000
TINY_PNG = as_file(np.zeros((8, 8, 3), np.uint8), "PNG")
TINY_JPEG = as_file(np.zeros((8, 8, 3), np.uint8), "JPEG")
TINY_WEBP = as_file(np.zeros((8, 8, 3), np.uint8), "WEBP", lossless=True)
EMPTY_ROWS = zlib.compress(bytes(25 * 8))
PICTURE = Layout("png", 8, 8, 3)
HOSTILE = {
    "png of another size": (png(ihdr(LARGE, LARGE), (b"IDAT", EMPTY_ROWS), (b"IEND", b"")), PICTURE),
    "png of a million pixels a side": (png(ihdr(2**31 - 1, 2**31 - 1), (b"IDAT", b""), (b"IEND", b"")), PICTURE),
    "png with a compressed text": (
        png(ihdr(8, 8), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), (b"IDAT", EMPTY_ROWS), (b"IEND", b"")),
        PICTURE,
    ),
    "png with a text": (png(ihdr(8, 8), (b"tEXt", b"a\0b"), (b"IDAT", EMPTY_ROWS), (b"IEND", b"")), PICTURE),
    "png with a profile": (png(ihdr(8, 8), (b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))), (b"IEND", b"")), PICTURE),
    "animated png": (
        as_file(np.zeros((8, 8, 3), np.uint8), "PNG", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        PICTURE,
    ),
    "interlaced png": (png(ihdr(8, 8, interlace=1), (b"IDAT", EMPTY_ROWS), (b"IEND", b"")), PICTURE),
    "png of 16 bit colors": (png(ihdr(8, 8, bits=16), (b"IDAT", EMPTY_ROWS), (b"IEND", b"")), PICTURE),
    "png with a palette": (as_file(np.zeros((8, 8), np.uint8), "PNG")[:25] + b"\x03" + TINY_PNG[26:], PICTURE),
    "png of many chunks": (png(ihdr(8, 8), *[(b"IDAT", b"")] * 5000, (b"IEND", b"")), PICTURE),
    "png without pixels": (png(ihdr(8, 8), (b"IDAT", b""), (b"IEND", b"")), PICTURE),
    "png with a short stream": (png(ihdr(8, 8), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b"")), PICTURE),
    "png with a tail": (TINY_PNG + b"more", PICTURE),
    "cut png": (TINY_PNG[:-20], PICTURE),
    "cut png header": (TINY_PNG[:20], PICTURE),
    "jpeg of another size": (
        TINY_JPEG.replace(b"\x11\x08\0\x08\0\x08", b"\x11\x08\xff\xff\xff\xff"),
        Layout("jpeg", 8, 8, 3),
    ),
    "jpeg without an end": (TINY_JPEG[:-2], Layout("jpeg", 8, 8, 3)),
    "jpeg with a tail": (TINY_JPEG + b"more", Layout("jpeg", 8, 8, 3)),
    "jpeg of two frames": (
        TINY_JPEG.replace(b"\xff\xc0", b"\xff\xc0" + TINY_JPEG[TINY_JPEG.index(b"\xff\xc0") + 2 :][:17] + b"\xff\xc0"),
        Layout("jpeg", 8, 8, 3),
    ),
    "arithmetic jpeg": (TINY_JPEG.replace(b"\xff\xc0", b"\xff\xc9"), Layout("jpeg", 8, 8, 3)),
    "jpeg of 12 bits": (TINY_JPEG.replace(b"\x11\x08\0\x08", b"\x11\x0c\0\x08"), Layout("jpeg", 8, 8, 3)),
    "jpeg of many segments": (in_front_of_scan(TINY_JPEG, b"\xff\xfe\0\x02" * 5000), Layout("jpeg", 8, 8, 3)),
    "jpeg of many scans": (
        as_file(np.zeros((8, 8, 3), np.uint8), "JPEG", progressive=True)[:-2]
        + b"\xff\xda\0\x08\x01\x01\0\0\x3f\x10\0" * 5000
        + b"\xff\xd9",
        Layout("jpeg", 8, 8, 3),
    ),
    "jpeg of four inks": (
        as_file(np.zeros((8, 8, 4), np.uint8)[..., :3], "JPEG").replace(b"\0\x08\0\x08\x03", b"\0\x08\0\x08\x04"),
        Layout("jpeg", 8, 8, 3),
    ),
    "jpeg without a frame": (b"\xff\xd8" + TINY_JPEG[TINY_JPEG.index(b"\xff\xda") :], Layout("jpeg", 8, 8, 3)),
    "cut jpeg header": (TINY_JPEG[:30], Layout("jpeg", 8, 8, 3)),
    "jpeg with an empty segment": (in_front_of_scan(TINY_JPEG, b"\xff\xfe\0\0"), Layout("jpeg", 8, 8, 3)),
    "webp of another size": (TINY_WEBP[:21] + b"\xff\xff\xff\x0f" + TINY_WEBP[25:], Layout("webp", 8, 8, 3)),
    "webp with loss": (as_file(np.zeros((8, 8, 3), np.uint8), "WEBP"), Layout("webp", 8, 8, 3)),
    "animated webp": (
        as_file(
            np.zeros((8, 8, 3), np.uint8),
            "WEBP",
            save_all=True,
            append_images=[Image.new("RGB", (8, 8), "red")],
            lossless=True,
        ),
        Layout("webp", 8, 8, 3),
    ),
    "webp with metadata": (
        as_file(np.zeros((8, 8, 3), np.uint8), "WEBP", lossless=True, exif=b"Exif\0\0MM"),
        Layout("webp", 8, 8, 3),
    ),
    "webp with a tail": (TINY_WEBP + b"more", Layout("webp", 8, 8, 3)),
    "cut webp": (TINY_WEBP[:-4], Layout("webp", 8, 8, 3)),
    "cut webp header": (TINY_WEBP[:23], Layout("webp", 8, 8, 3)),
    "webp of many codes": (lossless_webp.file_of(*lossless_webp.groups(65_536, 65_536)), Layout("webp", 1024, 1024, 3)),
    "webp of a later version": (TINY_WEBP[:24] + b"\xe0" + TINY_WEBP[25:], Layout("webp", 8, 8, 3)),
    "gif": (as_file(np.zeros((8, 8), np.uint8), "GIF"), Layout("png", 8, 8, 1)),
    "tiff": (as_file(np.zeros((8, 8), np.uint8), "TIFF"), Layout("jpeg", 8, 8, 1)),
    "pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", Layout("jpeg", 8, 8, 3)),
    "nothing": (b"", Layout("png", 8, 8, 3)),
    "padding": (TINY_PNG[:-12] + struct.pack(">I", 10**6) + b"IDAT" + bytes(10**6 + 4) + TINY_PNG[-12:], PICTURE),
    "no codec": (TINY_PNG, Layout("tiff", 8, 8, 3)),
    "no height": (TINY_PNG, Layout("png", 0, 8, 3)),
    "two channels": (TINY_PNG, Layout("png", 8, 8, 2)),
    "stacked gray": (TINY_PNG, Layout("png", 8, 8, None, 16, True)),
    "stacked 8 bits": (TINY_PNG, Layout("png", 8, 8, 3, 8, True)),
    "16 bit webp": (TINY_WEBP, Layout("webp", 8, 8, 3, 16)),
    "another number of channels": (TINY_PNG, Layout("png", 8, 8, 4)),
    "another number of bits": (TINY_PNG, Layout("png", 8, 8, None, 16)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_format_error(name):
    file, layout = HOSTILE[name]
    with pytest.raises(FormatError):
        decode_image(file, layout)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jpeg of many scans", "10 scans"),
        ("jpeg of many segments", "100 segments"),
        ("png of many chunks", "so many chunks"),
        ("webp of many codes", "65536 blocks"),
        ("padding", "too large"),
        ("png of another size", "was noted"),
        ("jpeg of another size", "was noted"),
        ("webp of another size", "was noted"),
    ],
)
def test_what_would_take_long_or_much_is_refused_before_it_is_decoded(name, message):
    with pytest.raises(FormatError, match=message):
        decode_image(HOSTILE[name][0], HOSTILE[name][1])


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp"])
def test_every_cut_and_flip_of_a_file_is_a_picture_or_a_format_error(codec):
    file, layout = encode_image(PHOTOGRAPHS["cat"][:16, :24], codec)
    damaged = [file[:size] for size in range(0, len(file), 3)]
    damaged += [file[:place] + bytes([file[place] ^ 0x55]) + file[place + 1 :] for place in range(0, len(file), 2)]
    for one in damaged:
        with contextlib.suppress(FormatError):
            assert decode_image(one, layout).shape == (16, 24, 3)


def test_pixels_are_limited_and_the_caller_may_raise_it():
    file, layout = encode_image(np.zeros((2, MAX_PIXELS // 2 + 1), np.uint8), "png")
    with pytest.raises(FormatError, match="max_pixels"):
        decode_image(file, layout)
    assert decode_image(file, layout, max_pixels=MAX_PIXELS + 2).shape == (2, MAX_PIXELS // 2 + 1)


@pytest.mark.parametrize(("codec", "dtype"), [("webp", np.uint8), ("png", np.uint16)])
def test_what_takes_twice_the_memory_has_half_the_limit(codec, dtype):
    file, layout = encode_image(np.zeros((10, 10, 3), dtype), codec)
    decode_image(file, layout, max_pixels=200)
    with pytest.raises(FormatError, match="more than 99 pixels"):
        decode_image(file, layout, max_pixels=199)


def test_metadata_of_a_jpeg_file_is_never_parsed():
    """Pillow follows what an Exif segment says, which may be hundreds of megabytes."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xff" * 100
    file = in_front_of_scan(TINY_JPEG, b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    assert exif in file
    assert exif not in read_header(file, "jpeg").file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(file, Layout("jpeg", 8, 8, 3)).shape == (8, 8, 3)


def test_a_usual_progressive_jpeg_is_read():
    picture = PHOTOGRAPHS["cat"]
    file = as_file(picture, "JPEG", quality=95, progressive=True)
    assert file.count(b"\xff\xda") == MAX_SCANS
    assert decode_image(file, Layout("jpeg", *picture.shape)).shape == picture.shape


def test_a_warning_that_is_an_error_is_a_format_error(monkeypatch):
    def warn(*_):
        warnings.warn("malformed", UserWarning, stacklevel=1)

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_end", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match="malformed"):
            decode_image(TINY_PNG, PICTURE)


def test_damage_is_told_with_its_place():
    with pytest.raises(FormatError) as caught:
        decode_image(TINY_PNG + b"more", PICTURE)
    assert caught.value.offset == len(TINY_PNG) - 12
