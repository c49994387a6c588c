"""What tables become: columns of one kind, whatever users have in their cells."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ml.core.errors import LogValueError
from ml.media.boxes import draw_boxes
from ml.media.table import standardize_table
from ml.media.table_cells import MAX_ARRAY_ELEMENTS, MAX_TABLE_BYTES
from ml.media.table_pictures import picture_grid

NOON = datetime(2026, 1, 2, 12)  # noqa: DTZ001  # one without a zone is what is tested


class Color(Enum):
    RED = 1


class Holder:
    """What gives its array only when it is asked, as a picture of an evaluation table does."""

    def __init__(self, array):
        self._array = array

    def array(self):
        return self._array

    def __str__(self):
        return "a holder"

    __repr__ = __str__  # of a test's name


class Boxed(Holder):
    def __init__(self, array, boxes):
        super().__init__(array)
        self.boxes = boxes


class Found:
    """Boxes that stay as they are."""

    def __init__(self, xyxy, labels=None, scores=None):
        self.xyxy, self.labels, self.scores = np.array(xyxy, float), labels, scores
        self.xyxy.flags.writeable = False

    def __repr__(self):
        return "found"


def column(cells):
    (made,) = standardize_table({"x": cells}, total_rows=len(cells)).columns
    return made.kind, list(made.cells)


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        ([1, None, 3], "integer", [1, None, 3]),
        ([np.int8(1), np.uint64(3)], "integer", [1, 3]),
        (np.arange(3), "integer", [0, 1, 2]),
        ([1, 2.5], "number", [1.0, 2.5]),
        ([Decimal("0.5"), Fraction(1, 4), np.float32(0.5)], "number", [0.5, 0.25, 0.5]),
        (np.array([0.5, 1.5], np.float16), "number", [0.5, 1.5]),
        ([math.inf, 1], "number", [math.inf, 1.0]),
        ([True, np.False_, None], "boolean", [True, False, None]),
        ([True, 2], "integer", [1, 2]),
        (["a", b"\xff", np.str_("c"), "\ud800"], "string", ["a", "\ufffd", "c", "?"]),
        (np.array(["a", "b"]), "string", ["a", "b"]),
        ([1, "a", 0.5, None], "string", ["1", "a", "0.5", None]),
        ([2**53 + 1, 1], "string", ["9007199254740993", "1"]),
        ([None, None], "string", [None, None]),
        ([], "string", []),
        ([Color.RED, PurePosixPath("a/b")], "string", ["Color.RED", "a/b"]),
        ([1j, {"a": 1}, ["x", "y"]], "string", ["1j", "{'a': 1}", "['x', 'y']"]),
        ([Holder(np.zeros(3))], "string", ["a holder"]),
        ([NOON, pd.NaT, pd.NA], "timestamp", [NOON, None, None]),
        ([date(2026, 1, 2), np.datetime64("2026-01-02T12")], "timestamp", [NOON.replace(hour=0), NOON]),
        ([NOON.replace(tzinfo=timezone(timedelta(hours=2)))], "timestamp", [datetime(2026, 1, 2, 10, tzinfo=UTC)]),
        ([NOON, NOON.replace(tzinfo=UTC)], "string", ["2026-01-02T12:00:00", "2026-01-02T12:00:00+00:00"]),
        ([pd.Timestamp(NOON)], "timestamp", [NOON]),
        ([[1, 2], np.array([0.5]), ()], "array", [[1, 2], [0.5], []]),
        ([np.zeros((9, 4))], "array", [[[0.0] * 4] * 9]),  # boxes are no picture
        (np.eye(2), "array", [[1.0, 0.0], [0.0, 1.0]]),
        ([[1, 2], None, "none"], "string", ["[1, 2]", None, "none"]),
    ],
    ids=repr,
)
def test_the_cells_of_a_column_become_one_kind(cells, kind, expected):
    assert column(cells) == (kind, expected)


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        (np.zeros((8, 9)), (1, 8, 9)),
        (np.zeros((3, 4, 5)), (3, 4, 5)),
        (np.zeros((5, 6, 3), np.uint8), (3, 5, 6)),
        (Image.new("RGB", (2, 5)), (3, 5, 2)),
        (Holder(np.zeros((2, 2))), (1, 2, 2)),
        (np.zeros((512, 512), bool), (1, 256, 256)),
    ],
    ids=["gray", "channels first", "channels last", "PIL", "array()", "large"],
)
def test_a_picture_is_uint8_and_small(cell, shape):
    kind, (picture, nothing) = column([cell, None])

    assert (kind, picture.shape, picture.dtype, nothing) == ("image", shape, np.uint8, None)


def test_the_pictures_of_a_column_share_one_range():
    _, (dark, bright) = column(np.stack([np.full((8, 8), 1.0), np.full((8, 8), 10.0)]))

    assert (int(dark[0, 0, 0]), int(bright[0, 0, 0])) == (26, 255)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ([np.zeros(MAX_ARRAY_ELEMENTS + 1)], "column 'x': an array in a table has at most 4096 elements, got shape"),
        ([np.zeros((8, 8)), 3], "column 'x': there are pictures in it and other kinds: integer"),
        (["x" * (MAX_TABLE_BYTES + 1)], "column 'x': a table holds at most 64 MiB"),
        ([np.zeros(MAX_ARRAY_ELEMENTS)] * 800, "at most 64 MiB"),
    ],
    ids=["long array", "mixed", "long text", "many arrays"],
)
def test_what_no_table_holds_is_refused_with_the_cure(cells, problem):
    with pytest.raises(LogValueError, match=problem) as raised:
        column(cells)

    assert raised.value.fix


def test_pictures_that_are_decoded_one_by_one_are_shrunk_and_counted_as_they_come():
    made = []

    class Decoded:
        def array(self):
            made.append(1)
            return np.zeros((300, 300, 4), np.uint8)

    with pytest.raises(LogValueError, match="at most 64 MiB"):
        column([Decoded()] * 5000)
    assert len(made) == 64 * 4 + 1  # 256 KiB each


def test_other_threads_go_on_while_a_long_table_is_made():
    rests = []
    standardize_table({"x": ["text"] * 10_000}, total_rows=10_000, rest=lambda: rests.append(1))

    assert len(rests) >= 10_000 // 256


def test_the_grid_has_the_first_pictures_of_the_first_column_of_them():
    pictures = np.zeros((100, 8, 8), np.uint8)
    table = standardize_table({"label": range(100), "a": pictures, "b": pictures + 255}, total_rows=100)
    grid = picture_grid(table.columns)

    assert grid.shape == (1, 8 * 64, 8 * 64)  # 64 cells, enlarged to 64 pixels
    assert not grid.any()
    assert picture_grid(table.columns[:1]) is None


def shown(columns):
    return picture_grid(standardize_table(columns, total_rows=2).columns)


def boxed(picture, *some):
    for boxes in some:
        picture = draw_boxes(picture, boxes.xyxy, source_size_px=(600, 300), labels=boxes.labels, scores=boxes.scores)
    return picture


BLACK = np.zeros((600, 300), np.uint8)
SMALL = np.zeros((3, 362, 181), np.uint8)  # as it is shown
TRUE, GUESS = Found([[30, 60, 152, 300]], ["cat"]), Found([[45, 60, 160, 280], [0, 0, 30, 30]], [1, 2], [0.5, 0.9])


def test_the_grid_shows_the_boxes_of_a_picture_and_over_them_those_of_its_row():
    grid = shown({"image": [Boxed(BLACK, TRUE), BLACK], "found": [GUESS, None], "label": ["a", "b"]})

    np.testing.assert_array_equal(grid, np.concatenate([boxed(SMALL, TRUE, GUESS), SMALL], axis=2))
    assert grid.any()


@pytest.mark.parametrize(
    ("order", "wanted"),
    [("fap", [GUESS]), ("afp", [GUESS]), ("apf", []), ("pfa", [GUESS]), ("fpa", [GUESS])],
)
def test_boxes_are_on_the_picture_before_them_or_on_the_first(order, wanted):
    cells = {"f": [GUESS], "a": [BLACK], "p": [BLACK]}
    grid = shown({name: cells[name] for name in order})

    np.testing.assert_array_equal(grid, boxed(SMALL, *wanted) if wanted else SMALL[:1])


@pytest.mark.parametrize(
    "boxes",
    [
        Found([[1, 2, 3]]),
        Found(5),
        Found([[1, 2, 3, 4]], labels=[1, 2]),
        Found([[1, 2, 3, 4]], labels=5),
        Found([[1, 2, 3, 4]], scores=[0.5, 0.5]),
        Found([[1, 2, 3, 4]], scores=["a"]),
        Found(np.empty((0, 4))),
    ],
    ids=["three corners", "a number", "two labels", "no list", "two scores", "a text", "none"],
)
def test_what_makes_no_sense_as_boxes_costs_no_picture(boxes):
    np.testing.assert_array_equal(shown({"image": [Boxed(BLACK, boxes)], "found": [boxes]}), SMALL[:1])


def test_the_cells_of_a_table_are_without_boxes():
    image, found = standardize_table({"image": [Boxed(BLACK, TRUE)], "found": [GUESS]}, total_rows=1).columns

    assert not image.cells[0].any()
    assert (found.kind, found.cells) == ("string", ["found"])


def test_a_table_is_what_a_table_is_made_of():
    table = standardize_table({"label": [1, 2], "input": np.ones((2, 8, 8))}, total_rows=5)
    (batch,) = table.iter_batches()
    again = standardize_table(batch, total_rows=5)

    assert (len(again), again.total_rows, again.column_names) == (2, 5, ["label", "input"])
    np.testing.assert_array_equal(again.columns[1].cells[0], table.columns[1].cells[0])
