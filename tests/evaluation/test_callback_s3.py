"""A callback whose tables go to a bucket, which may go away in the middle of a training."""

import random

import numpy as np

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.callback import EvalCallback
from ml.evaluation.checking import fsck
from ml.evaluation.values import Image
from tests.evaluation.opaque import keys

PICTURES = [np.full((4, 4, 3), shade, np.uint8) for shade in (10, 20, 30)]


class Shades(EvalCallback):
    def __init__(self, artifacts):
        super().__init__(
            ["image"], ["epoch", "row", "image", "mean"], artifacts=artifacts, run_id="r", best=("mae", "min")
        )

    def add_ground_truth(self, logs=None):
        for picture in PICTURES:
            self.data_table.add_data(Image(picture))

    def add_model_predictions(self, epoch, logs=None):
        data = self.data_table_ref
        for row in data.get_index():
            image = data.data[row]["image"]
            self.pred_table.add_data(epoch, row, image, image.array().mean() + epoch)


def test_a_bucket_that_goes_away_costs_the_evaluations_meanwhile_and_nothing_of_the_training(s3, caplog):
    config = s3.config("tables", deadline_s=0.5, timeout_s=10.0)
    shades = Shades(config)
    drawn = random.getstate()
    versions = [shades.evaluate(0, {"mae": 2.0}), shades.evaluate(1, {"mae": 1.0})]
    s3.server.kill()
    lost = [shades.evaluate(2, {"mae": 0.0}), shades.evaluate(3, {"mae": 0.0})]
    failures = dict(shades.failures)
    s3.server.start()
    versions.append(shades.evaluate(4, {"mae": 3.0}))
    shades.close()

    assert random.getstate() == drawn, "pauses between tries are drawn elsewhere"
    assert lost == [None, None]
    assert failures == {"data": 1, "predictions": 2} == shades.failures
    assert "training goes on" in caplog.text
    artifacts = Artifacts(config)
    assert [version.ref for version in versions] == [f"run_r_pred:v{number}" for number in range(3)]
    assert artifacts.aliases("run_r_pred") == {"latest": 2, "best": 1, "epoch_0": 0, "epoch_1": 1, "epoch_4": 2}
    assert artifacts.get("run_r_pred:best").table().get_column("mean") == [11.0, 21.0, 31.0]
    assert [len([key for key in keys(artifacts.store, "blobs/") if key.endswith(".png")])] == [len(PICTURES)]
    assert artifacts.used_by(artifacts.get("val:v0")) == ["r"]
    assert fsck(artifacts, deep=True) == []
