"""Programs that log 1, 2, 3, … and end in one way or another; the first of them at least must be there."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, os, sys
import ml

run = ml.start_run(sys.argv[1], loggers=[json.loads(sys.argv[2]) | {"write_every_n_seconds": 0}])
for step in range(1, 6):
    run.log({"loss": step})
    run.step()
"""
ENDS = {
    "not closed": ("", 0, 5),
    "not closed, with values that wait": (
        "assert run.flush(30)\nfor step in range(6, 106):\n    run.log({'loss': step}); run.step(force=True)",
        0,
        105,
    ),
    "an exception": ("raise SystemExit(3)", 3, 5),
    "killed": ("assert run.flush(30); run.log({'loss': 6}); run.step(); os.kill(os.getpid(), 9)", -9, 5),
    "a fork that exits": (
        "assert run.flush(30)\nif os.fork() == 0:\n    run.log({'loss': 99}); run.step(); run.close(); os._exit(0)\n"
        "os.wait(); run.close()",
        0,
        5,
    ),
}


def end(how: str, logger: dict[str, object], directory: Path) -> int:
    """Runs a program to its end, one of ``ENDS``; returns how many values it has handed over for certain."""
    text, status, number = ENDS[how]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + text, directory, json.dumps(logger)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    return number
