import json
import os
import subprocess
import sys
from pathlib import Path

import hydra
import pytest

from ml.core.errors import ConfigError
from ml.hydra import config_directory, register_configs
from ml.train import train

ROOT = Path(__file__).parents[1]


def composed(*overrides):
    register_configs()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        return hydra.compose("config", overrides=["logger=[json]", "trainer.device=cpu", *overrides])


def scalars(run: Path, phase: str, key: str) -> list[float]:
    lines = map(json.loads, (run / "json" / "log.jsonl").read_text().splitlines())
    return [line["scalars"][key] for line in lines if line["phase"] == phase and key in line.get("scalars", {})]


@pytest.mark.parametrize("objective", ["accuracy", "loss"])
def test_training_returns_the_objective_of_the_last_validation(tmp_path, objective):
    run = tmp_path / "run"
    returned = train(composed("trainer.max_steps=21", f"run.directory={run}", f"trainer.objective={objective}"))

    assert returned == scalars(run, "valid", f"task/{objective}")[-1]


def test_a_training_that_fails_says_so_in_its_record(tmp_path, monkeypatch):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step-00000001.pt").write_bytes(b"no checkpoint")

    with pytest.raises(ValueError, match="not a checkpoint"):
        train(composed(f"run.directory={run}"))
    assert json.loads((run / "attempts" / "1" / "run.json").read_text())["status"] == "failed"


def test_a_backend_that_cannot_work_is_found_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="on_full"):
        train(composed(f"run.directory={tmp_path / 'run'}", "loggers.json.on_full=never"))
    assert not (tmp_path / "run").exists()


def test_a_reader_that_goes_away_is_no_failure(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ml.train", "trainer.max_steps=1", "logger=[json,stdout]"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        timeout=100,
    )
    os.close(write)

    assert done.returncode == 0
