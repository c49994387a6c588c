"""The command, in this process and as one of its own, on real runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from ml.cli.main import main
from ml.session import start_run

MLOG = Path(sys.executable).parent / "mlog"
LIMIT_S = 60.0
"""How long a command may take before it is said to hang."""


class Said(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str


Mlog = Callable[..., Said]


@pytest.fixture
def mlog(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mlog:
    """Does in ``tmp_path``, and in this process, what the command does."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as refused:
            status = int(refused.code or 0)
        return Said(status, *capsys.readouterr())

    return run


@pytest.fixture
def command(tmp_path: Path) -> Mlog:
    """Runs the console command in ``tmp_path``; ``env`` is added to the environment."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> Said:
        ran = subprocess.run(
            [MLOG, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})},
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT_S,
            check=False,
        )
        return Said(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run with every step written: scalars, a text, a picture and a histogram, and two validation passes."""

    def make(
        name: str = "run",
        *,
        steps: int = 20,
        loggers: tuple[str | dict[str, object], ...] = ("json",),
        config: object = None,
    ) -> Path:
        settings = [{"name": logger} if isinstance(logger, str) else logger for logger in loggers]
        backends = [{"write_every_n_seconds": 0, **setting} for setting in settings]
        with start_run(tmp_path / name, config=config, loggers=backends, on_error="raise") as run:
            for step in range(1, steps + 1):
                run.log({"task/loss": 1 / step, "task/rate": float("nan") if step == 2 else 0.5})
                if step == 1:
                    run.log({"task/note": "started"})
                    run.logger.log_image("task/digits", np.random.default_rng(0).random((64, 64)))
                    run.logger.log_histogram("task/weights", np.arange(9.0))
                run.step(samples=4)
                if step % 10 == 0:
                    with run.phase("valid"):
                        run.log({"task/loss": 2 / step})
                        run.step()
        return run.path

    return make
