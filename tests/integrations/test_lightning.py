"""Lightning's own loggers and ours, side by side in one real training on the CPU."""

import copy
import csv
import json
import logging
import pickle
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

import ml
from ml.core.errors import ConfigError
from ml.integrations.lightning import LightningLogger

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # few workers, no accelerator, a directory that exists

ROOT = Path(ml.__file__).parents[1]
PROGRAM = Path(__file__).parent / "programs" / "lightning_ranks.py"
SECRET = "canary" * 4  # put together here: a run keeps the patch of its code, which may hold this file
START = partial(ml.start_run, loggers=["json"], on_error="raise")


class Line(LightningModule):
    """Fits a line: 10 batches an epoch, a validation after each, and values of many types."""

    def __init__(self, lr: float = 0.1, api_key: str = SECRET, fail_at: int = -1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, index):
        if self.global_step == self.hparams.fail_at:
            raise RuntimeError("the data ended")
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("weights/norm", self.layer.weight.norm())
        self.log("odd", float("nan") if index % 2 else float("inf"))
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def test_step(self, batch, index):
        self.log("test_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    def _data(self):
        torch.manual_seed(0)
        return DataLoader(TensorDataset(torch.randn(40, 2), torch.randn(40, 1)), batch_size=4)

    train_dataloader = val_dataloader = test_dataloader = _data


def trainer_of(*loggers, made_by=Trainer, **settings):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return made_by(
        logger=list(loggers), accelerator="cpu", **quiet | {"log_every_n_steps": 3, "max_epochs": 2} | settings
    )


def ours(path):
    """Every number of a run: ``{(key, step, value)}``."""
    frame = ml.open_run(path).scalars()
    assert set(frame["phase"]) == {"train"}
    return points(zip(frame["key"], frame["step"], frame["value"], strict=True))


def points(found):
    """Compares NaN with NaN, and a float32 of TensorBoard with the number that it was."""
    return {(key, int(step), repr(float(value))) for key, step, value in found}


def of_csv(logger):
    rows = csv.DictReader((Path(logger.log_dir) / "metrics.csv").read_text().splitlines())
    return points((key, row["step"], row[key]) for row in rows for key in row if key != "step" and row[key] != "")


def of_tensorboard(logger):
    events = EventAccumulator(logger.log_dir, size_guidance={"scalars": 0})
    events.Reload()
    return points((tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag))


def test_keys_steps_and_values_are_those_of_lightnings_own_loggers(tmp_path):
    run = START(tmp_path / "run", loggers=["json", "tensorboard"])
    theirs = CSVLogger(tmp_path / "csv"), TensorBoardLogger(tmp_path / "tb")
    trainer = trainer_of(LightningLogger(run), *theirs, callbacks=[LearningRateMonitor(), ModelCheckpoint()])
    trainer.fit(Line())
    trainer.test(Line(), verbose=False)
    run.close()

    assert ours(run.path) == of_csv(theirs[0])
    assert {key for key, _, _ in ours(run.path)} == {
        *("loss_step", "loss_epoch", "weights/norm", "odd", "val_loss", "test_loss", "epoch", "lr-SGD")
    }
    as_float32 = points((key, step, np.float32(value)) for key, step, value in ours(run.path))
    assert as_float32 == {point for point in of_tensorboard(theirs[1]) if point[0] != "hp_metric"}  # a dummy of theirs


def test_hyperparameters_are_settings_of_the_run_once_and_without_secrets(tmp_path):
    run = START(tmp_path / "run", loggers=["json", "tensorboard"], config={"mine": 1})
    trainer = trainer_of(LightningLogger(run), max_epochs=1)
    trainer.fit(Line(lr=0.5))
    trainer.test(Line(lr=0.5), verbose=False)  # gives them again
    run.close()

    assert ml.open_run(run.path).config == {"mine": 1, "lr": 0.5, "api_key": "***", "fail_at": -1}
    texts = [path.read_bytes() for path in run.path.rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    assert not any(SECRET.encode() in text for text in texts)
    sessions = [_hyperparameters(path) for path in (run.path / "tensorboard").glob("events.*")]
    assert sessions == [{"mine": 1.0, "lr": 0.5, "fail_at": -1.0, "api_key": "***"}]


def _hyperparameters(path):
    """What the HPARAMS table of TensorBoard has of a file."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    events = EventAccumulator(str(path))
    events.Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    data = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in data.items()}


def test_checkpoints_lie_in_the_run_and_are_noted_with_their_score_at_the_step_they_hold(tmp_path):
    run = START(tmp_path / "run")
    logger = LightningLogger(run)
    trainer = trainer_of(logger, callbacks=[ModelCheckpoint(monitor="val_loss", save_top_k=-1)])
    trainer.fit(Line())
    run.close()

    assert trainer.log_dir == logger.save_dir == logger.log_dir == str(run.path)
    scores = ml.open_run(run.path).scalars("val_loss").set_index("step")["value"]
    notes = ml.open_run(run.path).strings("checkpoint")
    assert dict(zip(notes["step"], notes["value"], strict=True)) == {
        step: f"{run.path}/checkpoints/epoch={epoch}-step={step + 1}.ckpt (val_loss {scores[step]:.6g})"
        for epoch, step in ((0, 9), (1, 19))
    }
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {
        "epoch=0-step=10.ckpt",
        "epoch=1-step=20.ckpt",
    }


def test_a_resumed_training_has_one_curve(tmp_path):
    first, first_csv = START(tmp_path / "run"), CSVLogger(tmp_path / "csv")
    trainer_of(LightningLogger(first), first_csv, callbacks=[ModelCheckpoint(save_top_k=-1)]).fit(Line())
    first.close()
    checkpoint = first.path / "checkpoints" / "epoch=0-step=10.ckpt"
    state = {"num_steps": torch.load(checkpoint, weights_only=True)["global_step"], "num_epochs": 1}
    second, second_csv = START(tmp_path / "run", resume=True, state=state), CSVLogger(tmp_path / "csv")
    trainer_of(LightningLogger(second), second_csv, max_epochs=3, log_every_n_steps=1).fit(Line(), ckpt_path=checkpoint)
    second.close()

    before = {point for point in of_csv(first_csv) if point[1] < 10}
    assert ours(second.path) == before | of_csv(second_csv)
    curve = ml.open_run(second.path).scalars("loss_step")
    assert list(curve["step"]) == [2, 5, 8, *range(10, 30)]
    assert list(curve["attempt"]) == [1] * 3 + [2] * 20
    assert list(curve["epoch"]) == [0] * 3 + [1] * 10 + [2] * 10
    assert ml.open_run(second.path).strings("checkpoint")["step"].iloc[0] == 9


def test_a_fit_that_raises_has_written_its_last_step_and_leaves_the_run_open(tmp_path):
    run = START(tmp_path / "run")
    theirs = CSVLogger(tmp_path / "csv")
    with pytest.raises(RuntimeError, match="the data ended"):
        trainer_of(LightningLogger(run), theirs, log_every_n_steps=1).fit(Line(fail_at=7))
    theirs.save()

    assert ours(run.path) == of_csv(theirs)
    assert {step for _, step, _ in ours(run.path)} == set(range(7))
    assert ml.open_run(run.path).status == "running"
    run.log({"after": 1.0})
    run.close()
    assert ml.open_run(run.path).scalars("after")["value"].tolist() == [1.0]


def test_media_are_taken_at_the_call_and_shown_at_their_step(tmp_path):
    with START(tmp_path / "run") as run:
        logger = LightningLogger(run)
        logger.log_metrics({"loss": 0.5}, step=4)
        picture, clip = torch.zeros(3, 8, 8), np.zeros(100)
        logger.log_image("picture", [picture], step=7)
        logger.log_image("grid", [picture, picture])
        logger.log_image("captioned", [picture], step=7, caption=["black"])
        logger.log_image("captions", [picture, picture], step=7, caption=["black", "too"])
        logger.log_audio("clip", [clip, clip], step=8, sample_rate=[8000, 16000])
        logger.log_video("video", np.zeros((2, 8, 8, 3), np.uint8), step=9, fps=5)
        logger.log_text("table", columns=["a", "b"], data=[[1, "x|y"]], step=9)
        logger.log_text("text", "# heading", step=9)
        picture += 1
        clip += 1

    read = ml.open_run(run.path)
    assert {(image.key, image.step) for image in read.images()} == {
        *(("picture", 7), ("grid", 7), ("captioned", 7), ("captions", 7))
    }
    assert read.images("picture")[0].open().getextrema() == ((0, 0),) * 3
    assert read.images("captioned")[0].open().height > 8
    lines = [json.loads(line) for line in (run.path / "json" / "log.jsonl").read_text().splitlines()]
    audios = {
        (key, line["step"], found["sample_rate"]) for line in lines for key, found in line.get("audios", {}).items()
    }
    assert audios == {("clip/0", 8, 8000), ("clip/1", 8, 16000)}
    assert [(key, line["step"]) for line in lines for key in line.get("videos", {})] == [("video", 9)]
    assert read.strings("table")["value"].tolist() == ["| a | b |\n| --- | --- |\n| 1 | x\\|y |"]
    assert read.strings("text")["value"].tolist() == ["# heading"]
    assert read.scalars("loss")["step"].tolist() == [4]


def test_without_a_step_every_metric_has_the_next_one(tmp_path):
    with START(tmp_path / "run") as run:
        logger = LightningLogger(run)
        for value, step in ((1.0, None), (2.0, None), (3.0, 10), (4.0, None)):
            logger.log_metrics({"x": value}, step)

    assert ours(run.path) == points([("x", 1, 1.0), ("x", 2, 2.0), ("x", 10, 3.0), ("x", 11, 4.0)])


def test_a_graph_is_no_value_and_said_once_to_who_asks_for_one(tmp_path, caplog):
    with START(tmp_path / "run") as run:
        logger = LightningLogger(run)
        logger.log_graph(Line())
        assert not caplog.messages
        for _ in range(2):
            logger.log_graph(Line(), torch.zeros(1, 2))

    assert [message.split(":")[0] for message in caplog.messages] == ["log_graph logs nothing"]


def test_a_pickled_or_copied_logger_discards_and_one_that_starts_its_run_starts_it(tmp_path, caplog):
    with START(tmp_path / "run") as run:
        logger = LightningLogger(run)
        for twin in (pickle.loads(pickle.dumps(logger)), copy.deepcopy(logger)):
            twin.log_metrics({"x": 1.0}, 1)
            twin.finalize("success")
            assert twin.save_dir == logger.save_dir
        logger.log_metrics({"x": 2.0}, 2)
    twin = pickle.loads(pickle.dumps(LightningLogger(partial(START, tmp_path / "late"))))
    twin.log_metrics({"x": 3.0}, 3)
    twin.close()

    assert ours(run.path) == points([("x", 2, 2.0)])
    assert "which discards" in caplog.text
    assert ours(tmp_path / "late") == points([("x", 3, 3.0)])
    assert ml.open_run(tmp_path / "late").status == "finished"


def test_a_run_that_was_started_before_the_ranks_is_refused_on_the_others(tmp_path, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    with START(tmp_path / "run") as run:
        logger = LightningLogger(run)
        assert logger.experiment is run
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        with pytest.raises(ConfigError, match="was started before Lightning started the ranks"):
            _ = logger.experiment


def test_fabric_and_the_package_pytorch_lightning_take_the_same_logger(tmp_path):
    from lightning.fabric import Fabric

    with START(tmp_path / "fabric") as run:
        fabric = Fabric(accelerator="cpu", devices=1, loggers=LightningLogger(run))
        fabric.log_dict({"loss": torch.tensor(0.5)}, step=3)

    assert ours(run.path) == points([("loss", 3, 0.5)])


def test_the_trainer_of_the_package_pytorch_lightning_takes_the_same_logger(tmp_path):
    import pytorch_lightning

    class Other(pytorch_lightning.LightningModule):
        training_step, validation_step = Line.training_step, Line.validation_step
        configure_optimizers, train_dataloader, val_dataloader = Line.configure_optimizers, Line._data, Line._data
        _data = Line._data

        def __init__(self):
            super().__init__()
            self.save_hyperparameters({"lr": 0.1, "fail_at": -1})
            self.layer = torch.nn.Linear(2, 1)

    theirs = pytorch_lightning.loggers.CSVLogger(tmp_path / "csv")
    with START(tmp_path / "run") as run:
        trainer_of(LightningLogger(run), theirs, made_by=pytorch_lightning.Trainer, max_epochs=1).fit(Other())

    assert ours(run.path) == of_csv(theirs)
    assert ml.open_run(run.path).strings("checkpoint")["value"].tolist() == [
        f"{run.path}/checkpoints/epoch=0-step=10.ckpt"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]])
def test_two_ranks_make_one_run(tmp_path, launcher):
    ran = ranks(tmp_path, launcher, "late")

    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert sorted(re.findall(r"rank (\d) in (\S+)", ran.stdout)) == [(rank, str(tmp_path / "demo")) for rank in "01"]
    everyone = {point for point in ours(tmp_path / "demo") if point[0] == "everyone"}
    assert everyone == points([("everyone", step, 0.5) for step in (1, 3, 5)])
    assert ml.open_run(tmp_path / "demo").status == "finished"


@pytest.mark.slow
def test_a_run_that_was_started_before_the_ranks_makes_no_second_one_and_hangs_nobody(tmp_path):
    ran = ranks(tmp_path, [], "early")

    assert ran.returncode != 0
    assert "Rank 1 cannot learn the run's directory" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def ranks(tmp_path, launcher, how):
    command = [sys.executable, *launcher, str(PROGRAM), str(tmp_path / "demo"), how]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def test_where_lightning_is_missing_the_extra_is_named():
    missing = "sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None"
    program = f"import sys; {missing}; import ml.integrations.lightning"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    assert "ConfigError: LightningLogger needs the package lightning" in ran.stderr
    assert "pip install 'ml-logbook[lightning]'" in ran.stderr
