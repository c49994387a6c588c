"""Reads ``log.jsonl``, and the files that it goes on in, back: the values that count, of one kind.

A run that was resumed went over some steps twice. Of an earlier attempt, training
values at or after the first training step of a later one are left out, and values
of a validation or test pass at or after that step or the later attempt's first
such pass. So a run has one curve.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

from ml.core.state import PHASES, Phase
from ml.io.segments import whole_lines

LOG_FILE = "json/log.jsonl"
"""Where a run has its log, unless its JSON backend has another id."""

_log = logging.getLogger("ml")


class Logged(NamedTuple):
    """A value as the log has it.

    Attributes:
        phase: What was running.
        step: Training step that logged it.
        epoch: Finished epochs then.
        key: ``<namespace>/<key>``.
        value: A number, a text, or the path of a file relative to the log's folder.
        time: Wall clock then, with its time zone.
        attempt: The attempt that logged it.
    """

    phase: Phase
    step: int
    epoch: int
    key: str
    value: float | str
    time: datetime
    attempt: int


Reader = Callable[[object], list[float] | list[str]]


def log_of(run: Path) -> Path:
    """Returns the log of a run: ``json/log.jsonl``, else that of the first JSON backend with another id."""
    usual = run / LOG_FILE
    return usual if usual.exists() else min(run.glob("*/log.jsonl"), default=usual)


def read_log(path: Path, section: str, key: str | None, read: Reader) -> list[Logged]:
    """Returns the values of a kind that no later attempt went over again.

    The log may be growing: a last line without its end is left alone. Lines that
    are damaged are left out, and counted in a warning.

    Args:
        path: The log. One that is not there is empty, and warned about.
        section: The kind, as a line names it: ``"scalars"``.
        key: ``<namespace>/<key>``; ``None`` is all.
        read: Turns what a line has under a key into values: ``numbers``, ``texts``, ``image_paths``.

    Returns:
        Values by step; those of one step as the log has them.

    Raises:
        OSError: The log cannot be read.
    """
    values: list[Logged] = []
    first_steps: dict[tuple[int, Phase], int] = {}
    damaged, first_damage = 0, ""
    if not path.exists():
        _log.warning("There is no %s: the run has no JSON backend, or has logged nothing yet.", path)
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            found = _parsed(line, section, key, read)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            damaged += 1
            first_damage = first_damage or f"line {number}: {error!r}"
            continue
        values.extend(found.values)
        place = (found.attempt, found.phase)
        first_steps[place] = min(found.step, first_steps.get(place, found.step))
    if damaged:
        _log.warning("%d lines of %s cannot be read and are left out; the first is %s.", damaged, path, first_damage)
    overtaken = overtaken_from(first_steps)
    kept = [value for value in values if value.step < overtaken[value.attempt, value.phase]]
    return sorted(kept, key=lambda value: (value.step, value.attempt))


def entry_of(line: bytes) -> dict[str, Any]:
    """Returns a line of the log: strict JSON, with the state of a run.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: It is something else.
    """
    entry: dict[str, Any] = json.loads(line, parse_constant=_refuse_constant)
    attempt, phase, step, epoch = entry["attempt"], entry["phase"], entry["step"], entry["epoch"]
    datetime.fromisoformat(entry["time"])
    counts = (attempt, step, epoch)
    if phase not in PHASES or not all(isinstance(count, int) and abs(count) < 2**63 for count in counts):
        raise ValueError(f"no state of a run: {attempt=}, {phase=}, {step=}, {epoch=}")
    return entry


def last_of_a_step(values: Iterable[Logged]) -> list[Logged]:
    """Returns the values without those that a later one of the same attempt, phase, step and key replaces."""
    return list({(value.attempt, value.phase, value.step, value.key): value for value in values}.values())


def numbers(value: object) -> list[float]:
    """Reads a number, or one that JSON lacks, as text."""
    if not isinstance(value, int | float | str):
        raise TypeError(f"no number: {value!r}")
    try:
        return [float(value)]
    except OverflowError:  # a whole number beyond what a float can hold
        return [-math.inf if str(value).startswith("-") else math.inf]


def texts(value: object) -> list[str]:
    """Reads a text, or several of one step."""
    listed = value if isinstance(value, list) else [value]
    found = [text for text in listed if isinstance(text, str)]
    if len(found) < len(listed):
        raise TypeError(f"no text: {value!r}")
    return found


def image_paths(value: object) -> list[str]:
    """Reads the path of a picture; it does not leave the log's folder."""
    path = PurePosixPath(value["path"]) if isinstance(value, dict) else PurePosixPath("/")
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"no path of a picture of this run: {value!r}")
    return [str(path)]


class _Line(NamedTuple):
    """What is asked for of one line of the log."""

    attempt: int
    phase: Phase
    step: int
    values: list[Logged]


def _parsed(line: bytes, section: str, key: str | None, read: Reader) -> _Line:
    entry = entry_of(line)
    attempt, phase, step = entry["attempt"], entry["phase"], entry["step"]
    logged = entry.get(section, {})
    if key is not None:
        logged = {key: logged[key]} if key in logged else {}
    epoch, time = entry["epoch"], datetime.fromisoformat(entry["time"])
    values = [Logged(phase, step, epoch, name, value, time, attempt) for name in logged for value in read(logged[name])]
    return _Line(attempt, phase, step, values)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


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
