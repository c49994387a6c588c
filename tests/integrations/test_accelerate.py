"""Our tracker beside Accelerate's own, in one real training loop on the CPU."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ml
from ml.integrations.accelerate import AccelerateTracker

PROGRAM = Path(__file__).parent / "programs" / "accelerate_ranks.py"


@pytest.fixture(autouse=True)
def _no_accelerator_from_before():
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def start(directory, **settings):
    return ml.start_run(directory, **{"loggers": ["json"], "on_error": "raise"} | settings)


def train(accelerator, steps=6):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(steps):
        loss = model(torch.randn(4, 2)).square().mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        accelerator.log({"loss": loss.item(), "train/step_loss": loss.detach(), "count": step}, step=step)
        if step % 2:
            accelerator.log({"note": f"step {step}", "both": {"a": 1.0, "b": float("nan")}}, step=step)


def ours(path):
    frame = ml.open_run(path).scalars()
    return points(zip(frame["key"], frame["step"], frame["value"], strict=True))


def points(found):
    return {(key, int(step), repr(float(np.float32(value)))) for key, step, value in found}


def of_tensorboard(folder):
    """Every scalar of their writer; a mapping's are in folders of their own: ``both_a``, tag ``both``."""
    found = []
    for path in {file.parent for file in folder.rglob("events.*")}:
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            name = f"{tag}/{path.name.removeprefix(f'{tag}_')}" if path != folder else tag
            found += [(name, event.step, event.value) for event in events.Scalars(tag)]
    return points(found)


def test_keys_steps_and_values_are_those_of_accelerates_own_tracker(tmp_path):
    with start(tmp_path / "run") as run:
        log_with = [AccelerateTracker(run), "tensorboard"]
        accelerator = Accelerator(cpu=True, log_with=log_with, project_dir=str(tmp_path))
        accelerator.init_trackers("theirs", config={"learning_rate": 0.1})
        train(accelerator)
        accelerator.end_training()

    assert ours(run.path) == of_tensorboard(tmp_path / "theirs")
    assert {key for key, _, _ in ours(run.path)} == {"loss", "train/step_loss", "count", "both/a", "both/b"}
    notes = ml.open_run(run.path).strings("note")
    assert list(zip(notes["step"], notes["value"], strict=True)) == [(step, f"step {step}") for step in (1, 3, 5)]


def test_a_run_that_was_given_stays_open_and_one_that_was_started_is_closed(tmp_path):
    given = start(tmp_path / "given")
    for source, status in ((given, "running"), (partial(start, tmp_path / "started"), "finished")):
        tracker = AccelerateTracker(source)
        accelerator = Accelerator(cpu=True, log_with=tracker)
        accelerator.init_trackers("demo")
        accelerator.log({"loss": 0.5}, step=1)
        accelerator.end_training()

        assert ours(tracker.tracker.path) == points([("loss", 1, 0.5)])
        assert ml.open_run(tracker.tracker.path).status == status
    given.close()


def test_the_configuration_of_init_trackers_is_that_of_the_run_without_secrets(tmp_path):
    with start(tmp_path / "run", config={"mine": 1, "learning_rate": 3}) as run:
        accelerator = Accelerator(cpu=True, log_with=AccelerateTracker(run))
        accelerator.init_trackers("demo", config={"learning_rate": 0.1, "api_key": "canary-of-the-secret"})

    assert ml.open_run(run.path).config == {"mine": 1, "learning_rate": 0.1, "api_key": "***"}


def test_without_a_step_every_call_has_the_next_one(tmp_path):
    with start(tmp_path / "run") as run:
        accelerator = Accelerator(cpu=True, log_with=AccelerateTracker(run))
        accelerator.init_trackers("demo")
        for loss in (0.5, 0.25):
            accelerator.log({"loss": loss})
        accelerator.log({"loss": 0.125}, step=7)
        accelerator.log({"loss": 0.0})

    assert ours(run.path) == points([("loss", 1, 0.5), ("loss", 2, 0.25), ("loss", 7, 0.125), ("loss", 8, 0.0)])


def test_pictures_are_taken_when_they_are_logged(tmp_path):
    with start(tmp_path / "run") as run:
        accelerator = Accelerator(cpu=True, log_with=AccelerateTracker(run))
        accelerator.init_trackers("demo")
        batch = np.zeros((4, 8, 8, 3), np.uint8)
        accelerator.log({"loss": 0.5}, step=3)
        tracker = accelerator.get_tracker("ml")
        tracker.log_images({"batch": batch, "files": [Image.new("RGB", (8, 8), "white")]}, step=3)
        batch[:] = 255

    read = ml.open_run(run.path)
    assert [(image.key, image.step) for image in read.images()] == [("batch", 3), ("files", 3)]
    assert read.images("batch")[0].open().getextrema() == ((0, 0),) * 3
    assert read.images("files")[0].open().getextrema() == ((255, 255),) * 3
    assert ours(run.path) == points([("loss", 3, 0.5)])


def test_a_tensor_that_changes_after_the_call_keeps_the_number_that_it_had(tmp_path):
    with start(tmp_path / "run") as run:
        accelerator = Accelerator(cpu=True, log_with=AccelerateTracker(run))
        accelerator.init_trackers("demo")
        total, array = torch.tensor([1.0]), np.array(1.0)
        accelerator.log({"total": total, "array": array}, step=1)
        total.add_(1)
        array += 1

    assert ours(run.path) == points([("total", 1, 1.0), ("array", 1, 1.0)])


def test_two_processes_make_one_run(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*launcher, str(PROGRAM), str(tmp_path / "demo")], capture_output=True, text=True, timeout=110, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert ours(tmp_path / "demo") == points([("ranks", step, 1.0) for step in (1, 2, 3)])
    record = json.loads((tmp_path / "demo" / "attempts" / "1" / "run.json").read_text())
    assert (record["status"], record["world_size"]) == ("finished", 2)


def test_where_accelerate_is_missing_the_extra_is_named(tmp_path):
    program = "import sys; sys.modules['accelerate'] = None; import ml.integrations.accelerate"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(ml.__file__).parents[1]
    )

    assert "ConfigError: AccelerateTracker needs the package accelerate" in ran.stderr
    assert "pip install 'ml-logbook[accelerate]'" in ran.stderr
