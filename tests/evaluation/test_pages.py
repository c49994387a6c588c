import io
import re
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image as PilImage
from skimage import data as photographs
from sklearn.datasets import load_digits

from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.cards import cards_of
from ml.evaluation.columns import Column
from ml.evaluation.comparison import compare
from ml.evaluation.confusion import MAX_CLASSES, heat_maps
from ml.evaluation.pages import page_of
from ml.evaluation.samples import Samples
from ml.evaluation.table import Table
from ml.evaluation.thumbnails import thumbnail_of
from ml.evaluation.timeline import Evaluation, evaluations, timeline
from ml.evaluation.values import Boxes, Image
from tests.evaluation.predicted import samples_of

HOSTILE = "<img src=x onerror=\"document.title = 'owned'\">"
MADE = datetime(2026, 1, 2, tzinfo=UTC)
SAMPLES, VERSIONS = 12, 3


@pytest.fixture
def artifacts(tmp_path):
    return Artifacts(tmp_path / "store", run_id="demo")


@pytest.fixture
def digits(artifacts):
    """Real digits, and three versions that read ever more of them; the second has not seen the last sample."""
    digits = load_digits()
    table = Table(["image", "label"], name="val_data")
    for number in range(SAMPLES):
        table.add_data(Image(digits.images[number] / 16), HOSTILE if number == 3 else str(digits.target[number]))
    artifacts.publish("val", {"val_data": table}, type="dataset")
    for epoch in range(VERSIONS):
        predictions = Table(["sample", "prediction", "probability"], name="eval_data")
        for row in list(table.get_index())[: SAMPLES - (epoch == 1)]:
            truth = table.data[row][1]
            predictions.add_data(row, truth if row % (epoch + 2) else "0", row / SAMPLES + epoch)
        artifacts.publish(
            "pred", {"eval_data": predictions}, type="evaluation", aliases=[f"epoch_{epoch}"],
            metrics={"loss": 1 / (epoch + 1)},
        )  # fmt: skip
    return artifacts


def report(artifacts, refs=("pred",), **settings):
    return page_of(timeline(evaluations(artifacts, refs)), title="Digits", made=MADE, **settings).encoded()


LOOK = """(page, window) => {
    const section = (title) => Array.from(page.querySelectorAll("section")).find(
        (one) => one.querySelector("h2").textContent === title);
    const range = page.querySelector(".slider input");
    const cards = () => Array.from(section("Samples").querySelectorAll("tbody tr")).filter((row) => row.offsetHeight);
    const cell = (row, head) => Array.from(row.cells).find((cell) => cell.dataset.head === head).innerText;
    const outcomes = () => Object.fromEntries(cards().map((row) => [cell(row, "sample"), cell(row, "change")]));
    const slide = (stage) => { range.value = stage; range.dispatchEvent(new Event("input")); };
    const select = (name) => section("Samples").querySelector(`select[aria-label="${name}"]`);
    const choose = (name, value) => { select(name).value = value; select(name).dispatchEvent(new Event("change")); };
    const found = {title: page.title, images: page.images.length, outcomes: [], shown: []};
    found.loaded = Array.from(page.images).every((image) => image.naturalWidth > 0);
    for (const stage of [0, 1, 2]) {
        slide(stage);
        found.outcomes.push(outcomes());
        found.shown.push(page.querySelector(".slider output").textContent);
    }
    choose("change", "right to wrong");
    found.worse = cards().map((row) => cell(row, "sample"));
    choose("change", "");
    choose("truth", "4");
    found.fours = cards().map((row) => cell(row, "truth"));
    choose("truth", "");
    const heads = Array.from(section("Samples").querySelectorAll("th button"));
    heads.find((one) => one.textContent === "probability").click();
    found.sorted = cards().map((row) => Number(cell(row, "sample")));
    found.wide = page.documentElement.scrollWidth > window.innerWidth;
    return found; }"""


