"""Writes text beside pictures: wrapped at words, in Unicode, never cut without a sign."""

import functools
import math
import re
import textwrap
from typing import TYPE_CHECKING, cast

import numpy as np

from ml.core.errors import LogValueError
from ml.media.image import Pixels, from_pil

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

MAX_LINES = 32

_MAX_CHARACTERS = 4096
_MIN_WIDTH_PX = 64  # a narrower picture is widened for its label
_MARGIN_PX = 3
_ELLIPSIS = "…"
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
# What could hide text or turn it around. Tabs, and the joiners of emoji and Indic scripts, are text.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
# These hold more characters than the font inside Pillow, where a system has them.
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf")


def wrap_text(text: str, max_line_length: int | None) -> list[str]:
    r"""Breaks a text into lines, at spaces where it can; longer words are split.

    Unicode is kept. Control characters, bidirectional overrides, zero-width
    spaces and lone surrogates are written as escapes, ``\x1b`` or ``\u202e``; a
    tab becomes a space.

    Args:
        text: Its own line breaks are kept.
        max_line_length: In characters, at least 1; ``None``: only the text's own line breaks.

    Returns:
        At least one line, which may be empty.

    Raises:
        LogValueError: ``max_line_length`` is below 1.
    """
    if max_line_length is not None and max_line_length < 1:
        raise LogValueError(f"a line holds at least 1 character, got {max_line_length}", "Raise max_line_length.")
    lines = [_INVISIBLE.sub(_escaped, line).replace("\t", " ") for line in _LINE_BREAK.split(text)]
    if max_line_length is None:
        return lines
    return [piece for line in lines for piece in _wrapped(line, max_line_length)]


def add_label(image: Pixels, text: str, *, max_line_length: int | None = None, centered: bool = True) -> Pixels:
    """Writes a text under a picture, black on a white band, in the font of ``font_for``.

    Args:
        image: Shape (C, H, W), C being 1, 3 or 4.
        text: A blank one leaves the picture as it is. Past ``MAX_LINES`` lines it ends in an ellipsis.
        max_line_length: In characters; the default fits the picture's width, or 64 px if that is more.
        centered: Centre the lines rather than start them at the left.

    Returns:
        Shape (C, H', W'). H' is H and the height of the band. W' is W, or what the
        longest line needs; the picture is then centred, or at the left, on white.

    Raises:
        LogValueError: ``max_line_length`` is below 1.
    """
    if not text.strip():
        return image
    channels, height, width = image.shape
    if len(text) > _MAX_CHARACTERS:
        text = text[:_MAX_CHARACTERS] + _ELLIPSIS
    text, font = font_for(text, size_px=max(12, width // 36))
    if max_line_length is None:
        lines = _fitted(text, font, max(width, _MIN_WIDTH_PX) - 2 * _MARGIN_PX)
    else:
        lines = wrap_text(text, max_line_length)
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], lines[MAX_LINES - 1][:-1] + _ELLIPSIS]

    widest = math.ceil(max(map(font.getlength, lines)))
    band = _band(lines, font, max(width, widest + 2 * _MARGIN_PX), centered=centered)
    labeled = np.full((channels, height + band.shape[1], band.shape[2]), 255, np.uint8)
    left = (band.shape[2] - width) // 2 if centered else 0
    labeled[:, :height, left : left + width] = image
    labeled[: min(channels, 3), height:] = band  # alpha stays opaque
    return labeled


def font_for(text: str, *, size_px: int) -> tuple[str, "FreeTypeFont"]:
    r"""Returns a font for a text, and the text as that font can draw it.

    The font inside Pillow holds little more than ASCII. A text beyond it takes the
    first of a few well known system fonts that holds all of it, or the one that
    holds most. What that lacks is written as an escape, ``\u4e2d``, so that
    different texts never look the same.
    """
    wanted = frozenset(character for character in text if not character.isascii())
    best, missing = _font("", size_px), _missing("", wanted)
    for name in _SYSTEM_FONTS:
        if not missing:
            break
        font = _font(name, size_px)
        if font is not None and len(_missing(name, wanted)) < len(missing):
            best, missing = font, _missing(name, wanted)
    for character in missing:
        text = text.replace(character, _escape(character))
    return text, cast("FreeTypeFont", best)


@functools.lru_cache(maxsize=64)
def _font(name: str, size_px: int) -> "FreeTypeFont | None":
    """Returns a font of the system, or Pillow's own for the empty name; ``None`` if there is none.

    Kept, since a search walks directories.
    """
    from PIL import ImageFont

    if not name:
        return cast("FreeTypeFont", ImageFont.load_default(size_px))  # every wheel of Pillow has FreeType
    try:
        return ImageFont.truetype(name, size_px)
    except OSError:
        return None


@functools.lru_cache(maxsize=256)
def _missing(name: str, characters: frozenset[str]) -> frozenset[str]:
    """Returns which of the characters a font draws as the box that stands for none."""
    font = cast("FreeTypeFont", _font(name, 12))
    none = _drawn(font, "\uffff")
    return frozenset(character for character in characters if _drawn(font, character) == none)


def _drawn(font: "FreeTypeFont", character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _escaped(match: re.Match[str]) -> str:
    return _escape(match[0])


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _wrapped(line: str, length: int) -> list[str]:
    # Long words are split here: textwrap would begin them on the line before.
    wrapped = textwrap.wrap(line, length, break_long_words=False, break_on_hyphens=False) or [""]
    return [part[start : start + length] for part in wrapped for start in range(0, max(1, len(part)), length)]


def _fitted(text: str, font: "FreeTypeFont", width_px: int) -> list[str]:
    """Wraps a text into the longest lines that fit, if one character a line does."""
    length = max(1, int(width_px / font.getlength("i")))  # more than fits
    while True:
        lines = wrap_text(text, length)
        widest = max(map(font.getlength, lines))
        if widest <= width_px or length == 1:
            return lines
        length = max(1, min(length - 1, int(length * width_px / widest)))


def _band(lines: list[str], font: "FreeTypeFont", width_px: int, *, centered: bool) -> Pixels:
    from PIL import Image, ImageDraw

    line_height = sum(font.getmetrics())
    band = Image.new("L", (width_px, len(lines) * line_height + 2 * _MARGIN_PX), 255)
    pen = ImageDraw.Draw(band)
    for row, line in enumerate(lines):
        left = round((width_px - font.getlength(line)) / 2) if centered else _MARGIN_PX
        pen.text((left, _MARGIN_PX + row * line_height), line, fill=0, font=font)
    return from_pil(band)
