"""Makes run directories of what other programs logged.

::

    import_runs(Path("lightning_logs/version_0"), Path("runs/version_0"))

A reader, one module a format, yields every value as it was logged; the backends write it at its own step and with its
own times, as they would have in a run. ``attempts/<n>/run.json`` says where it is from, and what else is known of the
run: ``imported``. What is written is put in its place when it is complete, so an import that is interrupted leaves
nothing. Settings are data: what looks like an interpolation stays the text that it is.
"""

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from omegaconf import OmegaConf

from ml.core.errors import ConfigError
from ml.core.redact import Redactor
from ml.core.registry import LOGGERS
from ml.core.state import State, normalized
from ml.integrations.foreign import NOTHING_KNOWN, About, literal_settings
from ml.io.atomic import write_atomically
from ml.io.files import make_directories
from ml.io.names import safe_segment
from ml.io.runrecord import to_timestamp
from ml.io.staging import staged
from ml.loggers.kinds import STRING
from ml.loggers.player import Player, ReplayReport, check_outlives
from ml.loggers.sources import Entry, Settings, Tell, say_nothing
from ml.loggers.strict_json import strict
from ml.loggers.values import series_path, split_path

DEFAULT_BACKENDS = ("json", "tensorboard")

READERS = {
    "tensorboard": "ml.integrations.event_folders",
    "wandb": "ml.integrations.wandb_offline",
    "trackio": "ml.integrations.trackio_database",
    "csv": "ml.integrations.csv_files",
}
"""The module that reads each format.

One that can tell the runs of a source apart has ``sources(path)`` too, and one that knows more of a run than its values
``about(source) -> About``.
"""

_MAX_NAMES = 10_000  # whose redacted form is remembered
_PRIVATE = 0o600


class Reader(Protocol):
    """A module that reads a format."""

    def is_source(self, path: Path) -> bool:
        """Whether ``path`` is what it reads."""

    def read(self, source: Path, tell: Tell) -> Iterator[Entry | Settings]:
        """Yields what a run logged, attempt by attempt; configurations come first in their attempt."""


