import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import LogValueError
from ml.media.text import MAX_LINES, add_label, wrap_text

GRAY = np.full((1, 64, 200), 90, np.uint8)


def band(image, text, **options):
    """What was added under a picture."""
    return add_label(image, text, **options)[:, image.shape[1] :]


@pytest.mark.parametrize(
    ("text", "length", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", None, ["one two three"]),
        ("true 7 predicted", 8, ["true 7", "predicte", "d"]),  # a long word begins its own line
        ("abcdef", 2, ["ab", "cd", "ef"]),
        ("one\ntwo\r\nthree\u2028four", 20, ["one", "two", "three", "four"]),
        ("one\n\ntwo", 20, ["one", "", "two"]),
        ("", 5, [""]),
        ("", None, [""]),
        ("   ", 5, [""]),
        ("well-known fact", 6, ["well-k", "nown", "fact"]),
        ("schöne Größe 中文字", 7, ["schöne", "Größe", "中文字"]),
        ("a\x1b[31m\x00b", None, [r"a\x1b[31m\x00b"]),
        ("\u202egnp.exe\u200b\ud800", None, [r"\u202egnp.exe\u200b\ud800"]),
        ("👩\u200d💻", None, ["👩\u200d💻"]),
        ("a\tb", None, ["a b"]),
    ],
)
def test_lines_break_at_words_and_show_what_is_invisible(text, length, lines):
    assert wrap_text(text, length) == lines


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=80), length=st.integers(1, 20))
def test_no_line_is_too_long_and_no_letter_is_lost(text, length):
    lines = wrap_text(text, length)
    assert lines
    assert max(map(len, lines)) <= length
    whole = "".join(wrap_text(text, None))
    assert "".join("".join(lines).split()) == "".join(whole.split())


def test_a_line_length_below_one_is_refused():
    with pytest.raises(LogValueError, match="got 0"):
        wrap_text("text", 0)
    with pytest.raises(LogValueError, match="got -1"):
        add_label(GRAY, "text", max_line_length=-1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_label_is_black_on_white_under_the_untouched_picture(channels):
    image = np.full((channels, 64, 100), 90, np.uint8)
    labeled = add_label(image, "label")
    np.testing.assert_array_equal(labeled[:, :64], image)
    colours = labeled[: min(channels, 3), 64:]
    assert labeled.shape[2] == 100
    assert colours.min() < 60
    assert colours.max() == 255
    assert channels < 4 or (labeled[3, 64:] == 255).all()


def test_a_label_fits_the_width_of_its_picture():
    text = "a label of quite some words that does not fit on a single line"
    one_line = band(GRAY, "a label")
    assert add_label(GRAY, text).shape[2] == 200
    assert band(GRAY, text).shape[1] > one_line.shape[1]


def test_a_given_line_length_widens_the_picture_instead():
    labeled = add_label(GRAY, "0123456789 " * 6, max_line_length=100)
    left = (labeled.shape[2] - 200) // 2
    assert labeled.shape[2] > 200
    np.testing.assert_array_equal(labeled[:, :64, left : left + 200], GRAY)


def test_a_tiny_picture_still_has_a_readable_label():
    labeled = add_label(np.zeros((1, 4, 4), np.uint8), "word")
    assert labeled.shape[2] >= 20
    assert labeled.shape[1] < 30  # one line


def test_text_is_centred_or_starts_at_the_left():
    centred, left = (
        np.nonzero((band(GRAY, "word", centered=centered) < 128).any(axis=(0, 1)))[0] for centered in (True, False)
    )
    assert abs((centred.min() + centred.max()) / 2 - 99.5) < 3
    assert left.min() < 8


@pytest.mark.parametrize("text", ["", "  \n "])
def test_a_blank_label_leaves_the_picture_as_it_is(text):
    np.testing.assert_array_equal(add_label(GRAY, text), GRAY)


def test_different_labels_look_different_in_any_script():
    labels = ["e", "é", "ж", "中", "日", "\x1b", "\ud800", "\U0001f600", "\U0001f601"]
    assert len({band(GRAY, label).tobytes() for label in labels}) == len(labels)


def test_an_endless_label_ends_in_an_ellipsis():
    whole, cut = band(GRAY, "\n".join("x" * MAX_LINES)), band(GRAY, "x\n" * 100_000)
    assert cut.shape == whole.shape
    np.testing.assert_array_equal(cut[:, :-20], whole[:, :-20])
    assert (cut[:, -20:] != whole[:, -20:]).any()


def test_a_label_looks_as_it_did(golden_pixels):
    labeled = add_label(np.full((1, 40, 100), 90, np.uint8), "digit 7, predicted 1")
    expected = golden_pixels("label.png")
    assert labeled.shape == expected.shape
    assert np.abs(labeled.astype(int) - expected).mean() < 8  # the soft edges of letters depend on FreeType
