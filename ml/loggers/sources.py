"""What was logged in a run, read back as a backend is given it: from its journal, or from its JSON lines.

What cannot be read is left out, and told. A file of a medium counts only if it
has the hash that was noted when it was written.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from ml.core.errors import FormatError, LogValueError
from ml.core.state import State, normalized
from ml.io.attempt_files import read_config
from ml.io.journal import Flaw, JournalReader, Record
from ml.io.regular import open_regular
from ml.io.segments import whole_lines
from ml.loggers.journal import media_path
from ml.loggers.journal_records import Config, Medium, Values, decode, number
from ml.loggers.json_log import entry_of
from ml.loggers.kinds import HISTOGRAM, KINDS, SCALAR, STRING, Kind
from ml.loggers.stored import StoredHistogram, StoredMedia
from ml.loggers.values import series_path

MAX_FILE_BYTES = 2**27

_MAX_LINE_BYTES = 2**29
_SHA256 = re.compile("[0-9a-f]{64}")
_FORM = re.compile("[a-z0-9]{1,10}")
_BROKEN = (FormatError, LogValueError, OSError, ValueError, KeyError, TypeError, AttributeError)

_SECTIONS = {kind.section: kind for kind in KINDS}

Tell = Callable[[str], None]
"""Is told, in a sentence, what was left out."""


class Settings(NamedTuple):
    """The configuration of an attempt, and when it was logged, in Unix seconds; 0 is not known."""

    attempt: int
    time_s: float
    config: dict[str, Any]


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


def journal_entries(directory: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields what a journal holds, in the order in which it was written; configurations come first in their attempt.

    Args:
        directory: The journal's.
        tell: Told what is damaged, missing or of no use.
    """
    journal = JournalReader(directory)
    for found in journal.read():
        if isinstance(found, Flaw):
            tell(str(found))
            continue
        try:
            yield from _entries(found, directory, tell)
        except _BROKEN as error:
            tell(f"Record {found.sequence} of attempt {found.attempt} is left out: {error}")
    if journal.lost:
        tell(f"{journal.lost} records of {directory} are missing between others.")


def json_entries(log: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields the values of a log of JSON lines, in its order; every line is one write.

    Args:
        log: Its first file, in the folder of a backend of a run. Configurations are those that the run kept.
        tell: Told what is damaged, missing or of no use.
    """
    begun: set[int] = set()
    for count, line in enumerate(whole_lines(log), start=1):
        try:
            if len(line) > _MAX_LINE_BYTES:
                raise ValueError(f"it has {len(line)} bytes")
            fields = entry_of(line)
            state, attempt = _state(fields), fields["attempt"]
            logged = [
                (kind, path, value) for kind in _by_section(fields) for path, value in fields[kind.section].items()
            ]
        except (*_BROKEN, RecursionError) as error:
            tell(f"Line {count} of {log} is left out: {error!r}")
            continue
        if attempt not in begun:
            begun.add(attempt)
            yield from _kept_settings(log.parent.parent, attempt, state.time_s, tell)
        for kind, path, value in logged:
            namespace, key = _names(path)
            try:
                for one in value if kind is STRING and isinstance(value, list) else [value]:
                    made = _json_value(kind, one, log, path)
                    yield Entry(attempt, count, state, kind, namespace, key, made)
            except _BROKEN as error:
                tell(f"'{path}' of line {count} of {log} is left out: {error}")


def _entries(record: Record, directory: Path, tell: Tell) -> Iterator[Entry | Settings]:
    entry = decode(record.payload)
    if isinstance(entry, Config):
        yield Settings(record.attempt, entry.time_s, entry.config)
    elif isinstance(entry, Values):
        for kind, namespace, key, value in entry.rows:
            yield Entry(record.attempt, entry.write, entry.state, kind, namespace, key, value)
    elif isinstance(entry, Medium):
        kind, namespace, key = entry.kind, entry.namespace, entry.key
        made = _journal_value(entry, directory)
        yield Entry(record.attempt, entry.write, entry.state, kind, namespace, key, made)


def _journal_value(entry: Medium, directory: Path) -> str | StoredMedia | StoredHistogram:
    path, about, data = series_path(entry.namespace, entry.key), entry.about, entry.data
    if entry.kind is HISTOGRAM:
        return StoredHistogram(about["histogram"], path=path, origin=str(directory))
    form = str(about["form"])
    if data is None:
        digest = str(about["sha256"])
        if not (_SHA256.fullmatch(digest) and _FORM.fullmatch(form)):
            raise ValueError(f"no name of a file: {digest!r:.80}, {form!r:.20}")
        data = _checked_file(media_path(directory, digest, form), digest)
    if entry.kind is STRING:
        return data.decode()
    return StoredMedia(entry.kind, form, data, about, path=path, origin=str(directory))


def _by_section(fields: Mapping[str, Any]) -> list[Kind]:
    """Returns the kinds of a line in its order."""
    return [_SECTIONS[name] for name in fields if name in _SECTIONS]


def _kept_settings(run: Path, attempt: int, time_s: float, tell: Tell) -> Iterator[Settings]:
    path = run / "attempts" / str(attempt) / "config.yaml"
    if path.exists():
        try:
            config = OmegaConf.to_container(read_config(path))
            assert isinstance(config, dict), "a configuration is a mapping"
            yield Settings(attempt, time_s, {str(key): value for key, value in config.items()})
        except (FormatError, OSError) as error:
            tell(f"The configuration of attempt {attempt} is left out: {error}")


def _json_value(kind: Kind, value: Any, log: Path, path: str) -> int | float | str | StoredMedia | StoredHistogram:
    if kind is SCALAR:
        return number(value)
    if kind is STRING:
        if not isinstance(value, str):
            raise TypeError(f"no text: {value!r:.60}")
        return value
    if kind is HISTOGRAM:
        return StoredHistogram(value, path=path, origin=str(log))
    file = PurePosixPath(value["path"])
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"no path of a file of this run: {str(file)!r}")
    data = _checked_file(log.parent / file, str(value["sha256"]))
    return StoredMedia(kind, file.suffix[1:], data, value, path=path, origin=str(log))


def _checked_file(path: Path, digest: str) -> bytes:
    """Returns the content of a file, if it is what its digest says.

    Raises:
        OSError, ValueError: It is not there, too large, or something else.
    """
    with open_regular(path) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path} is damaged: its content has another hash")
    return data


def _state(fields: Mapping[str, Any]) -> State:
    return normalized(
        State(
            fields["phase"],
            num_epochs=fields["epoch"],
            num_steps=fields["step"],
            num_samples=fields["samples"],
            elapsed_time_s=float(fields["elapsed_s"]),
            time_s=datetime.fromisoformat(fields["time"]).timestamp(),
        )
    )


def _names(path: str) -> tuple[str, str]:
    """Returns namespace and key of ``<namespace>/<key>``: a namespace holds no slash."""
    namespace, slash, key = path.partition("/")
    return (namespace, key) if slash else ("", namespace)
