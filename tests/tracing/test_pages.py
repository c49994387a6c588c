import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ml.core.errors import ConfigError
from ml.tracing.evaluator import Evaluator
from ml.tracing.findings import find
from ml.tracing.page_charts import error_charts, threshold_charts
from ml.tracing.pages import naming_of, page_of
from ml.tracing.record import Identity
from ml.tracing.selection import Selection
from tests.browser import browser
from tests.tracing.said import CLASSIFIER, answered, inference, keep, said, there
from tests.tracing.sights import CAMERA, HOSTILE, IDENTITY, LABELLED, PICTURE, WATCHED, WINDOW, labelled, make

MADE = datetime(2026, 1, 2, tzinfo=UTC)
FCOS = Selection("fcos", "v1")
SECTIONS = [
    "Traced", "Errors: val", "Other thresholds", "Estimated errors", "Drift", "Over time", "Worst: val",
    "In doubt: deploying",
]  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return make(tmp_path_factory.mktemp("sights") / "traces.db")


@pytest.fixture(scope="module")
def found(database):
    return find([database], FCOS, max_samples=6, window_size=WINDOW)


@pytest.fixture
def browse(tmp_path):
    return browser(tmp_path)


def page(found, **settings):
    return page_of(found, made=MADE, **settings).encoded().decode()


LOOK = """(page, window) => {
    const section = (title) => Array.from(page.querySelectorAll("section")).find(
        (one) => one.querySelector("h2").textContent.startsWith(title));
    const cards = Array.from(section("Worst").querySelectorAll("tbody tr"));
    const cell = (row, head) => Array.from(row.cells).find((cell) => cell.dataset.head === head).innerText;
    const select = section("Worst").querySelector('select[aria-label="worst error"]');
    const found = {
        title: page.title, sections: Array.from(page.querySelectorAll("h2"), (one) => one.textContent),
        inputs: cards.map((row) => cell(row, "input")), images: page.querySelectorAll("image").length,
        boxes: Array.from(cards[0].querySelectorAll("rect"), (one) => one.getAttribute("class")),
        overlap: cards[0].querySelectorAll("rect")[0].getBoundingClientRect().width > 10,
        foreign: page.querySelectorAll("img[src=x]").length};
    select.value = "missed"; select.dispatchEvent(new Event("change"));
    found.missed = cards.filter((row) => row.offsetHeight).map((row) => cell(row, "wrong"));
    found.wide = page.documentElement.scrollWidth > window.innerWidth;
    return found; }"""


def test_a_browser_shows_every_section_and_the_worst_inferences_with_their_boxes(found, browse):
    shown = browse(page(found).encode(), LOOK)

    assert shown["title"] == "fcos v1"
    assert shown["sections"] == SECTIONS
    assert shown["images"] == 12  # pictures of both dataset types, six each
    worst = found.surveys[0].worst
    assert shown["inputs"] == [sample.traced.inference.input_id for sample in worst]
    assert len(shown["boxes"]) == 8  # four that are true, dotted, and four that were seen
    assert sum("dash2" in box for box in shown["boxes"]) == 4
    assert shown["overlap"]
    assert shown["missed"]
    assert all("missed" in wrong for wrong in shown["missed"])
    assert not shown["wide"]


def test_a_hostile_text_does_nothing_wherever_it_stands(tmp_path, browse):
    identity = Identity(f"m{HOSTILE}", f"v{HOSTILE}", "a" * 64, "detection", 4)
    make(tmp_path / "traces.db", model=identity, name=HOSTILE)
    found = find([tmp_path / "traces.db"], Selection(*identity[:2]), max_samples=6)
    text = page(found, class_names=[HOSTILE] * 4)

    shown = browse(text.encode(), LOOK)

    assert HOSTILE not in text
    assert text.count("&lt;img src=x") > 20  # model, inputs, fields, results, classes
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert shown["title"].startswith("m<img")  # as text, and not 'owned'
    assert shown["foreign"] == 0
    assert not shown["wide"]


def test_the_page_is_the_same_every_time_and_holds_everything_itself(database, found):
    again = find([database], FCOS, max_samples=6, window_size=WINDOW)

    assert page(again) == page(found)
    assert set(re.findall(r"https?://[^\"' <]*", page(found))) == {"http://www.w3.org/2000/svg"}
    assert f"{LABELLED + WATCHED} inferences looked at, as of 2026-01-02 00:00 UTC" in page(found)


