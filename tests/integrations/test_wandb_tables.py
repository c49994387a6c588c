"""The tables of an evaluation in an offline run of W&B, read back from its log by W&B's own reader."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import wandb

from ml.evaluation import Audio, Boxes, EvalCallback, Image, Masks
from ml.evaluation.sinks import KeptTable
from ml.evaluation.table import Table
from ml.integrations.wandb_tables import WandbTables
from ml.media.image_files import decode_image
from tests.integrations.test_wandb import inspected, logs_in

PICTURES = [np.full((9, 9), 50 * index, np.uint8) for index in range(4)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))  # where W&B keeps media until they are synced
    with wandb.init(mode="offline", dir=tmp_path, project="demo", settings={"silent": True}) as run:
        yield run


class Tables(EvalCallback):
    def add_ground_truth(self):
        for index, picture in enumerate(PICTURES):
            self.data_table.add_data(Image(picture), index % 2)

    def add_model_predictions(self, epoch):
        for row in self.data_table_ref.get_index():
            image, label = self.data_table_ref.data[row]
            found = Image(PICTURES[row], boxes=Boxes([[1, 2, 3, 4]], labels=["cat"], scores=[0.5]), caption="found")
            self.pred_table.add_data(epoch, row, image, found, label, np.float32(0.25))


class Log:
    """What W&B's own reader finds in the log of a run: the rows of its history, and the files that it would upload."""

    def __init__(self, directory):
        (log,) = logs_in(directory)
        records = inspected(log)
        self.history = [record["history"]["item"] for record in records if "history" in record]
        artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
        self._files = {
            artifact["client_id"]: {entry["path"]: entry["local_path"] for entry in artifact["manifest"]["contents"]}
            for artifact in artifacts
        }

    def table(self, row, name):
        """The columns and rows of a table, and the files beside it by path."""
        assert row[f"{name}._type"] == "table-file"
        client_id, path = row[f"{name}.artifact_path"].removeprefix("wandb-client-artifact://").split("/", 1)
        files = {name: Path(local).read_bytes() for name, local in self._files[client_id].items()}
        kept = json.loads(files[path])
        return kept["columns"], kept["data"], files


def test_ground_truth_and_predictions_are_tables_of_the_run_offline(run, tmp_path):
    columns = ["image", "label"], ["epoch", "sample", "image", "found", "label", "score"]
    tables = Tables(*columns, artifacts=tmp_path / "tables", sinks=[WandbTables(run)])
    for epoch in range(2):
        tables.evaluate(epoch, {"accuracy": 0.5 + epoch / 4})
    run.finish()
    assert not tables.failures

    log = Log(tmp_path)
    ground_truth, first, last = log.history
    names, rows, files = log.table(ground_truth, "val_data")
    assert names == columns[0]
    assert [label for _, label in rows] == [0, 1, 0, 1]
    assert [decode_image(files[image["path"]]).tolist() for image, _ in rows] == [p.tolist() for p in PICTURES]

    assert (first["epoch"], first["eval_data/accuracy"], last["epoch"], last["eval_data/accuracy"]) == (0, 0.5, 1, 0.75)
    names, rows, _ = log.table(last, "eval_data")
    assert names == columns[1]
    for index, (epoch, sample, image, found, label, score) in enumerate(rows):
        assert (epoch, sample, image) == (1, f"val:v0/val_data#{index}", f"val_data#{index}")
        assert (found["sha256"], found["caption"]) == (Image(PICTURES[index]).file.ref.sha256, "found")
        (box,) = found["boxes"]["boxes"]
        assert box["position"] == {"minX": 1, "minY": 2, "maxX": 3, "maxY": 4}
        assert (box["box_caption"], box["scores"]) == ("cat", {"score": 0.5})
        assert (label, score) == (index % 2, 0.25)


class Recorded:
    """What a run of W&B would be given, for kinds of values whose way to its log is W&B's own."""

    def __init__(self):
        self.logged = []

    def log(self, row):
        self.logged.append({key: value.data if isinstance(value, wandb.Table) else value for key, value in row.items()})


def test_sound_masks_and_arrays_become_what_w_and_b_has_for_them(tmp_path):
    run, labels = Recorded(), np.eye(8, dtype=np.uint8)
    with Table(["image", "mask", "sound", "boxes", "array", "nothing"]) as table:
        sound = Audio(np.linspace(-1, 1, 80), 8000)
        image = Image(PICTURES[0][:8, :8], masks=Masks(labels, ["floor", "wall"]))
        table.add_data(image, Masks(labels), sound, Boxes([[np.nan, 0, 1, 1]]), np.arange(3), None)
        kept = KeptTable("data", table, "val", "dataset", "val_data", None, None, (), {})
        WandbTables(run).keep(kept)

    (row,) = run.logged
    ((image, mask, sound, boxes, array, nothing),) = row["val_data"]
    assert isinstance(image, wandb.Image)
    assert isinstance(mask, wandb.Image)
    assert isinstance(sound, wandb.Audio)
    assert np.isnan(boxes["xyxy"][0][0])
    assert (array, nothing) == ([0, 1, 2], None)


def test_a_table_that_w_and_b_would_cut_is_refused_and_costs_nothing_else(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ml.integrations.wandb_tables.MAX_ROWS", 3)
    columns = ["image", "label"], ["epoch", "sample", "image", "found", "label", "score"]
    run = Recorded()
    tables = Tables(*columns, artifacts=tmp_path, sinks=[WandbTables(run)])

    assert tables.evaluate(0).table().column_names == tuple(columns[1])
    assert tables.failures == {"WandbTables": 2}
    assert not run.logged
    assert "W&B takes 3 rows of a table, got 4" in caplog.text