@dataclass
class ImportReport:
    """What became of one run.

    Attributes:
        source: What was read.
        format: As what.
        directory: The run directory that was made.
        attempts: How many attempts the run has.
        kinds: How many values of each kind were read.
        backends: What each backend was given.
    """

    source: Path
    format: str
    directory: Path
    attempts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    backends: dict[str, ReplayReport] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What was left out, and why, in sentences; the first 1,000 of each backend."""
        return list(dict.fromkeys(self._told))

    @property
    def num_problems(self) -> int:
        """How many there were; one that several backends had counts once, as far as it is among ``problems``."""
        again = len(self._told) - len(self.problems)
        return sum(report.num_problems for report in self.backends.values()) - again

    @property
    def _told(self) -> list[str]:
        return [problem for report in self.backends.values() for problem in report.problems]


class _Attempt(NamedTuple):
    """What is recorded of an attempt: from when to when it logged, Unix seconds, and its settings."""

    start_s: float
    end_s: float
    elapsed_s: float
    settings: str | None


def import_runs(
    source: Path,
    directory: Path,
    *,
    format: str | None = None,
    backends: Sequence[str] = DEFAULT_BACKENDS,
    wall_clock: Callable[[], float] = time.time,
) -> list[ImportReport]:
    """Reads what another program logged, and makes a run directory of it.

    Args:
        source: A file or a folder.
        directory: The run directory, which must not be there. Of several runs each has one below it.
        format: One of ``READERS``; by default it is found out.
        backends: What writes, by name.
        wall_clock: Unix seconds, for the record.

    Returns:
        What became of each run.

    Raises:
        FileNotFoundError: There is no ``source``.
        ConfigError: It is of no format that is known, or of several; ``directory`` is there already; a backend
            cannot be used; or nothing was logged.
        OSError, WriteError: It cannot be read, or written.
    """
    _check(directory, backends)
    name, reader = _reader_of(source, format)
    redactor = Redactor(os.environ)
    runs = _runs_of(reader, source)
    with staged(directory) as staging:
        reports: list[ImportReport] = []
        for run in runs:
            about = _about(reader, run)
            taken = {report.directory for report in reports}
            below = "" if len(runs) == 1 else _name_of(run, source, redactor.redact_text(about.name), directory, taken)
            report = ImportReport(run, name, directory / below)
            _import(reader, report, about, staging / below, backends, redactor, wall_clock)
            reports.append(report)
        if not any(report.attempts for report in reports):
            told = next((problem for report in reports for problem in report.problems), "")
            raise ConfigError(f"Nothing was logged in {source}. {told}".strip())
        if directory.exists():
            raise ConfigError(f"{directory} was made meanwhile. Choose another directory for the result.")
    return reports


def _import(
    reader: Reader,
    report: ImportReport,
    about: About,
    directory: Path,
    backends: Sequence[str],
    redactor: Redactor,
    wall_clock: Callable[[], float],
) -> None:
    """Makes one run directory; none where nothing was logged."""
    attempts: dict[int, _Attempt] = {}
    for name in backends:
        is_first = not report.backends
        played = report.backends[name] = ReplayReport(report.source, report.directory)
        tell = played.tell if is_first else say_nothing  # every backend has the source read once more
        entries = _redacted(reader.read(report.source, tell), redactor, tell)
        if is_first:
            entries = _noted(entries, attempts, report.kinds)
        Player(name, directory, played).play(entries)
        played.problems = list(map(redactor.redact_text, played.problems))  # which name keys, as they were
    report.attempts = len(attempts)
    known = {"name": about.name, **about.details} if about.name else about.details
    tell = next(iter(report.backends.values())).tell
    kept = redactor.redact_config(
        literal_settings(known, "record", lambda problem: tell(redactor.redact_text(problem)))
    )
    details = OmegaConf.to_container(kept, resolve=True)  # literals are escaped, and nothing else looks like one
    identity = secrets.token_hex(8)
    for number, attempt in attempts.items():
        folder = directory / "attempts" / str(number)
        make_directories(folder)
        if attempt.settings is not None:
            write_atomically(folder / "config.yaml", attempt.settings.encode(errors="backslashreplace"), mode=_PRIVATE)
        record = {
            "id": identity,
            "attempt": number,
            "status": about.status,
            "start": to_timestamp(attempt.start_s),
            "end": to_timestamp(attempt.end_s),
            "elapsed_time_s": attempt.elapsed_s,
            "rank": 0,
            "world_size": 1,
            "imported": {
                "from": redactor.redact_text(str(report.source.absolute())),
                "format": report.format,
                "time": to_timestamp(wall_clock()),
                **cast(dict[str, object], _strict(details)),
            },
        }
        write_atomically(folder / "run.json", (json.dumps(record, indent=2) + "\n").encode(), mode=_PRIVATE)


def _redacted(entries: Iterator[Entry | Settings], redactor: Redactor, tell: Tell) -> Iterator[Entry | Settings]:
    """Takes secrets out, as a run does before anything is written; settings become such as say what they are."""
    names: dict[tuple[str, str], tuple[str, str]] = {}
    for entry in entries:
        if isinstance(entry, Settings):
            settings = literal_settings(entry.config, f"configuration of attempt {entry.attempt}", tell)
            redactor.learn_config(settings)
            names.clear()
            config = OmegaConf.to_container(redactor.redact_config(settings), resolve=False)
            time_s = normalized(State(time_s=entry.time_s)).time_s
            yield entry._replace(config=cast(dict[str, object], config), time_s=time_s)
            continue
        name = (entry.namespace, entry.key)
        if name not in names:
            if len(names) >= _MAX_NAMES:
                names.clear()
            path = series_path(*name)
            redacted = redactor.redact_text(path)
            names[name] = name if redacted == path else split_path(redacted)
        namespace, key = names[name]
        value = redactor.redact_text(str(entry.value)) if entry.kind is STRING else entry.value
        yield entry._replace(namespace=namespace, key=key, value=value)


def _noted(
    entries: Iterator[Entry | Settings], attempts: dict[int, _Attempt], kinds: Counter[str]
) -> Iterator[Entry | Settings]:
    """Notes what is to be recorded of each attempt, and counts values."""
    for entry in entries:
        known = attempts.get(entry.attempt)
        if isinstance(entry, Settings):
            first = known or _Attempt(entry.time_s, entry.time_s, 0.0, None)
            attempts[entry.attempt] = first._replace(settings=OmegaConf.to_yaml(OmegaConf.create(entry.config)))
        else:
            time_s, elapsed_s = entry.state.time_s, entry.state.elapsed_time_s
            known = known or _Attempt(time_s, time_s, 0.0, None)
            attempts[entry.attempt] = _Attempt(
                min(known.start_s, time_s), max(known.end_s, time_s), max(known.elapsed_s, elapsed_s), known.settings
            )
            kinds[entry.kind.name] += 1
        yield entry


def _check(directory: Path, backends: Sequence[str]) -> None:
    if directory.exists():
        raise ConfigError(f"{directory} is there already. Choose another directory for the result.")
    if not backends or len(set(backends)) < len(backends):
        raise ConfigError(f"The backends are named once each, got {', '.join(backends) or 'none'}.")
    for name in backends:
        check_outlives(name)
        if LOGGERS.build({"name": name}).is_remote:
            raise ConfigError(f"The backend {name!r} keeps its values elsewhere. Import the run, then: mlog replay.")


def _reader_of(source: Path, format: str | None) -> tuple[str, Reader]:
    """Returns what reads a source, and the name of its format."""
    if format is not None and format not in READERS:
        raise ConfigError(f"A format is one of {', '.join(READERS)}, got {format!r}.")
    names = [format] if format is not None else list(READERS)
    readers = {name: cast(Reader, import_module(READERS[name])) for name in names}
    found = {name: reader for name, reader in readers.items() if reader.is_source(source)}
    if not found:
        if not source.exists():  # a run within a database is no file
            raise FileNotFoundError(f"There is no {source}.")
        looked = f"It is none of {', '.join(names)}" if format is None else f"It is no source of the format {format}"
        raise ConfigError(f"There is nothing to import in {source}. {looked}.")
    if len(found) > 1:
        raise ConfigError(
            f"{source} holds what {' and '.join(found)} logged. Say which is meant: --format {next(iter(found))}."
        )
    return next(iter(found.items()))


def _runs_of(reader: Reader, source: Path) -> list[Path]:
    """Returns the runs that a source holds."""
    sources = cast("Callable[[Path], list[Path]] | None", getattr(reader, "sources", None))
    if sources is not None:
        return sources(source)
    if source.is_dir():
        folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.is_symlink())
        if below := [run for folder in folders if reader.is_source(folder) for run in _runs_of(reader, folder)]:
            return below
    return [source]


def _about(reader: Reader, run: Path) -> About:
    about = cast("Callable[[Path], About] | None", getattr(reader, "about", None))
    return NOTHING_KNOWN if about is None else about(run)


def _name_of(run: Path, source: Path, called: str, directory: Path, taken: set[Path]) -> Path:
    """Returns where one of several runs comes to be: called as it is called for people, else as its source is."""
    relative = run.relative_to(source)
    if run.is_file():
        relative = relative.with_suffix("")
    elif run.parent != source and run.parent.is_file():  # one of the runs of a database
        relative = relative.parent.with_suffix("") / relative.name
    name = Path(safe_segment(called)) if called else relative
    others = (safe_segment(f"{called}-{run.name}{'-' * bool(number)}{number or ''}") for number in count())
    return next(free for free in chain([name], map(Path, others)) if directory / free not in taken)


def _strict(node: object) -> object:
    """Returns a value as strict JSON has it."""
    if isinstance(node, dict):
        return {str(key): _strict(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_strict(value) for value in node]
    return strict(node) if isinstance(node, float) else node
