"""The values of a run that count, of one kind.

A run that was resumed went over some steps twice. Of an earlier attempt, training
values at or after the first training step of a later one are left out, and values
of a validation or test pass at or after that step or the later attempt's first
such pass. So a run has one curve.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import FormatError
from ml.core.state import PHASES, Phase
from ml.loggers.kinds import STRING, Kind
from ml.loggers.places import LOG
from ml.loggers.sources import Problem, Written, text_of, written
from ml.loggers.stored import File
from ml.loggers.strict_json import real
from ml.loggers.values import series_path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger("ml")


class Logged(NamedTuple):
    """A value as a run has it.

    Attributes:
        phase: What was running.
        step: Training step that logged it.
        epoch: Finished epochs then.
        key: ``<namespace>/<key>``.
        value: A number, a text, or the path of a file relative to the log's folder.
        time: Wall clock then, UTC.
        attempt: The attempt that logged it.
    """

    phase: Phase
    step: int
    epoch: int
    key: str
    value: float | str
    time: datetime
    attempt: int


def read_values(source: Path, kind: Kind, key: str | None = None) -> list[Logged]:
    """Returns the values of a kind that no later attempt went over again.

    The source may be growing: a last record without its end is left alone. What is
    damaged is left out, and counted in a warning.

    Args:
        source: A log, or the folder of a journal. One that is not there is empty, and warned about.
        kind: A number, a text, or one that has files.
        key: ``<namespace>/<key>``; ``None`` is all.

    Returns:
        Values by step; those of one step as the source has them.

    Raises:
        OSError: The source cannot be read.
    """
    values: list[Logged] = []
    first_steps: dict[tuple[int, Phase], int] = {}
    damaged: list[str] = []
    if not source.exists():
        events = source.parent.parent / "tensorboard"
        cure = f" What is in {events} is read by: mlog import {source.parent.parent} DIR." if events.is_dir() else ""
        _log.warning("There is no %s: the run has no JSON backend, or has logged nothing yet.%s", source, cure)
    folder = source.parent if source.name == LOG else source
    for found in written(source):
        if isinstance(found, Problem):
            damaged += [found.text] * found.is_damage
        elif isinstance(found, Written):
            try:
                values += _logged(found, kind, key, folder)
            except (OSError, FormatError) as error:
                damaged.append(str(error))
                continue
            place = (found.attempt, found.state.phase)
            first_steps[place] = min(found.state.num_steps, first_steps.get(place, found.state.num_steps))
    if damaged:
        what = "lines" if source.name == LOG else "records"
        _log.warning("%d %s of %s cannot be read and are left out. %s", len(damaged), what, source, damaged[0])
    overtaken = overtaken_from(first_steps)
    kept = [value for value in values if value.step < overtaken[value.attempt, value.phase]]
    return sorted(kept, key=lambda value: (value.step, value.attempt))


def last_of_a_step(values: Iterable[Logged]) -> list[Logged]:
    """Returns the values without those that a later one of the same attempt, phase, step and key replaces."""
    return list({(value.attempt, value.phase, value.step, value.key): value for value in values}.values())


def overtaken_from(first_steps: Mapping[tuple[int, Phase], int]) -> dict[tuple[int, Phase], float]:
    """Returns for each attempt and phase the first step that a later attempt went over again.

    Training overtakes every phase: a validation pass of weights that were thrown
    away counts no more, even before the next pass. A pass overtakes its own phase
    alone, so evaluating a run again leaves its training curve as it was.
    """
    overtaken = {}
    for phase in PHASES:
        limit = math.inf
        for attempt in sorted({attempt for attempt, _ in first_steps}, reverse=True):
            overtaken[attempt, phase] = limit
            limit = min(limit, *(first_steps.get((attempt, by), math.inf) for by in ("train", phase)))
    return overtaken


def _logged(found: Written, kind: Kind, key: str | None, folder: Path) -> list[Logged]:
    rows = [
        (series_path(namespace, name), value)
        for of, namespace, name, value in found.rows
        if of is kind and (key is None or (key.endswith(name) and key == series_path(namespace, name)))
    ]
    if not rows:
        return []
    state = found.state
    time = _EPOCH + timedelta(seconds=state.time_s)
    return [
        Logged(state.phase, state.num_steps, state.num_epochs, name, _shown(value, kind, folder), time, found.attempt)
        for name, value in rows
    ]


def _shown(value: object, kind: Kind, folder: Path) -> float | str:
    if isinstance(value, int | float):
        return real(value)
    return value.path if isinstance(value, File) and kind is not STRING else text_of(value, folder)
