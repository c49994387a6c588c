"""Windows of mean, sum, min, max and last: one number out of many steps.

A number of an accelerator is accumulated there, so nothing waits for it; on the
CPU the sums are Python floats, 64 bits wide. NaN makes mean, sum, min and max NaN.
"""

import math
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from ml.core.state import State

if TYPE_CHECKING:
    from torch import Tensor

    Number = int | float | Tensor

Reduce = Literal["last", "mean", "sum", "min", "max"]
REDUCES: tuple[Reduce, ...] = get_args(Reduce)

AcrossRanks = Literal["mean", "sum", "min", "max"]
ACROSS_RANKS: tuple[AcrossRanks, ...] = get_args(AcrossRanks)


class ReduceOptions(NamedTuple):
    """How a scalar is reduced over its window, where ``None`` is the phase's default, and over ranks, if at all."""

    reduce: Reduce | None = None
    weight: object = 1.0
    across_ranks: AcrossRanks | None = None


class Reduction:
    """One key's numbers of one window.

    Attributes:
        reduce: What it makes of them.
        state: The state of the last contribution.
        is_open: Whether something was added since the result was last taken.
    """

    __slots__ = ("_total", "_weight", "is_open", "reduce", "state")

    def __init__(self, reduce: Reduce) -> None:
        self.reduce = reduce
        self._total: Number | None = None
        self._weight: Number = 0.0
        self.is_open = False
        self.state = State()

    def add(self, number: "Number", weight: "Number", state: State) -> None:
        """Takes one more number, of the step ``state``; ``weight`` counts in a mean only."""
        self.merge(number * weight if self.reduce == "mean" else number, weight, state)

    def merge(self, total: "Number", weight: "Number", state: State) -> None:
        """Takes what ``partial`` of another reduction gave, which ended with the step ``state``."""
        if self._total is not None:
            total = self._joined(self._total, total)
        # All at once, and last: what fails or is interrupted before leaves the window as it was.
        self._total, self._weight, self.state, self.is_open = total, self._weight + weight, state, True

    def partial(self) -> "tuple[Number, Number]":
        """Returns what the numbers so far come to, and their weight: what ``merge`` takes."""
        assert self._total is not None, "nothing was added"
        return self._total, self._weight

    def take(self) -> "Number":
        """Returns the reduced number, a tensor if a tensor was added; the window goes on."""
        self.is_open = False
        assert self._total is not None, "nothing was added"
        if self.reduce != "mean":
            return self._total
        if isinstance(self._weight, (int, float)) and not self._weight:
            return math.nan
        return self._total / self._weight

    def _joined(self, total: "Number", other: "Number") -> "Number":
        match self.reduce:
            case "last":
                return other
            case "mean" | "sum":
                return total + other
            case "min":
                return _least(total, other)
            case "max":
                return _greatest(total, other)


def _least(first: "Number", second: "Number") -> "Number":
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return first if first <= second or first != first else second
    return _tensor(first, second).minimum(_tensor(second, first))


def _greatest(first: "Number", second: "Number") -> "Number":
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return first if first >= second or first != first else second
    return _tensor(first, second).maximum(_tensor(second, first))


def _tensor(number: "Number", like: "Number") -> "Tensor":
    if isinstance(number, (int, float)):
        assert not isinstance(like, (int, float))
        return like.new_tensor(number)
    return number
