"""The command line, as a user meets it: every test here is a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml.core.registry import LOGGERS

ROOT = Path(__file__).parents[1]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )


def train(directory: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run(directory, "-m", "ml.train", *overrides)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["trainer.max_stps=3"], ["'trainer.max_stps'", "Did you mean 'max_steps'?", "batch_size"]),
        (["loggers.json.junk=1"], ["'loggers.json.junk'", "write_every_n_seconds"]),
        (["+loggers.json.junk=1"], ["'junk'", "'json'", "write_every_n_seconds"]),
        (["+run.nam=x"], ["'run.nam'", "Did you mean 'name'?"]),
        (["+junk=1"], ["'junk'", "loggers", "trainer"]),
        (["logger=[jsn]"], ["'jsn'", "Did you mean 'json'?", "json, memory, mlflow"]),
        (["task=digit"], ["'digit'", "Did you mean 'digits'?"]),
        (["trainer.max_steps=abc"], ["trainer.max_steps=abc", "Integer"]),
        (["logger=[json]", "+loggers.stdout.precision=3"], ["loggers.stdout", "not chosen", "logger=["]),
        (["logger=[json"], ["logger=[json"]),
        (["-m", "trainer.max_stps=1,2"], ["'trainer.max_stps'", "Did you mean 'max_steps'?"]),
        (["-m", "trainer.max_steps=1,x"], ["trainer.max_steps=x"]),
        (["trainer.batch_size=2000"], ["trainer.batch_size=2000", "1257"]),
        (["trainer.resume=nowhere"], ["nowhere"]),
        (["run.on_error=foo"], ["on_error", "'foo'", "'warn'", "'raise'"]),
        (["loggers.json.id=tensorboard"], ["'tensorboard'", "id of its own"]),
        (["run.close_timeout_s=-1"], ["close_timeout_s", "-1"]),
        (["run.close_timeout_s=nan"], ["close_timeout_s", "nan"]),
        (["run.primary_rank=1"], ["primary_rank must lie in -1 ... 0", "got 1"]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] + value[-1] else "",
)
def test_a_mistake_costs_one_line_with_the_valid_ones_and_nothing_is_made(tmp_path, overrides, parts):
    done = train(tmp_path, *overrides)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("ml.train: ")
    assert [part for part in parts if part not in done.stderr] == []
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_found_before_torch_is_loaded(tmp_path):
    script = "import sys; from ml import train; sys.argv = ['train', 'trainer.max_stps=3']\ntry: train.main()\n"
    done = run(tmp_path, "-c", script + "finally: assert 'torch' not in sys.modules, 'torch is loaded'")

    assert "There is no key 'trainer.max_stps'" in done.stderr
    assert "torch is loaded" not in done.stderr


def test_backends_are_chosen_removed_and_set_on_the_command_line(tmp_path):
    done = train(tmp_path, "loggers.json.write_every_n_seconds=0.5", "~loggers.stdout", "--cfg", "job")
    assert done.returncode == 0
    assert "write_every_n_seconds: 0.5" in done.stdout
    assert "  stdout:" not in done.stdout
    assert "  tensorboard:" in done.stdout

    assert "loggers: {}" in train(tmp_path, "logger=[]", "--cfg", "job").stdout


def test_a_sweep_makes_a_run_of_each_job_and_hydra_no_directory_of_its_own(tmp_path):
    done = train(tmp_path, "-m", "trainer.max_steps=1,2", "logger=[json]")

    assert done.returncode == 0, done.stderr
    (day,) = (tmp_path / "runs" / "digits").iterdir()
    names = sorted(path.name for path in day.iterdir())
    assert names == ["0-logger=_json_,trainer.max_steps=1", "1-logger=_json_,trainer.max_steps=2", "multirun.yaml"]
    for count, name in enumerate(names[:2], start=1):
        lines = [json.loads(line) for line in (day / name / "json" / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["phase"] == "train"] == list(range(1, count + 1))
        assert not (day / name / ".hydra").exists()


def test_two_backends_of_one_type_are_told_apart_by_their_keys(tmp_path):
    done = train(
        tmp_path, "logger=[json]", "+loggers.rare.name=json", "+loggers.rare.include=[task/loss]", "trainer.max_steps=1"
    )

    assert done.returncode == 0, done.stderr
    (run_directory,) = (tmp_path / "runs" / "digits").iterdir()
    (line, *_) = (run_directory / "rare" / "log.jsonl").read_text().splitlines()
    assert list(json.loads(line)["scalars"]) == ["task/loss"]


def test_any_application_composes_our_backends_into_a_configuration_of_its_own(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "main.yaml").write_text(
        "defaults: [{logger: [stdout, json]}, _self_]\n"
        "rate: 0.1\n"
        "loggers: {json: {write_every_n_seconds: 2}}\n"
        "hydra: {output_subdir: null, run: {dir: .}, job_logging: {root: {handlers: [console]}}}\n"
    )
    (tmp_path / "app.py").write_text(
        "import hydra, sys\n"
        "from ml.core.registry import LOGGERS\n"
        "from ml.hydra import register_configs\n"
        "register_configs()\n"
        "@hydra.main(version_base='1.3', config_path='conf', config_name='main')\n"
        "def main(config):\n"
        "    backends = [LOGGERS.build(backend) for backend in config.loggers.values()]\n"
        "    print([(backend.id, backend.config.write_every_n_seconds) for backend in backends])\n"
        "    assert 'torch' not in sys.modules\n"
        "main()\n"
    )

    assert run(tmp_path, "app.py").stdout == "[('stdout', None), ('json', 2.0)]\n"
    assert "precison" in run(tmp_path, "app.py", "loggers.stdout.precison=3").stderr


def test_every_backend_of_this_package_can_be_chosen():
    assert {path.stem for path in (ROOT / "configs" / "logger").glob("*.yaml")} == {
        name for name in LOGGERS.names() if LOGGERS.lookup(name).cls.__module__.startswith("ml.")
    }


def test_the_demo_writes_to_the_backends_that_are_chosen(tmp_path):
    chosen = "logger=[json,csv,parquet,sql]"

    ran = train(tmp_path, chosen, "trainer.max_steps=3", "run.directory=run")

    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"json", "csv", "parquet", "sql"}
