"""Trains on real images through the real entry, and reads everything back with the tools that users have."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import ml
from ml.core.registry import MODELS, TASKS
from tests.loggers.tensorboard_reader import served

ROOT = Path(__file__).parents[2]
NUM_STEPS = 50


def start(directory: Path, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "ml.train", "trainer.device=cpu", *overrides],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def lines_of(run: Path) -> list[dict]:
    text = (run / "json" / "log.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 50 steps with the default configuration: what it printed, and where it is."""
    directory = tmp_path_factory.mktemp("digits")
    process = start(directory, f"trainer.max_steps={NUM_STEPS}")
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (0, "")
    (run,) = (directory / "runs" / "digits").iterdir()
    return output, run


@pytest.fixture(scope="module")
def oracle(trained):
    """Loss and accuracy of a phase, computed by hand from the last checkpoint."""
    _, run = trained
    task, model = TASKS.build({"name": "digits"}), MODELS.build({"name": "cnn"})
    content = torch.load(run / "checkpoints" / f"step-{NUM_STEPS:08d}.pt", weights_only=True)
    model.load_state_dict(content["model"])
    model.eval()

    def metrics(phase):
        images, targets = task.dataset(phase).tensors
        with torch.no_grad():
            prediction = model(images).prediction
        loss = torch.nn.functional.cross_entropy(prediction, targets).item()
        return loss, (prediction.argmax(dim=1) == targets).double().mean().item()

    return metrics


def test_the_terminal_gets_lines_that_end_with_the_command_that_shows_the_run(trained):
    output, run = trained
    lines = output.splitlines()

    assert lines[-2] == f"The run is in runs/digits/{run.name}"
    assert lines[-1].endswith("tensorboard --logdir runs --samples_per_plugin images=200,scalars=10000")
    assert any(line.startswith("test ") and "task/accuracy" in line for line in lines)
    assert "grad_" not in output
    assert "\x1b" not in output


def test_json_has_a_point_of_every_step_and_a_file_of_every_picture(trained):
    _, run = trained
    lines = lines_of(run)
    train = [line for line in lines if line["phase"] == "train"]

    assert [line["step"] for line in train if "task/loss" in line["scalars"]] == list(range(1, NUM_STEPS + 1))
    assert [line["samples"] for line in train] == [64 * step for step in range(1, NUM_STEPS + 1)]
    for phase in ("train", "valid", "test"):
        images = [line.get("images", {}) for line in lines if line["phase"] == phase]
        pictures = [image["task/samples"] for image in images if "task/samples" in image]
        for picture in pictures:
            with Image.open(run / "json" / picture["path"]) as image:
                assert image.size == (picture["shape"][2], picture["shape"][1])
        assert pictures


def test_open_run_gives_the_curve_and_the_configuration(trained, oracle):
    opened = ml.open_run(trained[1])
    loss = opened.scalars("task/loss").set_index(["phase", "step"])["value"]

    assert list(loss["train"].index) == list(range(1, NUM_STEPS + 1))
    assert list(loss["valid"].index) == [19, 38, NUM_STEPS]
    assert loss["train"].iloc[-1] < loss["train"].iloc[0] / 2
    for phase in ("valid", "test"):
        assert loss[phase][NUM_STEPS] == pytest.approx(oracle(phase)[0], rel=1e-5)
    assert opened.config["trainer"]["max_steps"] == NUM_STEPS


@pytest.mark.parametrize("load_fast", [True, False], ids=["fast", "python"])
def test_tensorboard_shows_every_kind_in_every_phase(trained, oracle, load_fast):
    _, run = trained
    with served(run.parents[1], load_fast=load_fast) as server:
        name = f"digits/{run.name}/tensorboard"
        server.until(lambda: f"{name}/test" in server.json("plugin/scalars/tags"))
        shown = server.json("plugin/scalars/scalars", run=f"{name}/train", tag="task/loss")
        assert [step for _, step, _ in shown] == list(range(1, NUM_STEPS + 1))
        for phase in ("valid", "test"):
            for tag, expected in zip(("task/loss", "task/accuracy"), oracle(phase), strict=True):
                _, step, value = server.json("plugin/scalars/scalars", run=f"{name}/{phase}", tag=tag)[-1]
                assert (step, value) == (NUM_STEPS, pytest.approx(expected, rel=1e-5))

        for phase, texts in {"train": {"trainer/model"}, "valid": {"task/mistakes"}, "test": {"task/mistakes"}}.items():
            images = {"task/samples"} if phase == "train" else {"task/samples", "task/confusion"}
            assert images == set(server.json("plugin/images/tags")[f"{name}/{phase}"])
            assert "task/confidence" in server.json("plugin/histograms/tags")[f"{name}/{phase}"]
            assert set(server.json("plugin/mesh/tags")[f"{name}/{phase}"]) == {"task/embeddings"}
            assert texts <= set(server.json("plugin/text/tags")[f"{name}/{phase}"])
        weights = server.json("plugin/histograms/tags")[f"{name}/train"]
        assert {"model/weight_head.weight", "model/grad_head.weight"} <= set(weights)


def test_a_signal_leaves_a_run_that_auto_resumes_into_one_curve(tmp_path):
    process = start(tmp_path, "logger=[json,stdout]", "trainer.max_epochs=1000")
    for line in process.stdout:
        if line.startswith("valid"):
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    (run,) = (tmp_path / "runs" / "digits").iterdir()
    status = json.loads((run / "attempts" / "1" / "run.json").read_text())["status"]
    last = lines_of(run)[-1]["step"]
    assert (process.returncode, status) == (143, "interrupted")
    assert f"trainer.resume=runs/digits/{run.name}" in output

    more = start(tmp_path, "logger=[json]", f"trainer.max_steps={last + 5}", "trainer.resume=auto")
    _, errors = more.communicate(timeout=100)

    assert more.returncode == 0, errors
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert sorted(path.name for path in (run / "attempts").iterdir()) == ["1", "2"]
    loss = ml.open_run(run).scalars("task/loss")
    assert list(loss[loss.phase == "train"].step) == list(range(1, last + 6))
