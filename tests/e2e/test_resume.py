"""A run that is killed and resumed is one curve, wherever it is looked at, and nothing on disk is lost."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ml import open_run
from tests.loggers.tensorboard_reader import served

PROGRAM = Path(__file__).parent / "programs" / "killed_at.py"
KILLED_AT, RESUMED_FROM, LAST = 700, 600, 800
CURVE = [(step, 1000.0 + step) for step in range(1, RESUMED_FROM + 1)] + [
    (step, 2000.0 + step) for step in range(RESUMED_FROM + 1, LAST + 1)
]


def start(directory: Path, *steps: int) -> int:
    command = [sys.executable, str(PROGRAM), str(directory), *map(str, steps)]
    return subprocess.run(command, timeout=60, check=False).returncode


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Path, bytes]]:
    """Returns the run, and what each file held when its first attempt was killed."""
    directory = tmp_path_factory.mktemp("runs") / "demo"
    assert start(directory, 1, LAST, KILLED_AT) == -signal.SIGKILL
    files = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert start(directory, RESUMED_FROM + 1, LAST) == 0
    return directory, files


def test_a_resumed_run_is_one_curve_in_open_run(run):
    scalars = open_run(run[0]).scalars("task/loss")

    assert list(zip(scalars["step"], scalars["value"], strict=True)) == CURVE


@pytest.mark.parametrize("load_fast", [True, False], ids=["default loader", "loader in Python"])
def test_a_resumed_run_is_one_curve_in_tensorboard(run, load_fast):
    with served(run[0].parent, load_fast=load_fast) as tensorboard:

        def points() -> list[tuple[int, float]]:
            runs = tensorboard.json("plugin/scalars/tags")
            if "task/loss" not in runs.get("demo/tensorboard/train", {}):
                return []
            reply = tensorboard.json("plugin/scalars/scalars", run="demo/tensorboard/train", tag="task/loss")
            return [(step, value) for _, step, value in reply]

        tensorboard.until(lambda: bool(points()) and points()[-1][0] == LAST)

        assert points() == CURVE


def test_a_resume_overwrites_nothing_of_the_attempt_before(run):
    directory, before = run

    assert before
    for path, content in before.items():
        assert path.read_bytes().startswith(content), path
    assert sorted(path.name for path in (directory / "attempts").iterdir()) == ["1", "2"]
