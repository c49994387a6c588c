"""Gives what was logged to a backend once more, as if the run were logged anew: attempt by attempt, write by write."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import AnyLogger
from ml.loggers.report import text_of
from ml.loggers.selection import refusal
from ml.loggers.sources import Entry, Settings
from ml.loggers.values import Lazy, Plain, series_path

_KEEPS_NOTHING = "memory"
_MAX_PROBLEMS = 1000


def check_outlives(name: str) -> None:
    """Finds a backend of which nothing is left when a command ends.

    Raises:
        ConfigError: It is one.
    """
    if name == _KEEPS_NOTHING:
        raise ConfigError(f"The backend {name!r} keeps nothing that outlives this command. Name another: json.")


@dataclass
class ReplayReport:
    """What came of giving a run to a backend.

    Attributes:
        source: What was read: the journal's directory, the log, or what was imported.
        directory: Where the result is.
        attempts: How many attempts of the run there were.
        written: Values that were given to the backend, and written.
        unsupported: Values of kinds that the backend does not take.
        excluded: Values of keys that it is not to be given, by its ``include`` and ``exclude``.
        failed: Values that the backend could not take, or not write.
        num_problems: How many parts of the source were left out, and values failed.
        problems: What each of them was, in a sentence; the first 1,000.
    """

    source: Path
    directory: Path
    attempts: int = 0
    written: int = 0
    unsupported: int = 0
    excluded: int = 0
    failed: int = 0
    num_problems: int = 0
    problems: list[str] = field(default_factory=list)

    def tell(self, problem: str) -> None:
        """Takes what could not be read or given."""
        self.num_problems += 1
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


class Player:
    """Gives entries to a backend, one attempt after the other.

    Args:
        to: The backend: the name that it is registered under, or one that was not initialized.
        directory: The run's, below which it writes.
        report: Is told what becomes of the values.
    """

    def __init__(self, to: AnyLogger | str, directory: Path, report: ReplayReport) -> None:
        self._to, self._directory, self._report = to, directory, report
        self._backend: AnyLogger | None = None
        self._attempt, self._write, self._given = 0, 0, 0
        self._state = State()

    def play(self, entries: Iterator[Entry | Settings]) -> None:
        """Gives every entry, writes as the run did, flushes and closes; what a group would lose is left out.

        Raises:
            ConfigError: The backend cannot be used.
            OSError, WriteError: It cannot write now.
        """
        try:
            for entry in entries:
                if isinstance(entry, Settings):
                    backend = self._backend_of(entry.attempt, self._state._replace(time_s=entry.time_s))
                    self._configure(backend, entry)
                else:
                    self._give(entry)
            self._end_attempt()
        finally:
            if self._backend is not None:
                self._backend.close()

    def _configure(self, backend: AnyLogger, settings: Settings) -> None:
        try:
            backend.log_config(OmegaConf.create(settings.config))
        except (ConfigError, OSError, WriteError):
            raise
        except Exception as error:
            self._report.tell(f"The configuration of attempt {settings.attempt} is left out: {_reason_of(error)}")

    def _give(self, entry: Entry) -> None:
        backend = self._backend_of(entry.attempt, entry.state)
        if entry.write != self._write:
            self._end_write()
            self._write = entry.write
        self._state = entry.state
        path = series_path(entry.namespace, entry.key)
        why_not = refusal(backend, entry.kind, path)
        if why_not is not None:
            self._report.unsupported += why_not == "unsupported"
            self._report.excluded += why_not == "excluded"
            return
        value = entry.value if isinstance(entry.value, Lazy) else Plain(entry.value)
        try:
            getattr(backend, entry.kind.method)(entry.key, value, entry.state, entry.namespace)
            self._given += 1
        except Exception as error:
            self._report.failed += 1
            self._report.tell(f"'{path}' at step {entry.state.num_steps} is left out: {_reason_of(error)}")

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
            try:
                self._backend.write(self._state)
            except (ConfigError, OSError, WriteError):
                raise
            except Exception as error:
                self._report.failed += given
                step = self._state.num_steps
                self._report.tell(f"{given} values up to step {step} are left out: {_reason_of(error)}")
            else:
                self._report.written += given

    def _end_attempt(self) -> None:
        self._end_write()
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.flush()
            backend.close()


def _reason_of(error: Exception) -> str:
    return str(error) if isinstance(error, LogValueError) else f"{type(error).__name__}: {text_of(error)}"
