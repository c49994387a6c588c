"""Markup in which a text is a text, whatever it looks like.

::

    tag("td", {"class": "text"}, "<b>")    ->    <td class="text">&lt;b&gt;</td>

What is ``Html`` has been through here, and is left as it is; everything else is escaped, and its control characters,
and marks that reorder a line, become visible escapes.
"""

import base64
import html
import json
from collections.abc import Mapping

from ml.core.errors import LogValueError
from ml.loggers.lines import visible
from ml.loggers.strict_json import Json

_VOID = frozenset({"br", "img", "input", "link", "meta"})
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


class Html(str):
    """Markup that is safe to put into a page."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """Returns the markup that shows ``text``; ``Html`` is left as it is."""
    return text if isinstance(text, Html) else Html(html.escape(visible(str(text))))


def tag(name: str, attributes: Mapping[str, object], *children: object) -> Html:
    """Returns an element.

    Args:
        name: Of the element, ours.
        attributes: Their names are ours, their values anybody's. ``None`` leaves one out.
        children: ``Html``, or what is shown as text.
    """
    shown = "".join(f' {key}="{escaped(value)}"' for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{''.join(map(escaped, children))}</{name}>")


def joined(parts: "list[Html] | tuple[Html, ...]") -> Html:
    """Returns markup that follows each other."""
    return Html("".join(parts))


def data_block(name: str, value: Json) -> Html:
    """Returns a value as JSON that a page carries and does not run.

    No text in it ends the element or begins a comment: ``<``, ``>`` and ``&`` are escapes.

    Args:
        name: The ``id`` of the element.
        value: Strict JSON: non-finite numbers as text.
    """
    text = json.dumps(value, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def thumbnail(picture: bytes, description: str, *, height_px: int | None = None) -> Html:
    """Returns a picture that the page holds itself.

    Args:
        picture: A PNG, JPEG, GIF or WebP file.
        description: What there is to see, for who does not see it.
        height_px: How high it is shown; ``None``: as high as it is.

    Raises:
        LogValueError: It is no such file. SVG is none: it may hold programs.
    """
    return tag("img", {"src": source_of(picture), "alt": description, "height": height_px, "loading": "lazy"})


def source_of(picture: bytes) -> str:
    """Returns where a picture is found that the page holds itself: in the URL.

    Raises:
        LogValueError: As ``thumbnail`` says.
    """
    media_type = next((kind for start, kind in _PICTURES.items() if picture.startswith(start)), None)
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        media_type = "image/webp"
    if media_type is None:
        raise LogValueError(f"a page shows PNG, JPEG, GIF and WebP, got bytes that begin with {picture[:8]!r}")
    return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"
