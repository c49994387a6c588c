"""A real ``transformers.Trainer`` with a tiny model made from a configuration, on the CPU."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

import ml
from ml.core.errors import ConfigError
from ml.integrations.huggingface import HuggingFaceCallback

SECRET = "hf_" + "canary" * 4  # put together here: a run keeps the patch of its code, which may hold this file
RENAMED = (("eval_", "eval/"), ("test_", "test/"))  # by the trainer's own TensorBoardCallback; all else is train/


class Sentences(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        return {"input_ids": torch.arange(4) + index, "labels": torch.tensor(index % 2)}


class FailingAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("the data ended")


def trainer_of(tmp_path, *callbacks, **settings):
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=32, max_position_embeddings=8, **size))
    defaults = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), **defaults | settings)
    data = Sentences()
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=list(callbacks))


def start(directory, **settings):
    return ml.start_run(directory, **{"loggers": ["json"], "on_error": "raise"} | settings)


def ours(path):
    frame = ml.open_run(path).scalars()
    assert set(frame["phase"]) <= {"train"}
    return points(zip(frame["key"], frame["step"], frame["value"], strict=True))


def points(found):
    return {(key, int(step), repr(float(value))) for key, step, value in found}


def of_history(trainer):
    history = trainer.state.log_history
    return points((key, entry["step"], entry[key]) for entry in history for key in entry if key != "step")


def of_tensorboard(path):
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    return points((tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag))


def as_their_tensorboard(found):
    """Renames as their callback does, and keeps the number that a float32 holds."""

    def renamed(key):
        return next((new + key[len(old) :] for old, new in RENAMED if key.startswith(old)), f"train/{key}")

    return points((renamed(key), step, np.float32(value)) for key, step, value in found)


def test_keys_steps_and_values_are_those_of_the_history_and_of_the_trainers_own_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))
    with start(tmp_path / "run") as run:
        trainer = trainer_of(tmp_path, HuggingFaceCallback(run), report_to=["tensorboard"])
        trainer.train()

    assert ours(run.path) == of_history(trainer)
    assert as_their_tensorboard(ours(run.path)) == of_tensorboard(tmp_path / "tb")
    assert {key for key, _, _ in ours(run.path)} >= {"loss", "learning_rate", "epoch", "eval_loss", "train_runtime"}
    assert {step for key, step, _ in ours(run.path) if key == "loss"} == set(range(1, 9))
    assert {step for key, step, _ in ours(run.path) if key == "eval_loss"} == {4, 8}
    epochs = ml.open_run(run.path).scalars("loss").set_index("step")["epoch"]
    assert [epochs[step] for step in (3, 4, 7, 8)] == [0, 1, 1, 2]


def test_what_the_trainer_has_thinned_is_not_thinned_again(tmp_path):
    with start(tmp_path / "run", loggers=[{"name": "json", "write_every_n_seconds": 3600}]) as run:
        trainer = trainer_of(tmp_path, HuggingFaceCallback(run), logging_steps=3, save_strategy="no")
        trainer.train()

    assert ours(run.path) == of_history(trainer)
    assert {step for key, step, _ in ours(run.path) if key == "loss"} == {3, 6}


def test_each_checkpoint_is_noted_at_its_step_with_the_metric_that_judges_it(tmp_path):
    with start(tmp_path / "run") as run:
        trainer = trainer_of(tmp_path, HuggingFaceCallback(run), metric_for_best_model="loss")
        trainer.train()

    notes = ml.open_run(run.path).strings("checkpoint")
    scores = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert list(notes["step"]) == [4, 8]
    assert list(notes["value"]) == [
        f"{tmp_path}/out/checkpoint-{step} (eval_loss {score:.6g})" for step, score in zip((4, 8), scores, strict=True)
    ]


def test_arguments_and_the_models_configuration_are_settings_of_the_run_without_secrets(tmp_path):
    with start(tmp_path / "run", config={"mine": 1}) as run:
        trainer_of(tmp_path, HuggingFaceCallback(run), hub_token=SECRET, max_steps=1).train()

    config = ml.open_run(run.path).config
    assert (config.mine, config.args.per_device_train_batch_size, config.model_config.hidden_size) == (1, 4, 8)
    written = [path.read_text(errors="replace") for path in run.path.rglob("*") if path.is_file()]
    assert written
    assert not any(SECRET in text for text in written)


def test_evaluate_and_predict_without_a_training_are_logged_and_written(tmp_path):
    run = start(tmp_path / "run")
    trainer = trainer_of(tmp_path, HuggingFaceCallback(run))
    for loss, evaluate in (
        ("eval_loss", trainer.evaluate),
        ("test_loss", lambda: trainer.predict(Sentences()).metrics),
    ):
        metrics = evaluate()
        run.flush()  # and not close, which would end an open step
        assert loss in metrics
        assert ours(run.path) >= points((key, 0, value) for key, value in metrics.items() if key != "epoch")
    run.close()


def test_a_training_that_fails_has_everything_up_to_there(tmp_path):
    run = start(tmp_path / "run")
    trainer = trainer_of(tmp_path, HuggingFaceCallback(run), FailingAt(6))
    with pytest.raises(RuntimeError, match="the data ended"), run:
        trainer.train()

    assert ours(run.path) == of_history(trainer)
    assert ml.open_run(run.path).status == "failed"


def test_a_resumed_training_has_one_curve(tmp_path):
    with start(tmp_path / "run") as first:
        trainer_of(tmp_path, HuggingFaceCallback(first)).train()
    state = json.loads((tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text())
    with start(tmp_path / "run", resume=True, state={"num_steps": state["global_step"]}) as second:
        trainer = trainer_of(tmp_path, HuggingFaceCallback(second))
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))

    loss = ml.open_run(second.path).scalars("loss")
    assert list(loss["step"]) == list(range(1, 9))
    assert list(loss["attempt"]) == [1] * 4 + [2] * 4
    assert ours(second.path) >= {point for point in of_history(trainer) if point[1] > 4}
    assert list(ml.open_run(second.path).strings("checkpoint")["step"]) == [4, 8]


def test_what_is_no_number_costs_itself_and_is_said_once(tmp_path, caplog):
    with start(tmp_path / "run", on_error="warn") as run:
        callback = HuggingFaceCallback(run)
        for step in (1, 2):
            logs = {"loss": 0.5, "none": None, "list": [1, 2], "note": "warm", "tensor": torch.tensor(2.0)}
            callback.on_log(None, TrainerState(global_step=step), TrainerControl(), logs=logs)

    assert ours(run.path) == points((key, step, {"loss": 0.5, "tensor": 2.0}[key]) for key, step in _keys_by_steps())
    assert list(ml.open_run(run.path).strings("note")["step"]) == [1, 2]
    assert run.stats()["json"].failed == {"value": 4}
    said = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert sorted(message.split(":")[0] for message in said) == ["Cannot log 'list'", "Cannot log 'none'"]


def _keys_by_steps():
    return [(key, step) for key in ("loss", "tensor") for step in (1, 2)]


def test_a_run_that_the_callback_starts_is_started_when_training_begins(tmp_path):
    callback = HuggingFaceCallback(lambda: start(tmp_path / "run"))
    trainer = trainer_of(tmp_path, callback, max_steps=2)
    assert not (tmp_path / "run").exists()
    trainer.train()

    assert ours(callback.run.path) == of_history(trainer)  # all of it is durable before the run is closed
    callback.run.close()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="got a str"):
        HuggingFaceCallback("runs/demo")


@pytest.mark.slow
def test_two_ranks_make_one_run(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = Path(__file__).parent / "programs" / "huggingface_ranks.py"
    command = [*launcher, str(program), str(tmp_path / "runs" / "demo"), str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["demo"]
    found = sorted(re.findall(r"rank (\d) in (\S+)", ran.stdout))
    assert found == [(rank, str(tmp_path / "runs" / "demo")) for rank in "01"]
    losses = ml.open_run(tmp_path / "runs" / "demo").scalars("loss")
    assert list(losses["step"]) == [2, 4]


def test_where_transformers_is_missing_the_extra_is_named():
    program = "import sys; sys.modules['transformers'] = None; import ml.integrations.huggingface"
    root = Path(ml.__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)

    assert "ConfigError: HuggingFaceCallback needs the package transformers" in ran.stderr
    assert "pip install 'ml-logbook[transformers]'" in ran.stderr
