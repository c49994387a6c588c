"""Two benchmarks against each other: how many times as much the second one costs, and how sure that is.

::

    for one in compare(before, after):
        print(one.description, one.ratio, one.low, one.high, one.verdict)

``before`` and ``after`` hold the numbers of each call by what they are of. The ratio is that of the medians, with the
interval that 95 of 100 bootstrap samples lie in. The draws have a generator of their own, so the same numbers always
give the same interval, and nobody else's random numbers change.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["better", "worse", "same", "changed", "too few", "incomparable"]
Direction = Literal["lower", "higher"]

RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_CALLS = 5
"""Of fewer calls no interval is told: the median of four is as good as anywhere between them."""

_SEED = 20231
_BETTER: dict[str, Direction] = {
    "time": "lower",
    "latency": "lower",
    "throughput": "higher",
    "memory": "lower",
    "energy": "lower",
    "power": "lower",
    "gpu_memory": "lower",
    "gpu_power": "lower",
    "gpu_energy": "lower",
    "gpu_time": "lower",
    "loss": "lower",
    "tta": "higher",
    "timed_tta": "lower",
    "accuracy": "higher",
}


class Group(NamedTuple):
    """What numbers are of: only like is compared with like.

    Attributes:
        type: What was measured.
        description: What the user called it.
        unit: Of the numbers.
        method: The function; ``""`` where it is not told apart.
        source: Where they come from: what was counted is not compared with what was estimated.
    """

    type: str
    description: str
    unit: str
    method: str = ""
    source: str = ""


class Comparison(NamedTuple):
    """What came of one group.

    Attributes:
        group: What the numbers are of.
        count_before, count_after: Of how many calls; 0 where one of them has none.
        before, after: Their medians; NaN of none.
        ratio: ``after / before``; NaN where it means nothing: there is none, or they have different signs.
        low, high: Its interval; NaN where there are too few calls.
        verdict: ``same`` if the interval holds 1; ``changed`` where neither more nor less is better.
    """

    group: Group
    count_before: int
    count_after: int
    before: float
    after: float
    ratio: float
    low: float
    high: float
    verdict: Verdict

    def is_regression(self, factor: float) -> bool:
        """Whether it is worse by more than ``factor``.

        It is not if the interval holds 1. Of too few calls for an interval the ratio alone decides.

        Args:
            factor: 1.1 is 10 % more of what should be little, or ``1 / 1.1`` of what should be much.
        """
        better = direction(self.group.type)
        if better is None or self.verdict not in ("worse", "too few"):
            return False
        return self.ratio > factor if better == "lower" else self.ratio * factor < 1


def direction(type_: str) -> Direction | None:
    """Returns which of two numbers is better; ``None`` where neither is: of CPU, for example.

    ``latency_p95`` and ``energy/dram`` are as ``latency`` and ``energy``.
    """
    beginnings = [type_, *(type_[: match.start()] for match in reversed(list(re.finditer("[_/]", type_))))]
    return next((_BETTER[name] for name in beginnings if name in _BETTER), None)


def compare(before: Mapping[Group, Sequence[float]], after: Mapping[Group, Sequence[float]]) -> list[Comparison]:
    """Compares group by group, those of both in their order, then those of one alone.

    A method that is the only one of its kind on either side is compared with the other's only one, whatever their
    names: two implementations, or one that was renamed. The group is then of both: ``old -> new``.

    Args:
        before: The numbers of each group; what is not finite is left out.
        after: The same of the other one.
    """
    renamed = _renamed(before, after)
    before = {renamed.get(group, group): numbers for group, numbers in before.items()}
    after = {renamed.get(group, group): numbers for group, numbers in after.items()}
    both = [group for group in before if group in after]
    alone = [group for group in (*before, *after) if group not in both]
    return [_compared(group, before.get(group, ()), after.get(group, ())) for group in (*both, *alone)]


def bootstrap_medians(values: Sequence[float], generator: np.random.Generator, count: int = RESAMPLES) -> np.ndarray:
    """Draws the medians of ``count`` samples with replacement, each as large as ``values``.

    The middle of N draws is drawn itself, not the N draws: where it lies among the sorted values has a beta
    distribution. So a million values cost no more than ten.

    Args:
        values: Shape (N,), N >= 1, finite.
        generator: What is drawn from.
        count: How many.

    Returns:
        Shape (count,).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    size = len(ordered)
    lower = (size + 1) // 2  # the rank of the middle, or of the lower of both
    share = generator.beta(lower, size + 1 - lower, count)
    medians = ordered[_index(share, size)]
    if size % 2 == 0:  # the next one is the least of those draws that are above
        share = share + (1 - share) * generator.beta(1, size - lower, count)
        medians = medians / 2 + ordered[_index(share, size)] / 2
    return np.asarray(medians)


def _renamed(before: Iterable[Group], after: Iterable[Group]) -> dict[Group, Group]:
    """Returns what groups are called that differ by the method alone, and are the only ones of their kind."""
    sides: list[dict[Group, list[Group]]] = []
    for groups in (before, after):
        kinds: dict[Group, list[Group]] = {}
        for group in groups:
            kinds.setdefault(group._replace(method=""), []).append(group)
        sides.append(kinds)
    names: dict[Group, Group] = {}
    for kind in sides[0].keys() & sides[1].keys():
        if len(sides[0][kind]) == len(sides[1][kind]) == 1:
            (old,), (new,) = sides[0][kind], sides[1][kind]
            if old != new:
                names[old] = names[new] = kind._replace(method=f"{old.method} -> {new.method}")
    return names


def _index(share: np.ndarray, size: int) -> np.ndarray:
    return np.minimum((share * size).astype(np.int64), size - 1)


def _compared(group: Group, before: Sequence[float], after: Sequence[float]) -> Comparison:
    first, second = _finite(before), _finite(after)
    middle_before, middle_after = _median(first), _median(second)
    ratio = _ratio(middle_before, middle_after)
    low = high = math.nan
    if math.isnan(ratio):
        verdict: Verdict = "incomparable"
    elif min(len(first), len(second)) < MIN_CALLS:
        verdict = "too few"
    else:
        low, high = _interval(first, second)
        verdict = _verdict(direction(group.type), low, high)
    return Comparison(group, len(first), len(second), middle_before, middle_after, ratio, low, high, verdict)


def _interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    generator = np.random.default_rng(_SEED)
    with np.errstate(over="ignore"):  # near the end of what a float can hold
        under, over = bootstrap_medians(before, generator), bootstrap_medians(after, generator)
        ratios = np.full(len(over), np.inf)
        np.divide(over, under, out=ratios, where=under != 0)
    ratios[(under == 0) & (over == 0)] = 1.0
    tail = (1 - CONFIDENCE) / 2
    # An order statistic, not something between two: half of infinity is no number.
    low, high = np.quantile(ratios, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _verdict(better: Direction | None, low: float, high: float) -> Verdict:
    if low <= 1 <= high:
        return "same"
    if better is None:
        return "changed"
    return "worse" if (low > 1) == (better == "lower") else "better"


def _ratio(before: float, after: float) -> float:
    if before == after:
        return 1.0
    if math.isnan(before + after) or before < 0 or after < 0:
        return math.nan
    return after / before if before else math.inf


def _finite(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def _median(values: Sequence[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    if not ordered:
        return math.nan
    # Halves, since the sum of two may be more than a float can hold.
    return ordered[middle] if len(ordered) % 2 else ordered[middle - 1] / 2 + ordered[middle] / 2
