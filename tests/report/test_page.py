import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ml.core.errors import LogValueError
from ml.report.charts import Bar, BarChart, Curve, LineChart
from ml.report.html import Html, data_block, escaped, tag, thumbnail
from ml.report.page import Page, Section, figures
from ml.report.svg import svg
from ml.report.table import Column, cards, table

HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "</title></style><svg onload=\"document.title='owned'\">",
    '" onmouseover="document.title = \'owned\'" x="',
    "=HYPERLINK(\"http://example.com\")",
    "]]><!-- {{constructor}} ${7*7} &lt;b&gt;",
    "\x1b[2Jgone\u202e\x00",
    "javascript:alert(1)",
]  # fmt: skip


def page_of(texts):
    """A page that has the texts in every place that a text can have."""
    charts = [
        LineChart(text, text, text, [Curve(text, [0.0, 1.0], [1.0, 2.0])], note=text) for text in texts
    ] + [BarChart(texts[0], texts[0], [Bar(text, 1.0) for text in texts])]  # fmt: skip
    sections = [Section(text, [table([Column(text, texts)], caption=text)], note=text) for text in texts]
    return Page(
        texts[1],
        [*sections, Section("charts", [figures([svg(chart) for chart in charts], [texts[0]] * len(charts))])],
        note=texts[0],
        data={"data": {text: text for text in texts}},
    ).encoded()


