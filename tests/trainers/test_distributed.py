"""Two real ranks, started by torchrun through the real entry."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ml.core.errors import ConfigError
from ml.core.registry import MODELS, TASKS
from ml.trainers.distributed import World

ROOT = Path(__file__).parents[2]
DIGITS = ("logger=[json]", "trainer.device=cpu", "trainer.valid_batch_size=50", "trainer.batch_size=32")


def torchrun(directory: Path, *overrides: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, "-m", "ml.train", *DIGITS, *overrides],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def the_run(directory: Path) -> Path:
    (run,) = (directory / "runs" / "digits").iterdir()
    return run


def scalars(run: Path, phase: str) -> list[dict]:
    lines = map(json.loads, (run / "json" / "log.jsonl").read_text().splitlines())
    return [{"step": line["step"], **line.get("scalars", {})} for line in lines if line["phase"] == phase]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two_ranks")
    process = torchrun(directory, "trainer.max_steps=3")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return the_run(directory)


def test_two_ranks_make_one_run_and_each_value_is_written_once(two_ranks):
    assert [path.name for path in (two_ranks / "attempts").iterdir()] == ["1"]
    assert json.loads((two_ranks / "attempts/1/run.json").read_text())["world_size"] == 2
    assert [line["step"] for line in scalars(two_ranks, "train")] == [1, 2, 3]


def test_metrics_over_two_ranks_are_those_of_all_samples(two_ranks):
    task, model = TASKS.build({"name": "digits"}), MODELS.build({"name": "cnn"})
    model.load_state_dict(torch.load(two_ranks / "checkpoints/step-00000003.pt", weights_only=True)["model"])
    model.eval()
    for phase in ("valid", "test"):
        images, targets = task.dataset(phase).tensors
        with torch.no_grad():
            prediction = model(images).prediction
        (logged,) = [line for line in scalars(two_ranks, phase) if "task/loss" in line]
        loss = torch.nn.functional.cross_entropy(prediction, targets).item()

        assert logged["task/loss"] == pytest.approx(loss, rel=1e-5)
        assert logged["task/accuracy"] == (prediction.argmax(dim=1) == targets).double().mean().item()


def test_a_signal_to_torchrun_stops_all_ranks_at_one_step_with_a_checkpoint(tmp_path):
    process = torchrun(tmp_path, "logger=[json,stdout]", "trainer.max_epochs=10000", "trainer.valid_every_n_steps=5")
    for line in process.stdout:
        if line.startswith("valid"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)

    run = the_run(tmp_path)
    assert json.loads((run / "attempts/1/run.json").read_text())["status"] == "interrupted"
    last = scalars(run, "train")[-1]["step"]
    content = torch.load(run / "checkpoints" / f"step-{last:08d}.pt", weights_only=True)
    assert content["state"]["num_steps"] == last
    assert len(content["random_states"]) == 2
    assert not torch.equal(content["random_states"][0]["torch"], content["random_states"][1]["torch"])


def test_a_process_that_nobody_started_with_others_is_alone():
    world = World.join("cpu", environ={"SLURM_PROCID": "1", "SLURM_NTASKS": "4"})

    assert (world.rank, world.size, world.store) == (0, 1, None)
    assert world.highest(5) == 5
    assert world.gather({"a": torch.ones(1)}) == [{"a": torch.ones(1)}]


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="must be one of auto, cpu, cuda, got 'gpu'"):
        World.join("gpu", environ={})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_refused():
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        World.join("cuda", environ={})
