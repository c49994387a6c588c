"""Processes that start at one instant, in one place, even with the same process number: none takes from another."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import LIMIT_S, PRELUDE
from tests.loggers.tensorboard_reader import events

TWIN = """
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
assert os.getpid() == 1, os.getpid()
sys.stdin.read()
context = RunContext(directory, clock=lambda: 0.0, wall_clock=lambda: 1.7e9)
model = MultiLogger("model")
with LoggerGroup([TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", write_every_n_seconds=0))], context) as logs:
    for step in range(1, 11):
        model.log_scalar("loss", int(sys.argv[2]))
        logs.write([model], State(num_steps=step))
"""


def start_at_once(program: str, directory: Path, count: int, *, command: tuple[str, ...] = ()) -> None:
    """Runs ``count`` processes, which all wait for the end of the same pipe, and sees them end well."""
    reader, writer = os.pipe()
    started = [
        subprocess.Popen(
            [*command, sys.executable, "-c", PRELUDE + program, str(directory), str(number)],
            stdin=reader,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    os.close(reader)
    os.close(writer)
    for process in started:
        said = process.communicate(timeout=LIMIT_S)[1]
        assert process.returncode == 0, said


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no process numbers of one's own here")
def test_twins_with_one_process_number_at_one_instant_write_event_files_of_their_own(tmp_path):
    """Each is process 1 of a namespace: same host, same process number, same second, same directory."""
    command = ("unshare", "-pf") if os.geteuid() == 0 else ("unshare", "-Urpf")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("process numbers of one's own are not allowed here")
    start_at_once(TWIN, tmp_path, 2, command=command)

    assert len(list((tmp_path / "tensorboard/train").iterdir())) == 2
    written = [
        (value.simple_value, event.step)
        for event in events(tmp_path / "tensorboard/train")
        for value in event.summary.value
    ]
    assert sorted(written) == [(float(twin), step) for twin in range(2) for step in range(1, 11)]
