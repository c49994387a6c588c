import base64
import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from PIL import Image

from ml.predictions.reading import open_predictions
from ml.predictions.sheet import sheet_of
from tests.predictions.records import HOSTILE, Records, box


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "predictions")


def page_of(records, **options):
    made = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    return sheet_of(open_predictions(records.root), title="sheet", made=made, **options).encoded().decode()


class Reader(HTMLParser):
    """Collects what a parser finds."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.cells = [], [], []
        self.feed(page)

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes
        if name == "td":
            self.cells.append((dict(attributes).get("data-head"), ""))

    def handle_data(self, text):
        if self.cells and self.tags[-1] == "td":
            self.cells[-1] = (self.cells[-1][0], self.cells[-1][1] + text)


def test_a_card_says_what_was_predicted(records):
    records.detection(1, box("face", 0.75), box("face", 0.5), box("dog", 0.25))
    records.detection(2, error_message="out of memory", image=None, latency_ms=None)

    cells = Reader(page_of(records)).cells

    first, second = (dict(cells[start : start + len(cells) // 2]) for start in (0, len(cells) // 2))
    assert first["result"] == "2 face, 1 dog"
    assert (first["confidence"], first["latency (ms)"], first["error"]) == ("0.7500", "12.50", "")
    assert (first["model"], first["device"]) == ("yolo 1.0", "factory/camera")
    assert first["time (UTC)"] == "2026-01-02 12:00:00.001"
    assert (second["error"], second["picture"]) == ("out of memory", "no picture was logged")
    assert second["latency (ms)"] == second["result"] == ""


def test_every_picture_is_small_and_in_the_page(records, photograph):
    records.detection(1, box(), image=photograph)
    records.classification(2)

    page = page_of(records)

    sources = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(source))).size for source in sources]
    assert sizes == [(256, 256), (240, 160)]
    assert page.count("src=") == 2
    assert len(page) < 60_000


def test_of_more_records_than_fit_the_first_are_shown_and_the_page_says_so(records):
    for ms in range(4):
        records.detection(ms)

    assert "The first 3 records; more matched, as of 2026-02-03 04:05 UTC" in page_of(records, max_records=3)
    assert page_of(records, max_records=3).count("<img") == 3
    assert "4 records, as of" in page_of(records, max_records=4)


def test_a_hostile_text_in_any_place_is_only_a_text(records):
    records.detection(
        1,
        box(HOSTILE),
        model_name=HOSTILE,
        model_version=HOSTILE,
        device_name=HOSTILE,
        device_group=HOSTILE,
        error_message=HOSTILE,
    )

    page = page_of(records)
    reader = Reader(page)

    assert (reader.tags.count("img"), reader.tags.count("script")) == (1, 1)
    assert "onerror" not in dict(reader.attributes)
    assert not set("\x1b\u202e") & set(page)
    assert dict(reader.cells)["error"].startswith('"><img src=x onerror=alert(1)></script>\\x1b[2J')
