"""An evaluation in real, short trainings by Lightning on the CPU."""

import logging

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from ml.evaluation import Artifacts, EvalCallback, Image
from ml.integrations.lightning_tables import LightningTables

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # few workers, no accelerator

SAMPLES, SIDE_PX = 8, 10


class Classifier(LightningModule):
    """Two classes of tiny pictures, with dropout: 4 batches an epoch, a validation after each."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(SIDE_PX * SIDE_PX, 2)
        )

    def forward(self, images):
        return self.layers(images)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch, index):
        self.log("test_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(samples(), batch_size=2, shuffle=True)

    def val_dataloader(self):
        return DataLoader(samples(), batch_size=4)

    test_dataloader = val_dataloader


def samples():
    images = torch.rand(SAMPLES, 1, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    return TensorDataset(images, torch.arange(SAMPLES) % 2)


class Tables(EvalCallback):
    def __init__(self, directory, **settings):
        columns = ["image", "label"], ["epoch", "sample", "image", "prediction"]
        super().__init__(*columns, artifacts=directory, run_id="demo", **settings)
        self.modes = []

    def add_ground_truth(self, logs=None):
        for image, label in samples():
            self.data_table.add_data(Image(image), label)

    def add_model_predictions(self, epoch, logs=None):
        self.modes.append(self.model.training)
        predicted = torch.cat([self.model(images) for images, _ in DataLoader(samples(), batch_size=4)]).argmax(1)
        for sample in self.data_table_ref.get_index():
            self.pred_table.add_data(epoch, sample, self.data_table_ref.data[sample]["image"], predicted[sample])


def fitted(*callbacks, test=False):
    torch.manual_seed(0)
    module = Classifier()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", logger=False, max_epochs=2, callbacks=list(callbacks), **quiet)
    trainer.fit(module)
    if test:
        trainer.test(module, verbose=False)
    return module


def test_every_epoch_is_a_version_with_the_metrics_of_its_validation(tmp_path):
    tables = Tables(tmp_path, best=("val_loss", "min"))
    module = fitted(LightningTables(tables), test=True)

    artifacts = Artifacts(tmp_path)
    first, last = artifacts.get("run_demo_pred:epoch_0"), artifacts.get("run_demo_pred:epoch_1")
    with torch.no_grad():
        logits = module.eval()(samples().tensors[0])
    assert last.table().get_column("prediction") == logits.argmax(1).tolist()
    assert last.metrics["val_loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(logits, samples().tensors[1]).item(), rel=1e-6
    )
    assert first.metrics["val_loss"] != last.metrics["val_loss"]
    assert last.used == ("val:v0",)
    # A test after the last epoch finds what that epoch found.
    assert artifacts.get("run_demo_pred:test") == last
    assert tables.modes == [False] * 3
    assert len(list((tmp_path / "blobs").rglob("*.png"))) == SAMPLES


def test_training_is_the_same_with_it_and_without(tmp_path):
    """The evaluation iterates over a loader, which draws from the same random numbers as training."""
    with_it = fitted(LightningTables(Tables(tmp_path, every_n_batches=1)))
    without = fitted()

    assert len(Artifacts(tmp_path).aliases("run_demo_pred")) == 1 + 2 + 8
    for ours, theirs in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_the_user_has_written_wrong_ends_training(tmp_path):
    class Wrong(Tables):
        def add_model_predictions(self, epoch):
            raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        fitted(LightningTables(Wrong(tmp_path)))