class Reader(HTMLParser):
    """Collects what a parser finds."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page.decode())

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes

    def handle_data(self, text):
        self.texts.append(text)


def test_hostile_texts_make_no_element_and_no_attribute():
    hostile, harmless = (Reader(page_of(texts)) for texts in (HOSTILE, [f"t{n}" for n in range(len(HOSTILE))]))

    # A text that was cut, or that has another width, may have a <title> more.
    kept = [name for name in hostile.tags if name not in ("title", "path", "text", "svg")]
    assert kept == [name for name in harmless.tags if name not in ("title", "path", "text", "svg")]
    assert {name for name, _ in hostile.attributes} == {name for name, _ in harmless.attributes}
    assert not any(name.startswith("on") or name == "style" for name, _ in hostile.attributes)


def test_hostile_texts_can_still_be_read_their_control_characters_as_escapes():
    texts = "".join(Reader(page_of(HOSTILE)).texts)

    assert all(text in texts for text in HOSTILE if text.isprintable())
    assert r"\x1b[2Jgone\u202e\x00" in texts
    assert not set(texts) & set("\x1b\u202e\x00")


def test_a_browser_runs_none_of_it(browse):
    found = browse(page_of(HOSTILE), """(page) => ({
        title: page.title, images: page.images.length, scripts: page.scripts.length,
        cells: Array.from(page.querySelector("tbody").rows, (row) => row.cells[0].textContent),
        data: JSON.parse(page.getElementById("data").textContent),
        sorted: page.querySelectorAll("th button").length})""")  # fmt: skip

    assert found["title"] == HOSTILE[1]
    assert (found["images"], found["scripts"]) == (0, 2)
    assert found["cells"][:6] == HOSTILE[:6]
    assert found["data"] == {text: text for text in HOSTILE}
    assert found["sorted"] == len(HOSTILE)  # so the page's own program did run


def test_what_got_past_the_escaping_is_stopped_by_the_policy(browse):
    evil = Html("".join(HOSTILE[:3]) + "<p style='color:red' onclick='document.title=1'>x</p>")
    page = Page("page", [Section("evil", [evil])]).encoded()

    found = browse(page, """(page, window) => { page.querySelector("p[onclick]").click(); return {
        title: page.title, images: page.images.length,
        color: window.getComputedStyle(page.querySelector("p[onclick]")).color} }""")  # fmt: skip

    assert found["images"] == 1  # it is there, and does nothing
    assert found["title"] == "page"
    assert found["color"] != "rgb(255, 0, 0)"


def test_the_policy_forbids_every_request_and_names_the_hashes_of_what_the_page_has():
    text = page_of(["a", "b"]).decode()
    [policy] = [value for name, value in Reader(text.encode()).attributes if name == "content" and "src" in value]

    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, pattern in (("style-src", "<style>(.*?)</style>"), ("script-src", "<script>(.*?)</script>")):
        digest = hashlib.sha256(re.search(pattern, text, re.DOTALL)[1].encode()).digest()
        assert rules[kind] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert set(rules) == {"default-src", "base-uri", "form-action", "img-src", "style-src", "script-src"}


def test_a_page_names_no_other_place():
    assert set(re.findall(r"https?://[^\"' ]*", page_of(["a", "b"]).decode())) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in page_of(["a", "b"]).decode()


def test_data_in_a_page_is_json_without_an_angle_bracket():
    value = {"a": HOSTILE, "<!--<script>": [1, None, "NaN"]}

    block = data_block("data", value)

    inside = block.partition(">")[2].rpartition("</script>")[0]
    assert not set(inside) & set("<>&")
    assert json.loads(inside) == value


def test_a_thumbnail_is_in_the_page_and_no_drawing_that_could_hold_programs_is():
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(file, "PNG")

    shown = thumbnail(file.getvalue(), 'a "picture"', height_px=40)

    source = re.search('src="data:image/png;base64,([^"]*)"', shown)[1]
    assert Image.open(io.BytesIO(base64.b64decode(source))).size == (3, 2)
    assert 'alt="a &quot;picture&quot;" height="40"' in shown
    for bad in (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"", b"RIFF"):
        with pytest.raises(LogValueError, match="PNG, JPEG, GIF and WebP"):
            thumbnail(bad, "")


def test_markup_is_escaped_once():
    inner = tag("b", {}, "1 < 2")

    assert tag("p", {"title": "a & b", "id": None}, inner, "&") == '<p title="a &amp; b"><b>1 &lt; 2</b>&amp;</p>'
    assert escaped(inner) is inner


SORTING = """(page) => {
    const column = (number) => Array.from(page.querySelector("tbody").rows, (row) => row.cells[number].textContent);
    const heads = page.querySelectorAll("th"), found = {};
    heads[1].firstChild.click(); found.up = column(0); found.aria = heads[1].getAttribute("aria-sort");
    heads[1].firstChild.click(); found.down = column(0);
    heads[0].firstChild.click(); found.names = column(0); found.cleared = heads[1].hasAttribute("aria-sort");
    const input = page.querySelector("input"), rows = Array.from(page.querySelector("tbody").rows);
    input.value = "B  1"; input.dispatchEvent(new Event("input"));
    found.filtered = rows.filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
    found.count = page.querySelector(".count").textContent;
    input.value = ""; input.dispatchEvent(new Event("input"));
    found.all = rows.filter((row) => !row.hidden).length;
    return found; }"""


def test_a_click_sorts_by_value_what_is_absent_last_and_words_filter(browse):
    names = ["b10", "b9", "a", "none", "nan", "least", "most"]
    values = [1.5, 20, 3e-7, None, float("nan"), float("-inf"), 1e300]
    page = Page("page", [Section("s", [table([Column("name", names), Column("s", values, is_number=True)])])])

    found = browse(page.encoded(), SORTING)

    assert found["up"] == ["least", "a", "b10", "b9", "most", "none", "nan"]
    assert found["down"] == ["most", "b9", "b10", "a", "least", "none", "nan"]
    assert (found["aria"], found["cleared"]) == ("ascending", False)
    assert found["names"] == ["a", "b9", "b10", "least", "most", "nan", "none"]
    assert (found["filtered"], found["count"], found["all"]) == (["b10"], "1 of 7 rows", 7)


WIDTHS = """(page, window) => ({scroll: page.documentElement.scrollWidth, width: window.innerWidth})"""


def test_a_wide_table_scrolls_by_itself_and_never_the_page(browse):
    columns = [Column(f"column number {number}", [1e-7] * 6, is_number=True) for number in range(30)]

    found = browse(Page("page", [Section("wide", [table(columns)])]).encoded(), WIDTHS)

    assert found["scroll"] <= found["width"]


def picture(colour):
    file = io.BytesIO()
    Image.new("RGB", (64, 32), colour).save(file, "PNG")
    return thumbnail(file.getvalue(), colour)


CARDS = """(page, window) => {
    const rows = () => Array.from(page.querySelectorAll("tbody tr")).filter((row) => row.offsetHeight > 0);
    const names = () => rows().map((row) => row.cells[1].textContent);
    const box = (element) => element.getBoundingClientRect();
    const [first, second] = rows();
    const found = {
        buttons: page.querySelectorAll("th button").length,
        beside: box(second).left > box(first).right && box(second).top === box(first).top,
        inside: box(first.cells[0].firstChild).right <= box(first).right,
        label: window.getComputedStyle(first.cells[1], "::before").content,
        empty: first.cells[2].offsetHeight,
        wide: page.documentElement.scrollWidth > window.innerWidth};
    page.querySelectorAll("th button")[0].click();
    found.sorted = names();
    const filter = page.querySelector("input[type=search]");
    filter.value = "name c";
    filter.dispatchEvent(new Event("input"));
    found.byLabel = names();
    filter.value = "c";
    filter.dispatchEvent(new Event("input"));
    found.filtered = names();
    return found; }"""


def test_cards_lie_beside_each_other_and_are_sorted_and_filtered_as_rows_are(browse):
    names = ["e", "a", "c", "b", "d", "x" * 500]
    columns = [
        Column("", [picture("red")] * 6),
        Column("name", names),
        Column("loss", [None, 1, 2, 3, 4, 5], is_number=True),
    ]

    found = browse(Page("page", [Section("s", [cards(columns)])]).encoded(), CARDS)

    assert found["buttons"] == 2  # nobody sorts by pictures
    assert found["beside"]
    assert found["inside"]
    assert not found["wide"]
    assert found["label"].startswith('"name')
    assert found["empty"] == 0
    assert found["sorted"] == sorted(names)
    assert (found["byLabel"], found["filtered"]) == ([], ["c"])


def test_a_picture_makes_no_cell_wider_and_hostile_cards_are_texts():
    page = Page("page", [Section("s", [cards([Column("", [picture("red")]), Column(HOSTILE[1], HOSTILE[:1])])])])

    reader = Reader(page.encoded())

    assert (reader.tags.count("img"), reader.tags.count("script")) == (1, 1)
    assert ("data-head", HOSTILE[1]) in reader.attributes
    plain = Page("page", [Section("s", [table([Column("", [picture("red")])])])])
    assert "long wide" not in dict(Reader(plain.encoded()).attributes).values()


def test_a_table_needs_as_many_cells_in_each_column():
    with pytest.raises(ValueError, match="longer"):
        table([Column("a", [1]), Column("b", [1, 2])])
