"""Processes that are ended on purpose: scripts run by a Python of their own, on real files."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT_S = 60.0
"""How long a script may take before it is said to hang."""

PRELUDE = """\
import gc, json, logging, os, signal, sys, threading, time
from pathlib import Path
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger

directory = Path(sys.argv[1])

def json_logger(**settings):
    return JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0, **settings))

class Blocking(MemoryLogger):
    def __init__(self, wait, **settings):
        super().__init__(BaseLoggerConfig("blocking", write_every_n_seconds=0, **settings))
        self.wait = wait
    def write(self, state):
        self.wait()
"""

Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_script(tmp_path: Path) -> Script:
    """Runs a script with the prelude before it, and ``tmp_path`` and more as its arguments; it must not hang."""

    def run(
        text: str, *arguments: object, command: tuple[str, ...] = (), limit_s: float = LIMIT_S
    ) -> "subprocess.CompletedProcess[str]":
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(text))
        return subprocess.run(
            [*command, sys.executable, str(path), str(tmp_path), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    return run


@pytest.fixture
def read_json(tmp_path: Path) -> Callable[..., list[dict[str, object]]]:
    """Returns the lines of a JSON log; every one is strict JSON and ends with a newline."""

    def read(backend: str = "json", *, directory: Path = tmp_path) -> list[dict[str, object]]:
        raw = (directory / backend / "log.jsonl").read_bytes()
        assert raw.endswith(b"\n") or not raw

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not JSON")

        return [json.loads(line, parse_constant=refuse) for line in raw.splitlines()]

    read.directory = tmp_path
    return read
