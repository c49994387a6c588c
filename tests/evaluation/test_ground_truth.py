"""The ground truth, whose store may go away while a model is evaluated."""

import shutil

import pytest

from ml.core.errors import WriteError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.ground_truth import GroundTruth
from ml.evaluation.table import Table
from tests.evaluation.tables import ground_truth


def test_a_picture_that_was_removed_cannot_be_read_now_and_is_no_missing_file_of_the_users(tmp_path):
    data = GroundTruth(Artifacts(tmp_path).publish("val", {"val_data": ground_truth()}, type="dataset").table())
    picture = data.data[0]["image"]
    shutil.rmtree(tmp_path)

    with pytest.raises(WriteError, match="There is no 'blobs/"):
        picture.array()


def test_a_picture_of_it_is_looked_for_in_the_other_store_that_a_table_was_made_of(tmp_path):
    first, second = (
        GroundTruth(Artifacts(tmp_path / name).publish("val", {"val_data": ground_truth(rows)}, type="dataset").table())
        for name, rows in (("a", 1), ("b", 4))
    )
    with Table(["image"]) as table:
        table.add_data(first.data[0]["image"])
        table.add_data(second.data[3]["image"])

        assert [picture.array().max() for picture in table.get_column("image")] == [0, 150]


def test_its_pictures_are_not_copied_into_the_store_that_they_lie_in(tmp_path):
    artifacts = Artifacts(tmp_path)
    data = GroundTruth(artifacts.publish("val", {"val_data": ground_truth()}, type="dataset").table())
    with Table(["image"]) as table:
        table.add_data(data.data[0]["image"])

        assert table.file_of(data.data[0]["image"].file.ref).source.url == artifacts.store.url
