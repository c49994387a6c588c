"""A backend under test, and the runs that it is tested in."""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.loggers.base import AnyLogger
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.loggers.stats import LoggerStats
from ml.testing.fakes import FakeClock

Written = tuple[Phase, int, str, str, object]
"""``(phase, step, namespace, key, value)``: a value as it was read back."""

WALL_TIME_S = 1.7e9


@dataclass(frozen=True)
class Backend:
    """A backend under test.

    Attributes:
        name: For messages.
        make: Makes one, not yet initialized. What it makes is configured by a ``BaseLoggerConfig``.
        read: Given a backend and its run's directory, returns every number and text that it wrote
            and, with any value, everything else.
        exact: Whether it keeps every value, name and step as they are. One that shows values to people,
            on a terminal, may round, escape names, and show values that waited with those of the write.
    """

    name: str
    make: Callable[[], AnyLogger]
    read: Callable[[AnyLogger, Path], list[Written]]
    exact: bool = True


def make(backend: Backend) -> AnyLogger:
    """Returns a backend that writes every step, not yet initialized."""
    logger = backend.make()
    logger.config.write_every_n_seconds = 0.0
    return logger


def context_of(directory: Path, *, clock: FakeClock | None = None, attempt: int = 1) -> RunContext:
    """Returns the context of a run whose clocks stand still."""
    return RunContext(directory, attempt=attempt, clock=clock or FakeClock(), wall_clock=FakeClock(WALL_TIME_S))


def group_of(directory: Path, *loggers: AnyLogger, clock: FakeClock | None = None, attempt: int = 1) -> LoggerGroup:
    """Returns a group that raises every failure."""
    return LoggerGroup(
        loggers, context_of(directory, clock=clock, attempt=attempt), on_error="raise", close_timeout_s=60.0
    )


def logged_every_kind(logger: AnyLogger) -> MultiLogger:
    """Returns a component that has logged one value of every kind that ``logger`` takes, as ``a_<kind>``."""
    component = MultiLogger("model")
    for kind in logger.kinds:
        getattr(component, kind.method)(f"a_{kind}", kind.example)
    return component


def write_in_place(logger: AnyLogger, directory: Path) -> None:
    """Has ``logger`` write a value of every kind, on this thread, and closes it."""
    logger.initialize(context_of(directory))
    logs = LoggerGroup.in_place([logger])
    logs.write([logged_every_kind(logger)], State(num_steps=1))
    assert_all_written(logs.close()[logger.id], len(logger.kinds))


def assert_all_written(stats: LoggerStats, number: int) -> None:
    """Fails unless exactly ``number`` values were taken on, and written."""
    assert (stats.accepted, stats.written, stats.pending) == (number, number, 0), stats
    assert not stats.dropped, stats
    assert not stats.failed, stats


def files_in(directory: Path) -> list[Path]:
    """Returns every file below ``directory``."""
    return [path for path in directory.rglob("*") if path.is_file()]


def process_state() -> list[object]:
    """Returns what training depends on, and a backend must leave alone."""
    state: list[object] = [random.getstate(), repr(np.random.get_state(legacy=True)), np.geterr()]
    torch = sys.modules.get("torch")
    if torch is not None:
        state += [torch.get_rng_state().tolist(), torch.get_num_threads(), torch.is_grad_enabled()]
        state += [torch.get_default_dtype(), torch.get_default_device()]
    return state
