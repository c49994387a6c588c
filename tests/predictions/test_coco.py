import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from ml.predictions.coco import write_coco
from ml.predictions.reading import open_predictions
from tests.predictions.records import HOSTILE, Records, box


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "predictions")


@pytest.fixture
def export(records, tmp_path):
    """Exports the records to a directory, and returns that and the counts."""

    def export(name="coco", **options):
        (tmp_path / name).mkdir()
        return tmp_path / name, write_coco(tmp_path / name, open_predictions(records.root), **options)

    return export


def load(directory):
    """What the tools of COCO make of it."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(directory / "annotations.json")
        return truth, truth.loadRes(str(directory / "results.json"))


def test_the_tools_of_coco_read_every_box_where_it_was(records, export):
    first = records.detection(
        1, box("face", 0.75, 1.5, 2.25, 10, 20), box("dog", 0.5), image=np.zeros((40, 60, 3), np.uint8)
    )
    second = records.detection(2, box("dog", 0.25, 3, 4, 5, 6))
    directory, counts = export()

    truth, results = load(directory)

    assert counts == (2, 3, 0, 0)
    assert [truth.imgs[number]["key"] for number in truth.getImgIds()] == [first, second]
    assert (truth.imgs[1]["width"], truth.imgs[1]["height"]) == (60, 40)
    assert truth.imgs[1]["date_captured"].startswith("2026-01-02T12:00:00.001")
    assert {one["id"]: one["name"] for one in truth.loadCats(truth.getCatIds())} == {1: "face", 2: "dog"}
    [dog] = truth.loadAnns(truth.getAnnIds(imgIds=[2]))
    assert (dog["bbox"], dog["area"], dog["iscrowd"], dog["category_id"]) == ([3, 4, 5, 6], 30, 0, 2)
    [face] = truth.loadAnns(truth.getAnnIds(catIds=truth.getCatIds(catNms=["face"])))
    assert (face["bbox"], face["area"], face["score"]) == ([1.5, 2.25, 10, 20], 200, 0.75)
    assert [one["score"] for one in results.loadAnns(results.getAnnIds())] == [0.75, 0.5, 0.25]


def test_results_measured_against_the_same_boxes_are_perfect(records, export):
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    for ms in range(5):
        corners = rng.uniform(0, 200, (6, 2))
        records.detection(ms, *(box(f"class {n % 3}", 0.5 + n / 20, *xy, 30 + n, 40) for n, xy in enumerate(corners)))
    directory, _ = export()

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*load(directory), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    assert evaluation.stats[0] == pytest.approx(1.0)


def test_what_tells_nothing_of_boxes_is_no_image_without_objects(records, export):
    records.detection(1)
    records.detection(2, error_message="out of memory")
    records.classification(3)
    partly = records.detection(4, box(), error_message="gave up in the middle")
    directory, counts = export()

    truth, _ = load(directory)

    assert counts._replace(annotations=0) == (2, 0, 2, 0)
    assert [truth.imgs[number]["key"] for number in truth.getImgIds()][1:] == [partly]
    assert truth.getAnnIds(imgIds=[1]) == []


@pytest.mark.parametrize("codec", ["png", "jpeg", "webp"])
def test_pictures_lie_beside_as_they_were_logged(records, export, codec, photograph):
    records.detection(1, box(), image=photograph, codec=codec)
    records.detection(2, box(), omitted="disk_low")
    directory, counts = export(has_images=True)

    truth, _ = load(directory)

    [found] = (directory / "images").iterdir()
    assert found.name == truth.imgs[1]["file_name"]
    [record] = [one.record for one in open_predictions(records.root) if one.record.image is not None]
    assert found.read_bytes() == record.image_bytes
    assert Image.open(found).size == (truth.imgs[1]["width"], truth.imgs[1]["height"])
    assert counts.without_picture == 1


def test_colours_of_16_bits_are_written_as_others_can_read_them(records, export):
    image = np.zeros((30, 50, 3), np.uint16)
    image[:, :25, 0] = 40_000
    records.detection(1, image=image)
    records.detection(2, image=image[..., 0])
    directory, _ = export(has_images=True)

    colour, gray = (Image.open(path) for path in sorted((directory / "images").iterdir()))

    assert (colour.mode, colour.size, colour.getpixel((0, 0))) == ("RGB", (50, 30), (255, 0, 0))
    assert gray.getpixel((0, 0)) == 40_000


def test_the_same_records_give_the_same_files(records, export):
    for ms in range(3):
        records.detection(ms, box("b"), box("a"), box(""))

    one, other = export("one")[0], export("other")[0]

    for name in ("annotations.json", "results.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_numbers_that_json_lacks_and_hostile_names_spoil_nothing(records, export):
    records.detection(
        1, box("a", float("nan")), box(HOSTILE, 0.5), box("b", 0.5, float("inf")), box("c", 0.5, 1e30, 1e30, 1e30, 1e30)
    )
    directory, counts = export()

    truth, _ = load(directory)

    assert counts.annotations == 2  # COCO can say so of neither a NaN nor of an infinite one
    assert HOSTILE in {one["name"] for one in truth.loadCats(truth.getCatIds())}


def test_no_record_at_all_is_an_empty_data_set(records, export):
    records.root.mkdir()
    directory, counts = export()

    assert counts == (0, 0, 0, 0)
    assert json.loads((directory / "annotations.json").read_text()) == {
        "images": [],
        "annotations": [],
        "categories": [],
    }
    assert json.loads((directory / "results.json").read_text()) == []
    assert {path.name for path in directory.iterdir()} == {"annotations.json", "results.json"}
