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
from ml.report.outlines import Outline, outlined
from ml.report.page import Page, Section, figures
from ml.report.stages import in_turn
from ml.report.svg import svg
from ml.report.table import Column, Staged, cards, table

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


PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
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


STAGES = """(page, window) => {
    const range = page.querySelector(".slider input"), name = page.querySelector(".slider output");
    const rows = () => Array.from(page.querySelectorAll("tbody tr")).filter((row) => row.offsetHeight > 0);
    const names = () => rows().map((row) => row.cells[0].textContent).join("");
    const visible = (query) => Array.from(page.querySelectorAll(query)).filter((one) => one.getClientRects().length)
        .map((one) => one.textContent);
    const [select] = page.querySelectorAll("select"), filter = page.querySelector("input[type=search]");
    const found = {last: [name.textContent, names(), visible("td:nth-child(2) span")], outlines: [], figures: []};
    page.querySelectorAll("th button")[1].click();
    found.sortedLast = names();
    const slide = (stage) => { range.value = stage; range.dispatchEvent(new Event("input")); };
    const choose = (value) => { select.value = value; select.dispatchEvent(new Event("change")); };
    const search = (text) => { filter.value = text; filter.dispatchEvent(new Event("input")); };
    slide(0);
    found.first = [name.textContent, names(), visible("td:nth-child(2) span")];
    found.figures = visible("p.figure");
    found.outlines = Array.from(page.querySelectorAll("svg.picture g"), (g) => window.getComputedStyle(g).display);
    found.options = Array.from(select.options, (option) => option.textContent);
    choose("wrong");
    found.wrongFirst = names();
    slide(1);
    found.wrongLast = [names(), select.value];
    choose("");
    search("right");
    found.searched = [names(), page.querySelector(".count").textContent];
    return found; }"""


def test_a_slider_chooses_what_is_shown_sorted_and_filtered(browse):
    values = [[5, 1, 4, 2, 3, None], [1, 5, 2, 4, None, 3]]
    judged = [["wrong", "right", "wrong", "right", "right", ""], ["right", "right", "wrong", "right", "right", "wrong"]]
    columns = [
        Column("name", list("abcdef")),
        Column("loss", [Staged(pair) for pair in zip(*values, strict=True)], is_number=True),
        Column("judged", [Staged(pair) for pair in zip(*judged, strict=True)], is_choice=True),
    ]
    drawn = outlined(PNG, "a picture", size_px=(10, 10), in_turn=[[Outline([0, 0, 5, 5])], []])
    parts = [table(columns), in_turn([tag("p", {"class": "figure"}, f"figure {n}") for n in range(2)]), drawn]

    found = browse(Page("page", [Section("s", parts)], stages=["v0", HOSTILE[1]]).encoded(), STAGES)

    assert found["last"] == [HOSTILE[1], "abcdef", ["1", "5", "2", "4", "", "3"]]
    assert found["sortedLast"] == "acfdbe"
    assert found["first"] == ["v0", "bdecaf", ["1", "2", "3", "4", "5", ""]]
    assert found["figures"] == ["figure 0"]
    assert found["outlines"] == ["inline", "none"]
    assert found["options"] == ["any judged", "right (3)", "wrong (2)"]
    assert found["wrongFirst"] == "ca"
    assert found["wrongLast"] == ["cf", "wrong"]
    assert found["searched"] == ["adbe", "4 of 6 rows"]


def test_without_its_program_a_page_shows_the_last_of_what_it_shows_in_turn():
    cell = table([Column("loss", [Staged([1.5, None, 3])], is_number=True)])

    assert '<td class="number"><span data-stage="0" hidden="" data-value="1.5">1.500</span>' in cell
    assert '<span data-stage="1" hidden=""></span><span data-stage="2" data-value="3.0">3</span></td>' in cell
    assert in_turn([tag("p", {}, n) for n in range(2)]) == (
        '<div data-stage="0" hidden=""><p>0</p></div><div data-stage="1"><p>1</p></div>'
    )
    assert "<input" not in Page("page", [], stages=["v0"]).encoded().decode()  # there is nothing to choose


def test_outlines_lie_where_they_are_in_the_source_and_those_that_are_nowhere_are_left_out():
    outlines = [
        Outline([10, 0, 0, 10], "<b>", colour=9, is_dashed=True),
        Outline([0, 0, float("nan"), 5]),
        Outline([-1e300, 0, 1e300, float(2**60)]),
    ]

    shown = outlined(PNG, "<i>", size_px=(20, 40), always=outlines)

    assert re.findall('<rect class="([^"]*)" x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)"', shown) == [
        ("outline s1 dash2", "0", "0", "64", "64"), ("outline s0", "-256", "0", "768", "512"),
    ]  # fmt: skip
    assert 'viewBox="0 0 256 128"' in shown
    assert "&lt;b&gt;</text>" in shown
    assert 'aria-label="&lt;i&gt;"' in shown
    with pytest.raises(LogValueError):
        outlined(b"<svg/>", "", size_px=(1, 1))
