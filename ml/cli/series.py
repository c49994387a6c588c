"""The curves of a run, gathered line by line from its log.

Numbers are kept as plain arrays, 16 bytes a value, so a run of 10^7 values fits
into memory. What a later attempt went over again is left out, as ``ml.open_run``
does it.
"""

import math
from array import array
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from fnmatch import fnmatchcase
from typing import Generic, NamedTuple, TypeVar

from ml.core.state import PHASES, Phase
from ml.loggers.history import overtaken_from
from ml.loggers.kinds import STRING, Kind

ValueT = TypeVar("ValueT")


class SeriesKey(NamedTuple):
    """One key has a curve in each phase."""

    phase: Phase
    key: str

    def matches(self, pattern: str | None) -> bool:
        """Returns whether a glob matches the key ``<namespace>/<key>``; ``None`` matches all."""
        return pattern is None or fnmatchcase(self.key, pattern)


class Series(Generic[ValueT]):
    """The values of one key in one phase, by step: at most one a step, but of texts all."""

    def __init__(self, values: MutableSequence[ValueT]) -> None:
        self.steps, self.values = array("q"), values

    def add(self, step: int, value: ValueT, *, replaces: bool) -> None:
        """Takes a value; ``replaces`` says whether one of the same step before it counts no more."""
        if replaces and self.steps and self.steps[-1] == step:
            self.values[-1] = value
        else:
            self.steps.append(step)
            self.values.append(value)

    def extend(self, later: "Series[ValueT]", before: float) -> None:
        """Takes those values of a later attempt that are of steps ``before`` a limit."""
        for step, value in zip(later.steps, later.values, strict=True):
            if step < before:
                self.add(step, value, replaces=False)


_OfAttempt = tuple[int, Phase, str]  # an attempt, a phase and a key: plain, since there is one a value


class Curves:
    """What the lines of a log held so far, each attempt apart from the others."""

    def __init__(self) -> None:
        self._scalars: dict[_OfAttempt, Series[float]] = {}
        self._others: dict[Kind, dict[_OfAttempt, Series[str]]] = {}
        self._first_steps: dict[tuple[int, Phase], int] = {}
        self._last_steps: dict[int, int] = {}

    @property
    def steps(self) -> int:
        """How far the last attempt came, in training steps."""
        return self._last_steps[max(self._last_steps)] if self._last_steps else 0

    def reach(self, attempt: int, phase: Phase, step: int) -> None:
        """Notes that an attempt wrote something at a step."""
        place = (attempt, phase)
        self._first_steps[place] = min(step, self._first_steps.get(place, step))
        self._last_steps[attempt] = max(step, self._last_steps.get(attempt, step))

    def add_scalar(self, attempt: int, phase: Phase, step: int, key: str, number: float) -> None:
        """Takes a number."""
        series = self._scalars.get((attempt, phase, key))
        if series is None:
            series = self._scalars[attempt, phase, key] = Series(array("d"))
        series.add(step, number, replaces=True)

    def add_other(self, kind: Kind, attempt: int, phase: Phase, step: int, key: str, shown: str) -> None:
        """Takes what is shown of a value of another kind: of one step several texts, or one medium."""
        series = self._others.setdefault(kind, {}).setdefault((attempt, phase, key), Series([]))
        series.add(step, shown, replaces=kind is not STRING)

    def scalars(self) -> dict[SeriesKey, Series[float]]:
        """Returns the curves that count, by phase and then in the order in which their keys came."""
        return self._merged(self._scalars)

    def others(self, kinds: Sequence[Kind]) -> dict[Kind, dict[SeriesKey, Series[str]]]:
        """Returns the same of other kinds, in the order that is given."""
        return {kind: self._merged(self._others[kind]) for kind in kinds if kind in self._others}

    def _merged(self, found: Mapping[_OfAttempt, Series[ValueT]]) -> dict[SeriesKey, Series[ValueT]]:
        limits = overtaken_from(self._first_steps)
        attempts: dict[SeriesKey, list[int]] = {}
        for attempt, phase, key in found:
            attempts.setdefault(SeriesKey(phase, key), []).append(attempt)
        merged = {}
        for name in sorted(attempts, key=lambda name: PHASES.index(name.phase)):  # keys stay in their order
            phase, key = name
            first, *later = sorted(attempts[name])
            whole = Series(found[first, phase, key].values[:0])
            for attempt in (first, *later):
                whole.extend(found[attempt, phase, key], limits[attempt, phase])
            if whole.steps:
                merged[name] = whole
        return merged


def extremes(values: Iterable[float]) -> tuple[float, float]:
    """Returns the smallest and the largest number; NaN if there is none."""
    comparable = [value for value in values if not math.isnan(value)]
    return min(comparable, default=math.nan), max(comparable, default=math.nan)
