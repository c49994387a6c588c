"""How a run ends that no one closes: at the interpreter's end, in a forked child; seen from outside the process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
START = """
import os, signal, sys
from ml import start_run

def start():
    run = start_run("demo", loggers=[{"name": "json", "write_every_n_seconds": 1e6}])
    for step in range(1, 4):
        run.log({"loss": float(step)})
        run.log({f"rare{step}": float(step)})
        run.step()
    run.log({"open": 4.0})
    run.component("model").log_scalar("late", 5.0)
    return run
"""
VALUES = {"loss": 1.0, "rare1": 1.0, "rare2": 2.0, "rare3": 3.0, "open": 4.0, "model/late": 5.0}


def run(directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START + program]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)


def logged(directory: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (directory / "demo/json/log.jsonl").read_text().splitlines()]
    pairs = [pair for line in lines for pair in line["scalars"].items()]
    assert len(dict(pairs)) == len(pairs), "a value was written twice"
    return dict(pairs)


def status(directory: Path) -> str:
    return json.loads((directory / "demo/attempts/1/run.json").read_text())["status"]


@pytest.mark.parametrize(
    ("end", "exit_status", "recorded"),
    [
        ("", 0, "finished"),
        ("sys.exit(3)", 3, "finished"),
        ("raise ValueError", 1, "failed"),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT, "interrupted"),
    ],
    ids=["end", "exit", "exception", "ctrl-c"],
)
@pytest.mark.parametrize("kept", ["run = start()", "start()"], ids=["held", "forgotten"])
def test_a_run_that_is_left_open_is_closed_and_recorded(tmp_path, kept, end, exit_status, recorded):
    done = run(tmp_path, f"{kept}\n{end}")

    assert done.returncode == exit_status, done.stderr
    assert logged(tmp_path) == VALUES
    assert status(tmp_path) == recorded


def test_a_forked_child_writes_nothing_and_ends_nothing(tmp_path):
    program = """
run = start()
child = os.fork()
if child == 0:
    with run:
        run.log({"from the child": 1.0})
        run.logger.log_image("image", lambda: 1 / 0)
        run.step(force=True)
        with run.phase("valid"):
            run.log({"from the child": 1.0})
        assert run.flush() in (True, False)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(open("demo/attempts/1/run.json").read())
run.log({"from the parent": 5.0})
run.close()
"""
    done = run(tmp_path, program)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "running"
    assert logged(tmp_path) == {**VALUES, "from the parent": 5.0}
    assert status(tmp_path) == "finished"
    assert done.stderr.count("Log from the") == 1


def test_a_run_without_tensors_never_loads_torch(tmp_path):
    done = run(tmp_path, "with start(): pass\nassert 'torch' not in sys.modules")

    assert done.returncode == 0, done.stderr
