"""The callback ``tables`` of our own trainer."""

import json

import pytest
import torch

from ml.core.errors import ConfigError
from ml.core.registry import CALLBACKS
from ml.evaluation import Artifacts, Image
from ml.evaluation.config import TablesCallbackConfig
from ml.evaluation.validation import TablesCallback
from ml.tasks.base import BaseTask
from tests.test_train import composed
from tests.trainers.tiny import Training, tiny_config


def callback(**settings):
    return TablesCallback(TablesCallbackConfig("tables", **settings))


def versions(training_directory, alias):
    return Artifacts(training_directory / "evaluation").get(f"run_{training_directory.name}_pred:{alias}")


def test_every_validation_is_a_version_with_what_the_model_said_of_every_sample(tmp_path):
    run = tmp_path / "run"
    training = Training(run, tiny_config(), callbacks=[callback()])
    last = versions(run, "epoch_3")
    task, model = training.task, training.model.eval()
    images, targets = task.dataset("valid").tensors
    with torch.no_grad():
        probabilities, guesses = model(images).prediction.softmax(1).max(1)

    rows = last.table().data
    assert [row["label"] for row in rows] == [task.classes[target] for target in targets]
    assert [row["prediction"] for row in rows] == [task.classes[guess] for guess in guesses]
    assert [row["probability"] for row in rows] == pytest.approx(probabilities.tolist(), rel=1e-6)
    assert [row["image"] for row in rows] == [Image(image) for image in images]
    assert {(row["epoch"], row["step"]) for row in rows} == {(3, 15)}
    assert [last.table().row(row["sample"])["index"] for row in rows] == list(range(10))
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert last.metrics["accuracy"] == right / len(rows) == training.values("valid", "accuracy")[-1]
    assert set(Artifacts(run / "evaluation").aliases("run_run_pred")) == {
        *("latest", "best", "epoch_1", "epoch_2", "epoch_3", "step_5", "step_10", "step_15")
    }


def test_training_is_the_same_with_it_and_without(tmp_path):
    with_it = Training(tmp_path / "a", tiny_config(), callbacks=[callback()])
    without = Training(tmp_path / "b", tiny_config())

    for key, value in without.weights().items():
        assert torch.equal(with_it.weights()[key], value)


def test_samples_validations_and_place_are_chosen(tmp_path):
    """Only an epoch that has ended gives a version its name."""
    settings = {"max_samples": 4, "batch_size": 3, "every_n_validations": 2, "best": "loss", "best_is": "min"}
    chosen = callback(artifacts=str(tmp_path / "tables"), **settings)
    Training(tmp_path / "run", tiny_config(valid_every_n_steps=3), callbacks=[chosen])

    artifacts = Artifacts(tmp_path / "tables")
    assert set(artifacts.aliases("run_run_pred")) == {"latest", "best", "step_6", "step_12"}
    assert {len(version.table()) for version in artifacts.versions("run_run_pred")} == {4}
    losses = [version.metrics["loss"] for version in artifacts.versions("run_run_pred")]
    assert artifacts.get("run_run_pred:best").metrics["loss"] == min(losses)
    assert not (tmp_path / "run" / "evaluation").exists()


class Regression(BaseTask):
    """A task that has no classes."""

    def __init__(self):
        pass

    dataset = step = log = totals = log_pass = None


def test_a_task_without_classes_is_refused_before_the_first_step(tmp_path):
    class Trainer:
        task, attempt = Regression(), type("Attempt", (), {"context": None})

    with pytest.raises(ConfigError, match=r"not Regression\. .*EvalCallback"):
        callback().on_start(Trainer())


@pytest.mark.parametrize(
    "settings", [{"every_n_validations": 0}, {"batch_size": 0}, {"max_samples": 0}, {"best_is": "high"}]
)
def test_a_setting_that_makes_no_sense_is_refused(settings):
    with pytest.raises(ConfigError):
        CALLBACKS.build({"name": "tables", **settings})


def test_the_demo_writes_its_validation_tables_each_epoch(tmp_path):
    from ml.train import train

    run = tmp_path / "digits"
    overrides = [
        "+callbacks=tables",
        "callbacks.tables.max_samples=20",
        "trainer.max_epochs=2",
        "trainer.batch_size=512",
    ]
    train(composed(f"run.directory={run}", *overrides))

    artifacts = Artifacts(run / "evaluation")
    val, (first, last) = artifacts.get("val"), artifacts.versions("run_digits_pred")
    assert len(val.table()) == len(first.table()) == len(last.table()) == 20
    assert "epoch_1" in first.aliases
    assert "epoch_2" in last.aliases
    assert set(last.table().get_column("prediction")) <= set("0123456789")
    logged = [json.loads(line) for line in (run / "json" / "log.jsonl").read_text().splitlines()]
    accuracies = [line["scalars"]["task/accuracy"] for line in logged if line["phase"] == "valid" if "scalars" in line]
    assert last.metrics["accuracy"] == accuracies[-1]
    assert len(list((run / "evaluation" / "blobs").rglob("*.png"))) == 20
