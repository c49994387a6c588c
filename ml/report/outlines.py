"""A picture with outlines on it, which the browser draws: it is in the page once, whatever is outlined in turn."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ml.report.html import Html, source_of, tag
from ml.report.stages import attributes_of

_SIDE = 256.0  # of the drawing's longer side, in its own unit
_COLOURS = 8


class Outline(NamedTuple):
    """A rectangle on a picture.

    Attributes:
        xyxy: Left, top, right, bottom, in pixels of the source. Swapped corners are put in order; with a NaN it is left
            out.
        text: Beside it; ``""`` is none.
        colour: A number: the same one for what belongs together.
        is_dashed: How its line is drawn.
    """

    xyxy: Sequence[float]
    text: str = ""
    colour: int = 0
    is_dashed: bool = False


def outlined(
    picture: bytes,
    description: str,
    *,
    size_px: tuple[int, int],
    always: Sequence[Outline] = (),
    in_turn: Sequence[Sequence[Outline]] = (),
) -> Html:
    """Returns a picture with outlines.

    Args:
        picture: A PNG, JPEG, GIF or WebP file, of any size.
        description: What there is to see, for who does not see it.
        size_px: Height and width of the source, in whose pixels the outlines are.
        always: Outlines that are always there.
        in_turn: Outlines of each stage of the page; see ``ml.report.stages``.

    Raises:
        LogValueError: It is no such file.
    """
    scale = _SIDE / max(size_px)
    height, width = (_n(side * scale) for side in size_px)
    groups = [
        tag("g", attributes_of(stage, len(in_turn)), *_drawn(outlines, scale)) for stage, outlines in enumerate(in_turn)
    ]
    image = tag("image", {"href": source_of(picture), "width": width, "height": height, "preserveAspectRatio": "none"})
    return tag(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "picture",
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-label": description,
        },
        image,
        *_drawn(always, scale),
        *groups,
    )


def _drawn(outlines: Sequence[Outline], scale: float) -> list[Html]:
    parts = list[Html]()
    for one in outlines:
        if not all(map(math.isfinite, one.xyxy)):
            continue
        # What lies far outside of the picture is not seen; its numbers need not be long.
        x1, y1, x2, y2 = (min(max(number * scale, -_SIDE), 2 * _SIDE) for number in one.xyxy)
        left, top, right, bottom = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        kind = f"outline s{one.colour % _COLOURS}{' dash2' if one.is_dashed else ''}"
        box = {"class": kind, "x": _n(left), "y": _n(top), "width": _n(right - left), "height": _n(bottom - top)}
        parts.append(tag("rect", box))
        if one.text:
            below_line = max(top - 3, 11)
            parts.append(tag("text", {"class": "halo", "x": _n(max(left, 1)), "y": _n(below_line)}, one.text))
    return parts


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
