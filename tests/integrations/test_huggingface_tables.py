"""An evaluation in real, short trainings by ``transformers.Trainer``, with a tiny model made from a configuration."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from ml.evaluation import Artifacts, EvalCallback
from ml.integrations.huggingface_tables import HuggingFaceTables

TEXTS = [[index, index + 1, index + 2] for index in range(8)]


def sentences():
    return [{"input_ids": torch.tensor(text), "labels": torch.tensor(text[0] % 2)} for text in TEXTS]


class Tables(EvalCallback):
    def __init__(self, directory, **settings):
        columns = ["tokens", "label"], ["epoch", "sample", "label", "prediction"]
        super().__init__(*columns, artifacts=directory, run_id="demo", **settings)

    def add_ground_truth(self, logs=None):
        for sentence in sentences():
            self.data_table.add_data(sentence["input_ids"], sentence["labels"])

    def add_model_predictions(self, epoch, logs=None):
        tokens = torch.tensor(np.stack(self.data_table_ref.get_column("tokens")))
        predicted = self.model(input_ids=tokens).logits.argmax(1)
        for sample in self.data_table_ref.get_index():
            self.pred_table.add_data(epoch, sample, self.data_table_ref.data[sample]["label"], predicted[sample])


def trainer_of(tmp_path, *callbacks, **settings):
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=32, max_position_embeddings=8, **size))
    defaults = {"num_train_epochs": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "report_to": []}
    fixed = {"use_cpu": True, "disable_tqdm": True, "learning_rate": 0.01}
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), **defaults | fixed | settings)
    data = sentences()
    metrics = {"compute_metrics": lambda found: {"accuracy": float((found[0].argmax(1) == found[1]).mean())}}
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=list(callbacks), **metrics)


def accuracy_in(version):
    rows = version.table().data
    return float(np.mean([row["label"] == row["prediction"] for row in rows]))


def test_every_evaluation_of_an_epoch_is_a_version_with_its_metrics(tmp_path):
    tables = Tables(tmp_path / "tables", best=("eval_accuracy", "max"))
    trainer = trainer_of(tmp_path, HuggingFaceTables(tables), eval_strategy="epoch")
    trainer.train()
    trainer.evaluate()

    artifacts = Artifacts(tmp_path / "tables")
    history = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    for epoch in (0, 1):
        version = artifacts.get(f"run_demo_pred:epoch_{epoch}")
        assert version.metrics["eval_accuracy"] == history[epoch]["eval_accuracy"] == accuracy_in(version)
    assert artifacts.get("run_demo_pred:test") == artifacts.get("run_demo_pred:epoch_1")
    assert artifacts.get("run_demo_pred:best").metrics["eval_accuracy"] == max(e["eval_accuracy"] for e in history)


@pytest.mark.parametrize(
    ("settings", "aliases"),
    [
        ({"eval_strategy": "no"}, ["epoch_0", "epoch_1"]),
        ({"eval_strategy": "steps", "eval_steps": 3}, ["step_3", "step_6", "epoch_1"]),
        ({"eval_strategy": "steps", "eval_steps": 4}, ["epoch_0", "epoch_1"]),
    ],
)
def test_the_trainer_says_when(tmp_path, settings, aliases):
    trainer_of(tmp_path, HuggingFaceTables(Tables(tmp_path / "tables")), **settings).train()

    assert set(Artifacts(tmp_path / "tables").aliases("run_demo_pred")) == {*aliases, "latest"}
