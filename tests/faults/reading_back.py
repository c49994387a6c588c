"""Runs programs of this directory, and reads back what was logged: strict JSON lines, and TensorBoard's points."""

import json
import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PROGRAMS = Path(__file__).parent / "programs"


def run_program(name, directory):
    """Runs a program and returns how it ended."""
    command = [sys.executable, str(PROGRAMS / name), str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def run_together(*commands, environments=(None, None)):
    """Runs processes that need one another; returns what each wrote, ``(out, errors)``. All of them must succeed."""
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(commands), told
    return told


def lines_of(directory):
    """The lines of the JSON log, each of them strict JSON."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    text = (directory / "json" / "log.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def scalars_of(directory):
    return [line.get("scalars", {}) for line in lines_of(directory)]


def points_of(directory, tag):
    """What TensorBoard reads of a tag: ``(step, value)``."""
    events = EventAccumulator(str(directory / "tensorboard" / "train"), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]