def test_what_is_said_of_errors_is_what_an_evaluation_says(database, found):
    data = Evaluator("fcos", "v1", database=database).get_result("judged").data

    val, deploying = found.surveys

    assert (val.dataset_type, deploying.dataset_type) == ("val", "deploying")
    for name in ("errors", "classes", "confused", "map", "map_50", "num_truths"):
        assert val.errors[name] == data[name]
    assert all(data["errors"].values())  # there is one of every type
    assert deploying.errors is None
    bars = error_charts(val, str)[0].bars
    assert {bar.name: bar.value for bar in bars} == {k: n for k, n in data["errors"].items() if k != "correct"}
    confusion = error_charts(val, str)[-1]
    for truth, said_of_it, count in data["confused"]:
        row, column = confusion.row_names.index(str(truth)), confusion.column_names.index(str(said_of_it))
        assert confusion.values[row][column] == count
    assert np.sum(confusion.values) == data["errors"]["classification"]
    assert f"mAP {data['map']:.3f}, at IoU 0.5 {data['map_50']:.3f}" in page(found)


def test_so_many_samples_are_shown_the_worst_first_and_the_page_says_so(database, found):
    every = find([database], FCOS, max_samples=1000).surveys[0].worst

    assert [sample.badness for sample in every] == sorted((one.badness for one in every), reverse=True)
    assert [one.traced.id for one in found.surveys[0].worst] == [one.traced.id for one in every[:6]]
    for sample in every:
        scores, judgement = sample.traced.inference.output.shown().scores, sample.judgement
        assert sample.badness > 0
        assert sample.badness == pytest.approx(scores[judgement.is_wrong].sum() + len(judgement.missed))
    assert f"6 of {LABELLED} inferences" in page(found)
    assert f"6 of {WATCHED} inferences, those in which most errors are expected" in page(found)
    assert not find([database], FCOS).surveys[0].worst


def test_a_shift_raises_alarms_in_its_windows_alone(found):
    val, deploying = found.surveys

    assert val.drifts == ()  # it is the baseline itself
    assert [window.drift.num_inferences for window in deploying.drifts] == [WINDOW, WINDOW]
    assert [window.drift.is_alarm for window in deploying.drifts] == [False, True]
    text = page(found)
    assert "There is an alarm in 1 of 2 windows of deploying" in text
    assert "usual (val, epoch 0)" in text


def test_estimates_are_held_against_what_is_known(found):
    val, deploying = (survey.reliability for survey in found.surveys)

    assert val.num_estimated == val.num_labelled == 4 * LABELLED
    errors = found.surveys[0].errors["errors"]
    assert val.wrong.sum() == sum(n for name, n in errors.items() if name not in ("correct", "missed"))
    assert val.calibration_error < 0.1
    assert deploying.num_estimated == 4 * WATCHED
    assert deploying.calibration_error is None
    assert "AUROC" in page(found)


def test_without_an_estimator_what_was_estimated_when_it_was_traced_counts(tmp_path):
    judged = [replace(labelled(n), error_probability=np.full(4, 0.25, np.float32)) for n in range(8)]
    keep(tmp_path / "traces.db", judged, IDENTITY, fields=CAMERA)

    found = find([tmp_path / "traces.db"], FCOS, max_samples=3)

    assert found.surveys[0].reliability.total == 8
    assert found.surveys[0].reliability.num_estimated == 32
    assert "as estimated when it was traced" in page(found)


def test_without_results_there_is_neither_drift_nor_an_estimate_and_without_truth_no_error(tmp_path):
    keep(tmp_path / "a.db", [labelled(n) for n in range(20)], IDENTITY, fields=CAMERA)
    keep(tmp_path / "b.db", [replace(labelled(n), truth=None) for n in range(20)], IDENTITY, fields=CAMERA)

    labels, none = (page(find([tmp_path / name], FCOS, max_samples=3)) for name in ("a.db", "b.db"))

    def titles(text):
        return re.findall(r"<h2[^>]*>([^<]*)</h2>", text)

    assert titles(labels) == ["Traced", "Errors: val", "Other thresholds", "Over time", "Worst: val"]
    assert titles(none) == ["Traced", "Other thresholds", "Over time", "In doubt: val"]
    assert "3 of 20 inferences, those in which most was seen with low scores" in none


def test_inferences_without_pictures_are_drawn_on_an_empty_frame(tmp_path, browse):
    inferences = [labelled(n, has_picture=False) for n in range(7)]
    inferences[1] = replace(inferences[1], picture=b"<svg onload=alert()>")
    inferences[2] = replace(inferences[2], picture=PICTURE + bytes(2**19))
    keep(tmp_path / "traces.db", inferences, IDENTITY, fields=CAMERA)
    text = page(find([tmp_path / "traces.db"], FCOS, max_samples=9))

    shown = browse(text.encode(), """(page) => Array.from(page.querySelectorAll("svg.picture"), (one) => ({
        shape: one.getAttribute("viewBox"), rects: one.querySelectorAll("rect").length,
        height: one.getBoundingClientRect().height > 20}))""")  # fmt: skip

    assert shown
    assert {one["shape"] for one in shown} == {"0 0 256 128"}
    assert {one["rects"] for one in shown} == {9}  # the frame, what is true, what was seen
    assert all(one["height"] for one in shown)
    assert text.count("The picture cannot be shown.") == 1
    assert len(text) < 400_000


