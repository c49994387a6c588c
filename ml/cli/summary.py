"""What a run came to: its curves and what else it logged, from its JSON lines, else from its journal."""

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from ml.cli.liveness import status_of
from ml.cli.numbers import compact
from ml.cli.series import Curves, Series, SeriesKey
from ml.io.runrecord import from_timestamp
from ml.io.segments import segments
from ml.loggers.kinds import KINDS, SCALAR, Kind
from ml.loggers.places import curves_of
from ml.loggers.sources import Problem, Written, written
from ml.loggers.stored import File
from ml.loggers.strict_json import real
from ml.loggers.values import series_path
from ml.media.histogram import Histogram
from ml.reading import Run

_log = logging.getLogger("ml")

Attempt = Mapping[str, object]
"""What a ``run.json`` holds."""

_MAX_TEXT_LENGTH = 200  # characters of a text that are kept to be shown
_OTHERS = tuple(kind for kind in KINDS if kind is not SCALAR)


class Summary(NamedTuple):
    """What a run came to.

    Attributes:
        status: As ``liveness.status_of`` says it.
        start: Of the first attempt, in local time; ``None`` if it is not known.
        duration_s: Seconds of training, all attempts together.
        steps: Training steps; ``None`` if there are neither JSON lines nor a journal.
        attempts: Their records, the first start first.
        scalars: The curves, by phase and then in the order in which their keys came.
        others: By kind: texts, and of media where they lie.
    """

    status: str
    start: datetime | None
    duration_s: float
    steps: int | None
    attempts: list[Attempt]
    scalars: dict[SeriesKey, Series[float]]
    others: dict[Kind, dict[SeriesKey, Series[str]]]


def summarize(run: Run) -> Summary:
    """Reads a run. What is damaged in its log is left out, and counted in a warning.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    source = curves_of(run.path)
    curves, last_time_s, damaged = Curves(), 0.0, 0
    for found in written(source):
        if isinstance(found, Written):
            _take(found, curves)
            last_time_s = max(last_time_s, found.state.time_s)
        elif isinstance(found, Problem):
            damaged += found.is_damage
    if damaged:
        _log.warning("%d records of %s cannot be read and are left out: see mlog fsck.", damaged, run.path)
    attempts: list[Attempt] = list(run.attempts)
    return Summary(
        status=status_of(run),
        start=_start(attempts),
        duration_s=_duration_s(attempts, last_time_s),
        steps=curves.steps if source.is_dir() or segments(source) else None,
        attempts=attempts,
        scalars=curves.scalars(),
        others=curves.others(_OTHERS),
    )


def local_time(timestamp: object) -> datetime | None:
    """Returns the time that a ``run.json`` tells, in this machine's time zone; ``None`` where it tells none."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(from_timestamp(str(timestamp)), UTC).astimezone()
    return None


def _take(found: Written, curves: Curves) -> None:
    attempt, phase, step = found.attempt, found.state.phase, found.state.num_steps
    curves.reach(attempt, phase, step)
    for kind, namespace, name, value in found.rows:
        key = series_path(namespace, name)
        if isinstance(value, int | float):
            curves.add_scalar(attempt, phase, step, key, real(value))
        else:
            curves.add_other(kind, attempt, phase, step, key, _shown(value)[:_MAX_TEXT_LENGTH])


def _shown(value: str | File | Histogram) -> str:
    if isinstance(value, Histogram):
        return "  ".join(f"{name} {compact(real(getattr(value, name)))}" for name in ("count", "min", "mean", "max"))
    if isinstance(value, File):
        return value.path or f"{value.form} {value.about.get('shape', '')} in the journal"
    return value


def _start(attempts: list[Attempt]) -> datetime | None:
    times = (local_time(attempt.get("start")) for attempt in attempts)
    return next((time for time in times if time is not None), None)


def _duration_s(attempts: list[Attempt], last_time_s: float) -> float:
    """Returns what was recorded, and of an attempt without an end how long it has logged."""
    recorded_s = 0.0
    for attempt in attempts:
        seconds = attempt.get("elapsed_time_s")
        if isinstance(seconds, int | float) and math.isfinite(seconds):
            recorded_s = float(seconds)
    start = local_time(attempts[-1].get("start")) if attempts else None
    if start is None or not last_time_s or attempts[-1].get("end") is not None:
        return recorded_s
    return recorded_s + max(0.0, last_time_s - start.timestamp())
