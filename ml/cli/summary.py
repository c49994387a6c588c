"""What a run came to: its curves and what else it logged, from its JSON lines, else from its journal."""

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ml.cli.liveness import status_of
from ml.cli.numbers import compact
from ml.cli.series import Curves, Series, SeriesKey
from ml.io.journal import JournalReader, Record
from ml.io.runrecord import from_timestamp, to_timestamp
from ml.io.segments import segments, whole_lines
from ml.loggers.journal import MEDIA
from ml.loggers.journal_records import Medium, Values, decode
from ml.loggers.json_log import entry_of, log_of, numbers, texts
from ml.loggers.kinds import KINDS, SCALAR, STRING, Kind
from ml.loggers.values import series_path
from ml.reading import Run

_log = logging.getLogger("ml")

Attempt = Mapping[str, object]
"""What a ``run.json`` holds."""

_MAX_TEXT_LENGTH = 200  # characters of a text that are kept to be shown
_OTHERS = tuple(kind for kind in KINDS if kind is not SCALAR)
_NOT_AS_LOGGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


class Summary(NamedTuple):
    """What a run came to.

    Attributes:
        status: As ``liveness.status_of`` says it.
        start: Of the first attempt, in local time; ``None`` if it is not known.
        duration_s: Seconds of training, all attempts together.
        steps: Training steps.
        attempts: Their records, the first start first.
        scalars: The curves, by phase and then in the order in which their keys came.
        others: By kind: texts, and of media where they lie.
    """

    status: str
    start: datetime | None
    duration_s: float
    steps: int
    attempts: list[Attempt]
    scalars: dict[SeriesKey, Series[float]]
    others: dict[Kind, dict[SeriesKey, Series[str]]]


def summarize(run: Run) -> Summary:
    """Reads a run. What is damaged in its log is left out, and counted in a warning.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    log, journal = log_of(run.path), run.path / "journal"
    reader = _Reader()
    damaged = reader.read_lines(log) if segments(log) or not journal.is_dir() else reader.read_journal(journal)
    if damaged:
        _log.warning("%d records of %s cannot be read and are left out: see mlog fsck.", damaged, run.path)
    attempts: list[Attempt] = list(run.attempts)
    return Summary(
        status=status_of(run),
        start=_start(attempts),
        duration_s=_duration_s(attempts, reader.last_time),
        steps=reader.curves.steps,
        attempts=attempts,
        scalars=reader.curves.scalars(),
        others=reader.curves.others(_OTHERS),
    )


def local_time(timestamp: object) -> datetime | None:
    """Returns the time that a ``run.json`` tells, in this machine's time zone; ``None`` where it tells none."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(from_timestamp(str(timestamp)), UTC).astimezone()
    return None


class _Reader:
    """Gathers the curves of one run.

    Attributes:
        curves: What was read.
        last_time: The latest time of a state, as a timestamp; as texts these are in order.
    """

    def __init__(self) -> None:
        self.curves, self.last_time = Curves(), ""

    def read_lines(self, log: Path) -> int:
        """Reads JSON lines; returns how many are none."""
        damaged = 0
        for line in whole_lines(log):
            try:
                self._take_line(entry_of(line))
            except _NOT_AS_LOGGED:
                damaged += 1
        return damaged

    def read_journal(self, directory: Path) -> int:
        """Reads a journal; returns how many parts of it are damaged."""
        damaged = 0
        for found in JournalReader(directory).read():
            if not isinstance(found, Record):
                damaged += not found.damage.is_tail
                continue
            try:
                self._take_record(found)
            except _NOT_AS_LOGGED:
                damaged += 1
        return damaged

    def _take_line(self, entry: dict[str, Any]) -> None:
        attempt, phase, step = entry["attempt"], entry["phase"], entry["step"]
        scalars = {key: numbers(value)[0] for key, value in entry.get(SCALAR.section, {}).items()}
        others = [
            (kind, key, _shown(kind, value)) for kind in _OTHERS for key, value in entry.get(kind.section, {}).items()
        ]
        # From here on nothing can fail, so a damaged line is left out as a whole.
        self.curves.reach(attempt, phase, step)
        self.last_time = max(self.last_time, entry["time"])
        self.curves.add_scalars(attempt, phase, step, scalars)
        for kind, key, shown in others:
            self.curves.add_other(kind, attempt, phase, step, key, shown)

    def _take_record(self, record: Record) -> None:
        entry, attempt = decode(record.payload), record.attempt
        if not isinstance(entry, Values | Medium):
            return
        phase, step = entry.state.phase, entry.state.num_steps
        self.curves.reach(attempt, phase, step)
        self.last_time = max(self.last_time, to_timestamp(entry.state.time_s))
        if isinstance(entry, Medium):
            key = series_path(entry.namespace, entry.key)
            self.curves.add_other(entry.kind, attempt, phase, step, key, [_shown_of_record(entry)])
            return
        for kind, namespace, name, value in entry.rows:
            key = series_path(namespace, name)
            if kind is SCALAR:
                self.curves.add_scalars(attempt, phase, step, {key: numbers(value)[0]})
            else:
                self.curves.add_other(kind, attempt, phase, step, key, [str(value)[:_MAX_TEXT_LENGTH]])


def _shown(kind: Kind, value: object) -> list[str]:
    """Returns what is shown of a value that is no number: of a step with several texts, all of them."""
    if kind is STRING:
        return [text[:_MAX_TEXT_LENGTH] for text in texts(value)]
    if not isinstance(value, dict):
        raise TypeError(f"no {kind}: {value!r}")
    return [str(value["path"])[:_MAX_TEXT_LENGTH] if "path" in value else _bins(value)]


def _shown_of_record(entry: Medium) -> str:
    if "histogram" in entry.about:
        return _bins(entry.about["histogram"])
    where = f"{MEDIA}/{entry.about['sha256']}" if "sha256" in entry.about else "in the journal"
    return f"{entry.about.get('form')} {entry.about.get('shape', '')} {where}"[:_MAX_TEXT_LENGTH]


def _bins(histogram: Mapping[str, object]) -> str:
    names = ("count", "min", "mean", "max")
    return "  ".join(f"{name} {compact(numbers(histogram[name])[0])}" for name in names if name in histogram)


def _start(attempts: list[Attempt]) -> datetime | None:
    times = (local_time(attempt.get("start")) for attempt in attempts)
    return next((time for time in times if time is not None), None)


def _duration_s(attempts: list[Attempt], last_time: str) -> float:
    """Returns what was recorded, and of an attempt without an end how long it has logged."""
    recorded_s = 0.0
    for attempt in attempts:
        seconds = attempt.get("elapsed_time_s")
        if isinstance(seconds, int | float) and math.isfinite(seconds):
            recorded_s = float(seconds)
    start = local_time(attempts[-1].get("start")) if attempts else None
    end = local_time(last_time)
    if start is None or end is None or attempts[-1].get("end") is not None:
        return recorded_s
    return recorded_s + max(0.0, (end - start).total_seconds())