def test_a_browser_slides_filters_and_sorts_and_a_hostile_class_does_nothing(digits, browse):
    found = browse(report(digits), LOOK)

    shown = timeline(evaluations(digits, ["pred"]))
    assert found["title"] == "Digits"
    assert (found["images"], found["loaded"]) == (SAMPLES, True)  # not one more for each version
    assert found["shown"] == [f"pred:v{epoch} epoch_{epoch}" for epoch in range(VERSIONS)]
    assert found["outcomes"] == [
        {str(key.row): outcome for key, outcome in moment.outcomes.items()} for moment in shown.moments
    ]
    assert {"right to wrong", "wrong to right", "missing"} <= set(found["outcomes"][1].values())
    assert found["worse"] == [key for key, outcome in found["outcomes"][2].items() if outcome == "right to wrong"] != []
    assert found["fours"] == ["4"]
    assert found["sorted"] == list(range(SAMPLES))
    assert not found["wide"]


def test_what_changed_from_one_version_to_the_next_is_what_a_comparison_says(digits):
    found = evaluations(digits, ["pred:v0", "pred:v2", "pred:v0"])
    assert [one.name for one in found] == ["pred:v0", "pred:v2"]  # each once

    shown = timeline(evaluations(digits, ["pred"]))
    for before, after in pairwise(shown.moments):
        compared = compare(before.evaluation.samples, after.evaluation.samples)
        changed = {key: what for key, what in after.outcomes.items() if "to" in what or what.startswith("still")}
        assert changed == {one.key: one.change for one in compared.samples}
        assert [key for key, what in after.outcomes.items() if what == "missing"] == list(compared.only_before)


def test_the_page_is_the_same_every_time_and_holds_everything_itself(digits):
    page = report(digits, by=["probability"], bins=2)

    assert page == report(digits, by=["probability"], bins=2)
    text = page.decode()
    assert set(re.findall(r"https?://[^\"' <]*", text)) == {"http://www.w3.org/2000/svg"}
    assert HOSTILE not in text
    assert "Slices by probability" in text
    assert "loss as published" in text
    assert "3 versions, 12 samples, as of 2026-01-02 00:00 UTC" in text


def test_a_page_shows_so_many_samples_those_that_changed_last_first_and_says_so(digits):
    text = report(digits, max_samples=2).decode()

    assert text.count("<img ") == 2
    assert "2 of 12 samples; what changed last comes first." in text
    shown = timeline(evaluations(digits, ["pred"])).moments[-1].outcomes
    worse = [key.row for key, outcome in shown.items() if outcome == "right to wrong"]
    assert [int(row) for row in re.findall(r'<td data-head="sample">(\d+)</td>', text)] == worse[:2]


def test_a_picture_that_is_gone_is_told_and_the_others_are_there(digits, tmp_path):
    blob = next((tmp_path / "store/blobs").rglob("*.png"))
    blob.unlink()

    text = report(digits).decode()

    assert text.count("<img ") == SAMPLES - 1
    assert text.count("The picture cannot be read.") == 1


def test_boxes_are_drawn_of_each_version_on_one_picture(artifacts, browse):
    table = Table(["image"], name="scenes")
    truth = Boxes([[180, 70, 280, 180]], ["face"])
    table.add_data(Image(photographs.astronaut(), boxes=truth))
    table.add_data(Image(photographs.coffee(), boxes=Boxes([])))
    artifacts.publish("scenes", {"scenes": table}, type="dataset")
    for boxes in ([[0, 0, 50, 50]], [[185, 70, 280, 180]]):
        predictions = Table(["scene", "predicted"], name="found")
        for row in table.get_index():
            predictions.add_data(row, Boxes(boxes if row == 0 else [], ["face"] * (row == 0), [0.9] * (row == 0)))
        artifacts.publish("found", {"found": predictions}, type="evaluation")

    found = browse(report(artifacts, ["found"]), """(page, window) => {
        const pictures = page.querySelectorAll("svg.picture");
        const shown = () => Array.from(pictures, (one) => Array.from(one.querySelectorAll("rect")).filter(
            (rect) => rect.getClientRects().length).map((rect) => rect.getAttribute("class")));
        const boxes = shown(), range = page.querySelector(".slider input");
        const text = () => pictures[0].querySelector("g:not([hidden]) text").textContent;
        const box = (query) => pictures[0].querySelector(query).getBoundingClientRect();
        const overlaps = box("g:not([hidden]) rect").left < box(":scope > rect").right;
        range.value = 0; range.dispatchEvent(new Event("input"));
        return {boxes, overlaps, before: shown(), apart: box("g:not([hidden]) rect").right < box(":scope > rect").left,
            text: text(), pictures: page.querySelectorAll("image").length}; }""")  # fmt: skip

    assert found["pictures"] == 2
    assert found["boxes"] == found["before"] == [["outline s0 dash2", "outline s0"], []]
    assert found["overlaps"]
    assert found["apart"]
    assert found["text"] == "face 0.90"
    assert "right to wrong" not in str(timeline(evaluations(artifacts, ["found"])).moments[-1].outcomes)


