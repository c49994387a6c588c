import pytest

from ml.core.errors import FormatError
from ml.evaluation.ground_truth import GroundTruth
from ml.evaluation.table import Table
from ml.evaluation.values import Boxes, Image
from tests.evaluation.published import publish
from tests.evaluation.test_stored import IMAGE, PIXELS, stored_of

ROWS = 40


def test_values_of_rows_that_are_asked_for_one_by_one_are_made_once_for_all_evaluations(tmp_path):
    with Table(["n", "image"]) as table:
        for number in range(ROWS):
            table.add_data(number, Image(PIXELS + number, boxes=Boxes([[0, 0, number, 1]])))
        truth = GroundTruth(publish(table, tmp_path))

    [truth.data[row] for row in truth.get_index()]
    second, third = ([truth.data[row] for row in truth.get_index()] for _ in range(2))

    assert [row["n"] for row in second] == list(range(ROWS))
    assert [row["image"].boxes for row in second] == [Boxes([[0, 0, number, 1]]) for number in range(ROWS)]
    assert all(one["image"] is other["image"] for one, other in zip(second, third, strict=True))


def test_one_row_of_a_group_does_not_make_the_values_of_the_others(tmp_path, monkeypatch):
    with Table(["image"]) as table:
        for number in range(ROWS):
            table.add_data(Image(PIXELS + number))
        stored = publish(table, tmp_path)
    made = []
    monkeypatch.setattr(Image, "stored", staticmethod(lambda *parts, of=Image.stored: made.append(parts) or of(*parts)))

    stored.data[ROWS // 2]

    assert len(made) == 1


def test_a_damaged_row_spoils_no_other_one_however_many_are_asked_for(tmp_path):
    damaged = {**IMAGE, "height": -1}
    stored = stored_of([damaged if row == ROWS - 2 else IMAGE for row in range(ROWS)], "image", tmp_path)

    for _ in range(2):
        assert {stored.data[row][0].size for row in range(ROWS) if row != ROWS - 2} == {(2, 2)}
        with pytest.raises(FormatError):
            stored.data[ROWS - 2]
