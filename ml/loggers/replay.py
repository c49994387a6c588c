"""Gives what a run logged to another backend, as if the run were logged anew.

::

    replay(Path("runs/demo"), "tensorboard", Path("runs/demo-again"))

Every attempt, every value in the order in which it was written, at its own step
and with its own times. What was damaged is left out, and told.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from ml.core.errors import ConfigError
from ml.io.atomic import write_atomically
from ml.io.journal import journal_files
from ml.io.staging import staged
from ml.loggers.base import AnyLogger
from ml.loggers.places import journal_of, log_of
from ml.loggers.player import Player, ReplayReport
from ml.loggers.sources import Entry, Settings, journal_entries, json_entries

MARKER = "replayed.json"
"""The file that says that a directory was made by a replay, and may be made anew by the next one."""

Source = Literal["journal", "json"]


def send(run: Path, to: AnyLogger, *, source: Source | None = None) -> ReplayReport:
    """Gives every value of a run to a remote backend, which keeps what it does not have yet.

    For what a service missed that was away, or when the run was killed: the backend finds the same run there.

    Args:
        run: The run's directory. It may be running.
        to: The backend, not initialized; configured as it was in the run.
        source: What is read; by default the journal, if there is one.

    Raises:
        ConfigError: There is nothing to read, or the backend keeps its values in a directory.
        OSError, WriteError: The service cannot be reached, or refuses.
    """
    if not to.is_remote:
        raise ConfigError(f"'{to.id}' keeps its values in a directory. Name one: replay(run, {to.id!r}, directory).")
    found = _source(run, source)
    report = ReplayReport(found, run)
    Player(to, run, report).play(_entries(found, report))
    return report


def replay(run: Path, to: AnyLogger | str, directory: Path, *, source: Source | None = None) -> ReplayReport:
    """Gives every value of a run to a backend, which writes below ``directory``.

    The result is put in place when it is complete, so a replay that is interrupted
    leaves nothing behind, and a second one replaces the first.

    Args:
        run: The run's directory. It may be running.
        to: The backend: the name that it is registered under, or one that was not initialized. That
            one is initialized for each attempt in turn, after it was closed for the one before.
        directory: Where the backend writes, as in a run of that name. What an earlier replay made
            there is replaced, with everything in it.
        source: What is read; by default the journal, if there is one.

    Raises:
        ConfigError: There is nothing to read, there is no such backend, or ``directory`` holds
            something else than a replay.
        OSError, WriteError: The result cannot be written.
    """
    found = _source(run, source)
    _check_target(run, directory)
    report = ReplayReport(found, directory)
    with staged(directory) as staging:
        Player(to, staging, report).play(_entries(found, report))
        write_atomically(staging / MARKER, _marker(report), mode=0o600)
    return report


def _source(run: Path, source: Source | None) -> Path:
    """Returns the directory of a run's journal, or the first file of its JSON log."""
    journal, log = journal_of(run), log_of(run)
    if journal_files(journal) and source != "json":
        return journal
    if log.is_file() and source != "journal":
        return log
    wanted = {"journal": "no journal", "json": "no JSON log", None: "neither a journal nor a JSON log"}[source]
    raise ConfigError(f"There is nothing to replay: {run} holds {wanted}. Log it with logger=[journal].")


def _entries(found: Path, report: ReplayReport) -> Iterator[Entry | Settings]:
    return json_entries(found, report.tell) if found.is_file() else journal_entries(found, report.tell)


def _check_target(run: Path, directory: Path) -> None:
    if run.resolve().is_relative_to(directory.resolve()):
        raise ConfigError(f"{directory} holds the run that is replayed. Choose another directory for the result.")
    if not directory.is_dir():
        if directory.exists():
            raise ConfigError(f"{directory} is a file. Choose another place for the result.")
    elif not (directory / MARKER).is_file() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty, and was not made by a replay. Choose another one for the result.")


def _marker(report: ReplayReport) -> bytes:
    fields = asdict(report) | {"source": str(report.source), "directory": str(report.directory)}
    return (json.dumps(fields, indent=1) + "\n").encode()
