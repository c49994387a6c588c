r"""What one rank gives to values that are reduced over all ranks, as messages; and what all of theirs come to.

A message is one line of JSON: for each step that the rank has numbers of its state, its series, and their weights and
totals, in the order of the series. These are a text of their own, which is mostly the same on all ranks and read once::

    [[["train", 0, 120, ...], "[[\"model\", \"loss\", \"mean\"], ...]", [32.0, ...], [12.5, ...]]]

So a thousand ranks' numbers are added column by column, in C. Non-finite ones are those of Python's ``json``.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ml.core.state import State, normalized
from ml.loggers.device import DeviceScalar
from ml.loggers.reduce import ACROSS_RANKS, AcrossRanks, Reduction

if TYPE_CHECKING:
    Number = int | float | DeviceScalar

_Series = tuple[str, str, AcrossRanks]


class Share(NamedTuple):
    """One rank's part of one value; see ``Reduction.partial``."""

    namespace: str
    key: str
    across_ranks: AcrossRanks
    weight: "Number"
    total: "Number"


class Merged(NamedTuple):
    """A value over several ranks.

    Attributes:
        state: Of the step or pass that it belongs to; the primary rank's, if it gave anything of it.
        namespace: Of the series.
        key: Of the series.
        value: What the parts come to.
        num_ranks: How many parts there were.
    """

    state: State
    namespace: str
    key: str
    value: int | float
    num_ranks: int


class _Column(NamedTuple):
    """What some ranks gave to one series and step."""

    across_ranks: AcrossRanks
    num_ranks: int
    weight: float
    total: float


class _Step(NamedTuple):
    """What one rank gave of one step."""

    state: State
    series: str
    weights: list[float]
    totals: list[float]


def encode(shares: Mapping[State, Sequence[Share]]) -> str:
    """Returns a message; waits for numbers that are on their way from an accelerator."""
    return json.dumps(
        [
            [
                state,
                json.dumps([share[:3] for share in of_step]),
                [_arrived(share.weight) for share in of_step],
                [_arrived(share.total) for share in of_step],
            ]
            for state, of_step in shares.items()
        ]
    )


def joined(first: str | None, second: str) -> str:
    """Returns one message with what two of the same rank hold, the first perhaps nothing."""
    try:
        return second if first is None else json.dumps(json.loads(first) + json.loads(second))
    except (ValueError, TypeError):
        return second


def merge(messages: Mapping[int, str], primary_rank: int, breathe: Callable[[], None]) -> list[Merged]:
    """Returns the values that the messages of several ranks hold the parts of.

    Parts belong together when series and step agree. Where ranks gave different steps of a series, the one that most
    of them gave is taken, of several the last.

    Args:
        messages: By rank. One that cannot be read counts as one that did not come.
        primary_rank: Whose states are taken.
        breathe: Called now and then: lets other threads have the interpreter.
    """
    states: dict[int, State] = {}
    given: dict[tuple[int, str], list[_Step]] = {}
    known: dict[str, list[_Series]] = {}
    for rank in sorted(messages, key=lambda rank: (rank != primary_rank, rank)):
        for step in _decoded(messages[rank], known):
            states.setdefault(step.state.num_steps, step.state)  # one for all ranks, whose clocks differ
            given.setdefault((step.state.num_steps, step.series), []).append(step)
        breathe()
    columns: dict[tuple[str, str], dict[int, list[_Column]]] = {}
    for (number, series), steps in given.items():
        weights = zip(*[step.weights for step in steps], strict=True)
        totals = zip(*[step.totals for step in steps], strict=True)
        for (namespace, key, across_ranks), of_ranks, total in zip(known[series], weights, totals, strict=True):
            column = _Column(across_ranks, len(steps), sum(of_ranks), _total(across_ranks, total))
            columns.setdefault((namespace, key), {}).setdefault(number, []).append(column)
        breathe()
    return [_merged(*series, by_step, states) for series, by_step in columns.items()]


def _merged(namespace: str, key: str, by_step: dict[int, list[_Column]], states: dict[int, State]) -> Merged:
    step = max(by_step, key=lambda step: (sum(column.num_ranks for column in by_step[step]), step))
    reduction, num_ranks = Reduction(by_step[step][0].across_ranks), 0
    for column in by_step[step]:
        if column.across_ranks == reduction.reduce:
            reduction.merge(column.total, column.weight, states[step])
            num_ranks += column.num_ranks
    value = reduction.take()
    assert isinstance(value, int | float), "messages hold plain numbers"
    return Merged(states[step], namespace, key, value, num_ranks)


def _total(across_ranks: AcrossRanks, totals: Sequence[float]) -> float:
    if across_ranks in ("mean", "sum"):
        return sum(totals)
    if any(map(math.isnan, totals)):
        return math.nan
    return min(totals) if across_ranks == "min" else max(totals)


def _decoded(message: str, known: dict[str, list[_Series]]) -> list[_Step]:
    """Returns the steps of a message, none if it cannot be read; ``known`` are the series that were read before."""
    try:
        return [_checked(_Step(normalized(State(*state)), *rest), known) for state, *rest in json.loads(message)]
    except (ValueError, TypeError):  # of another version of this package, or cut short
        return []


def _checked(step: _Step, known: dict[str, list[_Series]]) -> _Step:
    if step.series not in known:
        series = [(str(namespace), str(key), across_ranks) for namespace, key, across_ranks in json.loads(step.series)]
        if not {across_ranks for _, _, across_ranks in series} <= set(ACROSS_RANKS):
            raise ValueError(f"unknown reductions in {step.series[:200]}")
        known[step.series] = series
    types = {*map(type, step.weights), *map(type, step.totals)}
    if not len(step.weights) == len(step.totals) == len(known[step.series]) or not types <= {int, float}:
        raise ValueError(f"no weights and totals of {step.series[:200]}")
    return step


def _arrived(number: "Number") -> int | float:
    return number.arrived() if isinstance(number, DeviceScalar) else number
