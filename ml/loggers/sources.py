"""What was logged in a run, from its journal or its JSON lines: as it lies there, or as a backend is given it.

What cannot be read is left out, and told. A file of a medium counts only if it
has the hash that was noted when it was written.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from ml.core.errors import FormatError
from ml.core.state import State
from ml.io.attempt_files import read_config
from ml.io.journal import JournalReader, Record
from ml.io.regular import open_regular
from ml.io.segments import whole_lines
from ml.loggers.journal_records import Config, Values, decode
from ml.loggers.json_log import parsed
from ml.loggers.kinds import STRING, Kind
from ml.loggers.places import LOG
from ml.loggers.stored import File, StoredHistogram, StoredMedia, StoredRow
from ml.loggers.strict_json import parsing
from ml.loggers.values import series_path
from ml.media.histogram import Histogram

MAX_FILE_BYTES = 2**27

Tell = Callable[[str], None]
"""Is told, in a sentence, what was left out."""


def say_nothing(problem: str) -> None:
    """Is told what another reading of the same source tells."""


class Settings(NamedTuple):
    """The configuration of an attempt, and when it was logged, in Unix seconds; 0 is not known."""

    attempt: int
    time_s: float
    config: dict[str, Any]


class Written(NamedTuple):
    """Values of one state: a line of the log, or a record of the journal.

    Attributes:
        attempt: The attempt that logged them.
        write: The same for all values of one write; no other write of the attempt has it.
        state: The state that logged them. Read from JSON lines it has the fields that those have.
        rows: The values, in their order.
    """

    attempt: int
    write: int
    state: State
    rows: list[StoredRow]


class Problem(NamedTuple):
    """What is left out, in a sentence, and whether it is damaged: the last record may be being written."""

    text: str
    is_damage: bool


class Entry(NamedTuple):
    """A value as it was logged.

    Attributes:
        attempt: The attempt that logged it.
        write: The same for all values of one write; no other write of the attempt has it.
        state: The state that logged it. Read from JSON lines it has the fields that those have.
        kind: What it is.
        namespace: Where it was logged.
        key: As what.
        value: A number, a text, or a medium as ``ml.loggers.values.Lazy`` offers it.
    """

    attempt: int
    write: int
    state: State
    kind: Kind
    namespace: str
    key: str
    value: int | float | str | StoredMedia | StoredHistogram


def written(source: Path) -> Iterator[Written | Settings | Problem]:
    """Yields what lies in a log, or in the folder of a journal: where ``ml.loggers.places`` says that it is."""
    return _written_lines(source) if source.name == LOG else _written_records(JournalReader(source))


def journal_entries(directory: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields what a journal holds, in the order in which it was written; configurations come first in their attempt.

    Args:
        directory: The journal's.
        tell: Told what is damaged, missing or of no use.
    """
    journal = JournalReader(directory)
    for found in _written_records(journal):
        if isinstance(found, Settings):
            yield found
        elif isinstance(found, Problem):
            tell(found.text)
        else:
            yield from _entries(found, directory, tell)
    if journal.lost:
        tell(f"{journal.lost} records of {directory} are missing between others.")


def json_entries(log: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields the values of a log of JSON lines, in its order; every line is one write.

    Args:
        log: Its first file, in the folder of a backend of a run. Configurations are those that the run kept.
        tell: Told what is damaged, missing or of no use.
    """
    begun: set[int] = set()
    for found in _written_lines(log):
        if isinstance(found, Problem):
            tell(found.text)
            continue
        if found.attempt not in begun:
            begun.add(found.attempt)
            yield from _kept_settings(log.parent.parent, found.attempt, found.state.time_s, tell)
        yield from _entries(found, log.parent, tell)


def text_of(value: object, folder: Path) -> str:
    """Returns a text, which may be a file.

    Args:
        value: As a row has it.
        folder: Of the log, or the journal.

    Raises:
        OSError, FormatError: The file is not there, or something else.
    """
    if not isinstance(value, File):
        return str(value)
    with parsing("no text", value.path):
        return _content(value, folder).decode()


def _written_records(journal: JournalReader) -> Iterator[Written | Settings | Problem]:
    for found in journal.read():
        if not isinstance(found, Record):
            yield Problem(str(found), is_damage=not found.damage.is_tail)
            continue
        try:
            entry = decode(found.payload)
        except FormatError as error:
            problem = f"Record {found.sequence} of attempt {found.attempt} is left out: {error.message}"
            yield Problem(problem, is_damage=True)
            continue
        if isinstance(entry, Config):
            yield Settings(found.attempt, *entry)
        elif isinstance(entry, Values):
            yield Written(found.attempt, *entry)


def _written_lines(log: Path) -> Iterator[Written | Problem]:
    for count, line in enumerate(whole_lines(log), start=1):
        try:
            attempt, state, rows = parsed(line)
        except FormatError as error:
            yield Problem(f"Line {count} of {log} is left out: {error.message}", is_damage=True)
        else:
            yield Written(attempt, count, state, rows)


def _entries(found: Written, folder: Path, tell: Tell) -> Iterator[Entry]:
    attempt, write, state, rows = found
    for kind, namespace, key, value in rows:
        try:
            made = _made(kind, value, folder, series_path(namespace, key))
        except (OSError, FormatError) as error:
            tell(f"'{series_path(namespace, key)}' at step {state.num_steps} of attempt {attempt} is left out: {error}")
        else:
            yield Entry(attempt, write, state, kind, namespace, key, made)


def _made(
    kind: Kind, value: int | float | str | File | Histogram, folder: Path, path: str
) -> int | float | str | StoredMedia | StoredHistogram:
    if isinstance(value, Histogram):
        return StoredHistogram(value, path=path, origin=str(folder))
    if not isinstance(value, File):
        return value
    if kind is STRING:
        return text_of(value, folder)
    return StoredMedia(kind, value.form, _content(value, folder), value.about, path=path, origin=str(folder))


def _kept_settings(run: Path, attempt: int, time_s: float, tell: Tell) -> Iterator[Settings]:
    path = run / "attempts" / str(attempt) / "config.yaml"
    if path.exists():
        try:
            config = OmegaConf.to_container(read_config(path))
            assert isinstance(config, dict), "a configuration is a mapping"
            yield Settings(attempt, time_s, {str(key): value for key, value in config.items()})
        except (FormatError, OSError) as error:
            tell(f"The configuration of attempt {attempt} is left out: {error}")


def _content(file: File, folder: Path) -> bytes:
    """Returns what a file holds, if it is what its digest says.

    Raises:
        OSError, FormatError: It is not there, too large, or something else.
    """
    if file.data is not None:
        return file.data
    path = folder / file.path
    with open_regular(path) as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"it has more than {MAX_FILE_BYTES} bytes", path=path)
    if hashlib.sha256(data).hexdigest() != file.digest:
        raise FormatError("it is damaged: its content has another hash", path=path)
    return data