def test_a_class_is_called_by_its_name_and_one_without_by_its_number():
    naming = naming_of(["cat", "", "dog"])

    assert [naming(label) for label in (0, 1, 2, 3, -1)] == ["cat", "1", "dog", "3", "-1"]


def test_each_dataset_type_is_that_of_its_newest_run_and_epoch(tmp_path):
    file = tmp_path / "traces.db"
    first = [labelled(n, epoch=epoch) for epoch in (0, 1, 5) for n in range(3)]
    keep(file, [*first, labelled(0, dataset_type="train", epoch=1)], IDENTITY, fields=CAMERA, run="1" * 32)
    keep(file, [labelled(n, epoch=2) for n in range(4)], IDENTITY, fields=CAMERA, run="2" * 32)

    latest, all_epochs, one = (
        find([file], FCOS._replace(n_epoch=epoch), max_samples=1) for epoch in ("latest", "all", 1)
    )

    def said_of(found):
        return {one.dataset_type: (one.num_inferences, one.epochs, len(one.runs)) for one in found.surveys}

    assert said_of(latest) == {"train": (1, (1,), 1), "val": (4, (2,), 1)}
    assert said_of(all_epochs) == {"train": (1, (1,), 1), "val": (13, (0, 1, 2, 5), 2)}
    assert said_of(one) == {"train": (1, (1,), 1), "val": (3, (1,), 1)}
    assert "everything traced of this version" in page(latest)


def test_what_is_not_there_is_refused_and_what_is_there_is_named(database, tmp_path):
    with pytest.raises(ConfigError, match=r"no model 'fcso'\. There are: fcos\."):
        find([database], Selection("fcso", "v1"))
    with pytest.raises(ConfigError, match=r"no version 'v2' of the model 'fcos'\. There are: v1\."):
        find([database], Selection("fcos", "v2"))
    with pytest.raises(ConfigError, match=r"'tset' .*There are: val \(epochs 0\), deploying \(epochs 0\)\."):
        find([database], FCOS._replace(dataset_type="tset"))
    with pytest.raises(ConfigError, match=r"no result 'best'\. There are: judged, usual\."):
        find([database], FCOS, result_names=["best"])
    with pytest.raises(FileNotFoundError, match="absent"):
        find([tmp_path / "absent.db"], FCOS)


def test_a_named_result_is_used_instead_of_the_newest(database, tmp_path):
    file = shutil.copy(database, tmp_path)
    Evaluator("fcos", "v1", database=file).request_evaluation("default", "newer")

    newest, named = find([file], FCOS), find([file], FCOS, result_names=["judged"])

    assert (newest.evaluation.name, newest.baseline.name) == ("newer", "usual")
    assert (named.evaluation.name, named.baseline.name) == ("judged", "usual")


def test_a_classifier_has_a_page_too(tmp_path):
    random = np.random.default_rng(0)
    inferences = [
        inference(answered(*random.normal(size=3)), int(number % 3), input_id=f"{number}") for number in range(40)
    ]
    keep(tmp_path / "traces.db", inferences, CLASSIFIER)

    found = find([tmp_path / "traces.db"], Selection("cnn", "v1"), max_samples=5)
    text = page(found, class_names=["cat", "dog", "owl"])

    accuracy = found.surveys[0].errors["accuracy"]
    assert f"Accuracy {accuracy:.1%} of 40 inputs whose class is known." in text
    assert '<h2 id="s2">Sureness</h2>' in text
    assert "owl" in text
    columns = ["class", "truths", "correct", "classification", "% wrong"]  # it has no other types of error
    errors = text[text.index("Errors: val</h2>") :]
    assert re.findall(r"<th[^>]*>([^<]*)</th>", errors[: errors.index("</table>")]) == columns
    assert "detections" not in errors[: errors.index("</section>")]
    precision = threshold_charts(found.surveys)[1].curves[0]
    assert precision.y[0] == pytest.approx(accuracy)


def test_images_on_which_nothing_is_and_nothing_was_seen_are_no_harm(tmp_path):
    boxes = [[0, 0, np.nan, 9], [5, 5, 1, 1]]
    inferences = [
        inference(said(), there(), input_id="empty"),
        inference(said(), there([[0, 0, 9, 9]]), input_id="missed"),
        inference(said(boxes, scores=[np.nan, 0.5]), there(), input_id="odd"),
    ]
    keep(tmp_path / "traces.db", inferences)

    text = page(find([tmp_path / "traces.db"], FCOS, max_samples=5))

    assert "Worst: val" in text
    assert "missed" in text
