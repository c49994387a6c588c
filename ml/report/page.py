"""One self-contained page: a title, sections, and nothing that is loaded from anywhere.

::

    page = Page("Benchmark of resnet", [Section("Calls", [table([Column("method", ["train", "evaluate"])])])])
    write_atomically(path, page.encoded())

It is one file, readable without its program, on paper, in light and in dark. A content security policy forbids every
request, every program but the one that sorts, filters and chooses, and every style but the page's own: a text that got
past the escaping could do nothing still.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml.loggers.strict_json import Json
from ml.report.assets import SCRIPT, STYLE
from ml.report.html import Html, data_block, escaped, joined, tag
from ml.report.stages import slider


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: Stands above it, and in the list at the top.
        parts: What is in it: of ``table``, ``figures``, ``tag``.
        note: A sentence below the title; ``""`` is none.
    """

    title: str
    parts: Sequence[Html]
    note: str = ""


class Page(NamedTuple):
    """What a page shows.

    Attributes:
        title: Of the page and its window.
        sections: From top to bottom.
        note: Below the title: where it comes from, and when.
        data: What programs may read from it, by the ``id`` of its element; strict JSON.
        stages: Names of what it shows in turn, where it has ``Staged`` cells or figures: a slider chooses.
    """

    title: str
    sections: Sequence[Section]
    note: str = ""
    data: Mapping[str, Json] = {}
    stages: Sequence[str] = ()

    def encoded(self) -> bytes:
        """Returns the page as a file."""
        return str(self.html()).encode("utf-8", "backslashreplace")

    def html(self) -> Html:
        """Returns the page."""
        head = tag(
            "head",
            {},
            tag("meta", {"charset": "utf-8"}),
            tag("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
            tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            tag("meta", {"name": "referrer", "content": "no-referrer"}),
            tag("title", {}, self.title),
            Html(f"<style>{STYLE}</style>"),
        )
        links = [tag("a", {"href": f"#s{number}"}, section.title) for number, section in enumerate(self.sections)]
        body = tag(
            "body",
            {},
            tag("h1", {}, self.title),
            tag("p", {"class": "note"}, self.note) if self.note else "",
            tag("nav", {}, *links) if len(links) > 1 else "",
            slider(self.stages) if len(self.stages) > 1 else "",
            tag("main", {}, *(_section(number, section) for number, section in enumerate(self.sections))),
            *(data_block(name, value) for name, value in self.data.items()),
            Html(f"<script>{SCRIPT}</script>"),
        )
        return joined([Html('<!DOCTYPE html>\n<html lang="en">'), head, body, Html("</html>\n")])


def figures(drawn: Sequence[Html], captions: Sequence[str] = ()) -> Html:
    """Returns figures beside and below each other, as the window has room.

    Args:
        drawn: Of ``svg``, or ``thumbnail``.
        captions: One for each, or none at all.
    """
    shown = []
    for number, drawing in enumerate(drawn):
        caption = tag("figcaption", {}, captions[number]) if captions and captions[number] else ""
        shown.append(tag("figure", {}, drawing, caption))
    return tag("div", {"class": "figures"}, *shown)


def _section(number: int, section: Section) -> Html:
    note = tag("p", {"class": "note"}, section.note) if section.note else ""
    title = tag("h2", {"id": f"s{number}"}, section.title)
    return tag("section", {"aria-labelledby": f"s{number}"}, title, note, *map(escaped, section.parts))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src data:",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
