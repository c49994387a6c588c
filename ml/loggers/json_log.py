"""What a line of ``log.jsonl`` holds: the values of one state.

A line is whole, or it is none: one that lacks a field, or in which one value is not
what its kind has, is left out by whoever reads the log, and damage to who checks it.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ml.core.state import PHASES, State, normalized
from ml.loggers.kinds import HISTOGRAM, KINDS, SCALAR, STRING, Kind
from ml.loggers.stored import File, StoredRow, histogram_of
from ml.loggers.strict_json import loads, number, parsing, real, text
from ml.loggers.values import split_path
from ml.media.histogram import Histogram

_DIGEST = re.compile("[0-9a-f]{64}")
_SECTIONS = {kind.section: kind for kind in KINDS}


class Line(NamedTuple):
    """A line: the attempt that wrote it, the state as far as the line has it, and values in its order."""

    attempt: int
    state: State
    rows: list[StoredRow]


def parsed(line: bytes) -> Line:
    """Returns what a line holds.

    Raises:
        FormatError: It is no line of a log.
    """
    with parsing("no line of a log"):
        fields = loads(line)
        return Line(_count(fields["attempt"]), _state(fields), list(_rows(fields)))


def _state(fields: Mapping[str, Any]) -> State:
    phase, time = fields["phase"], datetime.fromisoformat(fields["time"])
    if phase not in PHASES or time.tzinfo is None:
        raise ValueError(f"no state of a run: {phase=}, {time=}")
    return normalized(
        State(
            phase,
            num_epochs=_count(fields["epoch"]),
            num_steps=_count(fields["step"]),
            num_samples=_count(fields["samples"]),
            elapsed_time_s=real(number(fields["elapsed_s"])),
            time_s=time.timestamp(),
        )
    )


def _count(value: object) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(f"no count: {value!r:.60}")
    return value


def _rows(fields: Mapping[str, Any]) -> Iterator[StoredRow]:
    for section, logged in fields.items():
        kind = _SECTIONS.get(section)
        if kind is None:
            continue
        for path, value in logged.items():
            namespace, key = split_path(path)
            if type(value) is float:  # nearly all of them are, and a call costs as much as all else here
                yield kind, namespace, key, value if kind is SCALAR else _value(kind, value)
            else:
                for one in value if kind is STRING and isinstance(value, list) else [value]:
                    yield kind, namespace, key, _value(kind, one)


def _value(kind: Kind, value: Any) -> int | float | str | File | Histogram:
    if kind is SCALAR:
        return number(value)
    if kind is STRING:
        return text(value)
    return histogram_of(value) if kind is HISTOGRAM else _file(value)


def _file(about: Mapping[str, Any]) -> File:
    path, digest = PurePosixPath(text(about["path"])), text(about["sha256"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"no path of a file of this run: {str(path)!r:.200}")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"no SHA-256: {digest!r:.80}")
    return File(path.suffix[1:], str(path), digest, None, about)
