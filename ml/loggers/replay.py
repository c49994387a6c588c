"""Gives what a run logged to another backend, as if the run were logged anew.

::

    replay(Path("runs/demo"), "tensorboard", Path("runs/demo-again"))

Every attempt, every value in the order in which it was written, at its own step
and with its own times. What was damaged is left out, and told.
"""

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from omegaconf import OmegaConf

from ml.core.errors import ConfigError, LogValueError
from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.atomic import write_atomically
from ml.io.fileops import OPS
from ml.io.files import make_directories
from ml.io.journal import journal_files
from ml.loggers.base import AnyLogger
from ml.loggers.places import journal_of, log_of
from ml.loggers.sources import Entry, Settings, journal_entries, json_entries
from ml.loggers.values import Lazy, Plain, series_path

MARKER = "replayed.json"
"""The file that says that a directory was made by a replay, and may be made anew by the next one."""

Source = Literal["journal", "json"]

_MAX_PROBLEMS = 1000


@dataclass
class ReplayReport:
    """What a replay did.

    Attributes:
        source: The journal's directory, or the log, that was read.
        directory: Where the result is.
        attempts: How many attempts of the run there were.
        written: Values that were given to the backend, and written.
        unsupported: Values of kinds that the backend does not take.
        failed: Values that the backend could not take.
        num_problems: How many parts of the source were left out, and values failed.
        problems: What each of them was, in a sentence; the first 1,000.
    """

    source: Path
    directory: Path
    attempts: int = 0
    written: int = 0
    unsupported: int = 0
    failed: int = 0
    num_problems: int = 0
    problems: list[str] = field(default_factory=list)

    def tell(self, problem: str) -> None:
        """Takes what could not be read or given."""
        self.num_problems += 1
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


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
    _Player(to, run, report).play(_entries(found, report))
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
    staging = directory.parent / f".{directory.name}.{secrets.token_hex(4)}"
    make_directories(staging)
    try:
        report = ReplayReport(found, directory)
        _Player(to, staging, report).play(_entries(found, report))
        write_atomically(staging / MARKER, _marker(report), mode=0o600)
        _put_in_place(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


class _Player:
    """Gives entries to a backend, one attempt after the other."""

    def __init__(self, to: AnyLogger | str, directory: Path, report: ReplayReport) -> None:
        self._to, self._directory, self._report = to, directory, report
        self._backend: AnyLogger | None = None
        self._attempt, self._write, self._given = 0, 0, 0
        self._state = State()

    def play(self, entries: Iterator[Entry | Settings]) -> None:
        """Gives every entry, writes as the run did, flushes and closes."""
        try:
            for entry in entries:
                if isinstance(entry, Settings):
                    backend = self._backend_of(entry.attempt, self._state._replace(time_s=entry.time_s))
                    backend.log_config(OmegaConf.create(entry.config))
                else:
                    self._give(entry)
            self._end_attempt()
        finally:
            if self._backend is not None:
                self._backend.close()

    def _give(self, entry: Entry) -> None:
        backend = self._backend_of(entry.attempt, entry.state)
        if entry.write != self._write:
            self._end_write()
            self._write = entry.write
        self._state = entry.state
        if entry.kind not in backend.kinds:
            self._report.unsupported += 1
            return
        value = entry.value if isinstance(entry.value, Lazy) else Plain(entry.value)
        try:
            getattr(backend, entry.kind.method)(entry.key, value, entry.state, entry.namespace)
            self._given += 1
        except LogValueError as error:
            self._report.failed += 1
            self._report.tell(
                f"'{series_path(entry.namespace, entry.key)}' at step {entry.state.num_steps} is left out: {error}"
            )

    def _backend_of(self, attempt: int, state: State) -> AnyLogger:
        """Returns the backend, initialized for an attempt; times are those of the state that was given last."""
        if self._backend is None or attempt != self._attempt:
            self._end_attempt()
            self._state, self._attempt = state, attempt
            to = self._to
            backend = LOGGERS.build({"name": to, "write_every_n_seconds": 0}) if isinstance(to, str) else to
            context = RunContext(
                self._directory,
                attempt=attempt,
                clock=lambda: self._state.elapsed_time_s,
                wall_clock=lambda: self._state.time_s,
            )
            backend.initialize(context)
            self._backend = backend
            self._report.attempts += 1
        return self._backend

    def _end_write(self) -> None:
        given, self._given = self._given, 0
        if given and self._backend is not None:
            self._backend.write(self._state)
            self._report.written += given

    def _end_attempt(self) -> None:
        self._end_write()
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.flush()
            backend.close()


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


def _put_in_place(staging: Path, directory: Path) -> None:
    """Replaces a directory; between the two renames there is none."""
    if not directory.exists():
        OPS.rename(staging, directory)
    else:
        old = staging.with_name(f"{staging.name}.old")
        OPS.rename(directory, old)
        OPS.rename(staging, directory)
        shutil.rmtree(old)
    OPS.sync_directory(directory.parent)
