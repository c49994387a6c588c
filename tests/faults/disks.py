"""Backends that keep files, what is logged to them under faults, and how it is read back."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub import errors

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.segments import whole_lines
from ml.loggers import LoggerGroup, MultiLogger
from ml.loggers.base import AnyLogger
from ml.loggers.journal import JournalLogger, JournalLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.sources import Entry, journal_entries
from ml.loggers.stats import LoggerStats
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.testing import FakeClock

Values = list[tuple[int, str]]
"""The step of every value that was read back, and its key."""

KEYS = ("number", "picture", "text")


@dataclass(frozen=True)
class Backend:
    """A backend that keeps files.

    Attributes:
        make: Makes one that writes every step.
        read: Returns what a directory of its holds. What a power cut has spoilt is left out; a picture that is
            named and is not there, whole, is an error.
    """

    name: str
    make: Callable[[], AnyLogger]
    read: Callable[[Path], Values]


def read_json(directory: Path) -> Values:
    values: Values = []
    for text in whole_lines(directory / "log.jsonl"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        for section in ("scalars", "strings", "images"):
            for key, value in line.get(section, {}).items():
                if section == "images":
                    assert hashlib.sha256((directory / value["path"]).read_bytes()).hexdigest() == value["sha256"]
                values += [(line["step"], key.removeprefix("model/"))] * (len(value) if section == "strings" else 1)
    return values


def read_tensorboard(directory: Path) -> Values:
    values: Values = []
    for path in sorted(directory.glob("*/events.out.tfevents.*")):
        for event in event_prefix(path):
            values += [(event.step, value.tag.removeprefix("model/")) for value in event.summary.value]
    return values


def event_prefix(path: Path) -> list[Event]:
    """Returns what TensorBoard reads of an event file: the events before the first that is damaged."""
    found: list[Event] = []
    with suppress(errors.DataLossError, DecodeError):
        for raw in RawEventFileLoader(str(path)).Load():
            found.append(Event.FromString(raw))
    return found


def read_journal(directory: Path) -> Values:
    problems: list[object] = []
    entries = [entry for entry in journal_entries(directory, problems.append) if isinstance(entry, Entry)]
    return [(entry.state.num_steps, entry.key) for entry in entries]


BACKENDS = [
    Backend("json", lambda: JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0)), read_json),
    Backend(
        "tensorboard",
        lambda: TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", write_every_n_seconds=0)),
        read_tensorboard,
    ),
    Backend("journal", lambda: JournalLogger(JournalLoggerConfig("journal", write_every_n_seconds=0)), read_journal),
]


def context(directory: Path, *, attempt: int = 1) -> RunContext:
    return RunContext(directory, attempt=attempt, clock=FakeClock(), wall_clock=FakeClock(1.7e9))


def start(backend: Backend, directory: Path, *, attempt: int = 1) -> LoggerGroup:
    """Returns a group that writes on this thread, so that the Nth call is always the same one."""
    logger = backend.make()
    logger.initialize(context(directory, attempt=attempt))
    return LoggerGroup.in_place([logger])


def log(logs: LoggerGroup, step: int) -> None:
    """Logs a value of each key at a step, and ends the step."""
    model = MultiLogger("model")
    model.log_scalar("number", step)
    model.log_string("text", f"step {step}")
    model.log_image("picture", np.full((8, 8), step, np.uint8))
    logs.write([model], State(num_steps=step), force=True)


def all_of(*steps: int) -> Values:
    """Returns what steps are read back as."""
    return [(step, key) for step in steps for key in KEYS]


def adds_up(stats: LoggerStats) -> bool:
    return stats.accepted == stats.written + sum(stats.dropped.values()) + sum(stats.failed.values()) + stats.pending
