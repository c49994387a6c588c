"""What the README shows, runs."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ml
from ml.benchmarks import open_benchmark
from ml.core.registry import LOGGERS

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs the loop of the README and returns the directory it ran in."""
    directory = tmp_path_factory.mktemp("readme")
    batch = SimpleNamespace(images=np.ones((4, 8, 8)))
    batch_type = type("Batch", (), {"images": batch.images, "__len__": lambda self: 4})
    names = {
        "loader": [batch_type()] * 3,
        "valid_loader": [batch_type()] * 2,
        "train_step": lambda batch: 0.5,
        "valid_step": lambda batch: 0.25,
        "accuracy": lambda batch: 0.75,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        exec(BLOCKS[0], names)
    return directory


def test_the_loop_of_the_readme_logs_a_run(runs):
    scalars = ml.open_run(runs / "runs" / "demo").scalars("loss")

    assert list(scalars[scalars["phase"] == "train"]["value"]) == [0.5] * 6
    assert list(scalars[scalars["phase"] == "valid"]["value"]) == [0.25] * 2


def test_the_readme_reads_a_run_back(runs, monkeypatch):
    monkeypatch.chdir(runs)
    names: dict[str, object] = {}

    exec(BLOCKS[1], names)

    assert names["run"].images("inputs")[-1].open().size


def test_the_backend_of_the_readme_writes_what_is_logged(tmp_path):
    exec(BLOCKS[2], {"__name__": "readme"})

    with ml.start_run(tmp_path / "run", loggers=["tsv"]) as run:
        run.log({"task/loss": 0.5})
        run.step()

    assert (tmp_path / "run" / "tsv" / "log.tsv").read_bytes() == b"train\t1\ttask\tloss\t0.5\r\n"
    assert "tsv" in LOGGERS.names()


def test_the_backend_of_the_readme_has_at_most_25_lines():
    assert len([line for line in BLOCKS[2].splitlines() if line.strip()]) <= 25


def test_the_benchmark_of_the_readme_measures_every_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    exec(BLOCKS[3], {"train": lambda: sum(range(10**5))})

    with open_benchmark("benchmarks.db") as benchmarks:
        assert {row.type for row in benchmarks.measurements()} >= {"time", "cpu", "memory", "energy"}