def test_a_label_too_long_for_a_picture_ends_with_an_ellipsis():
    table = Table([Column("id", "integer"), Column("image", "image"), Column("predicted", "boxes")])
    labels = ["x" * 24, "y" * 25]
    found = Boxes([[0, 0, 9, 9]] * 2, labels, [0.9, 0.9])
    table.add_data(1, Image(np.zeros((20, 20), np.uint8), boxes=Boxes([])), found)
    shown = timeline([Evaluation("pred:v0", Samples(table))])

    text = str(cards_of(shown, shown.keys))

    assert f">{'x' * 24} 0.90<" in text
    assert f">{'y' * 23}… 0.90<" in text


def test_a_thumbnail_is_small_and_of_the_right_shape():
    photograph, digit = Image(photographs.astronaut()[:256]), Image(load_digits().images[0] / 16)
    flat = Image(np.zeros((2, 900, 4), np.uint8))

    small, large, white = (PilImage.open(io.BytesIO(thumbnail_of(one))) for one in (photograph, digit, flat))

    assert (small.size, small.format) == ((160, 80), "JPEG")
    assert (
        np.abs(np.asarray(small)[40, 80].astype(float) - photograph.array()[127:130, 255:258].mean((0, 1))).max() < 40
    )
    assert (large.size, large.format) == ((160, 160), "PNG")
    assert (np.asarray(large)[::20, ::20] == digit.array()).all()
    assert white.size == (160, 1)
    assert np.asarray(white).min() == 255  # what is transparent


def test_matrices_have_every_count_however_many_classes_there_are():
    confusions = [{(a, (a * (2 + step)) % 50): a + 1 for a in range(50)} | {(3, None): 7} for step in range(3)]

    maps = heat_maps(confusions)

    assert [len(one) for one in maps] == [1, 2, 2]
    for confusion, drawn in zip(confusions, maps, strict=True):
        assert sum(map(sum, drawn[0].values)) == sum(confusion.values())
        assert len(drawn[0].row_names) == MAX_CLASSES + 1  # and all others
        assert drawn[0].column_names[-2:] == ["all others", "nothing"]
    for (before, *_), (after, change) in pairwise(maps):
        assert (np.array(after.values) - np.array(before.values) == np.array(change.values)).all()


def test_versions_that_cannot_be_shown_together_are_refused(artifacts):
    with pytest.raises(ConfigError, match="no version"):
        timeline([])
    boxed = Table(["id", "label", "boxes"])
    boxed.add_data(1, Boxes([]), Boxes([]))
    with pytest.raises(ConfigError, match="classes and others boxes"):
        timeline([Evaluation("a", samples_of([(1, "a", "a")])), Evaluation("b", Samples(boxed))])


def test_samples_without_pictures_are_shown_without():
    shown = timeline([Evaluation("one", samples_of([(1, "a", "b"), (2, None, "b")]))])

    text = page_of(shown, title="t", made=MADE).encoded().decode()

    assert "<img" not in text
    assert 'class="slider"' not in text
    assert list(shown.moments[0].outcomes.values()) == ["wrong", "not judged"]
