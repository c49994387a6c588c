"""Compares two versions of predictions, sample by sample.

::

    before, after = (artifacts.get(f"val_pred:{alias}").table() for alias in ("epoch_3", "epoch_4"))
    comparison = compare(Samples(before), Samples(after), by=["width"])
    comparison.counts["right to wrong"]
    comparison.change                 # of the accuracy; of mean average precision, where boxes were predicted

Samples are the same where their keys are. All figures are of the samples that both versions have and whose truth both
know; the others are counted, and named.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from ml.core.errors import ConfigError
from ml.evaluation.judging import Class, Classification, Detection, Figure, Judge, Pair, ordered
from ml.evaluation.samples import RoleError, Samples
from ml.evaluation.slices import BINS, slices

Change: TypeAlias = Literal["right to wrong", "wrong to right", "still wrong", "still right"]
CHANGES: Final[tuple[Change, ...]] = get_args(Change)

_ABSENT = Figure(math.nan, 0)


class SampleChange(NamedTuple):
    """What became of a sample that both versions have.

    Attributes:
        key: Of the sample.
        row_before, row_after: Where it is in both tables.
        change: What became of it.
    """

    key: Hashable
    row_before: int
    row_after: int
    change: Change


class ClassChange(NamedTuple):
    """How well a class was predicted and is predicted: its figure is NaN where there is none of it.

    Attributes:
        name: Of the class.
        before, after: Figure and count.
    """

    name: Class
    before: Figure
    after: Figure

    @property
    def change(self) -> float:
        """What was gained; NaN where there was none of the class, or is none now."""
        return self.after.value - self.before.value


class ConfusionChange(NamedTuple):
    """How often a class was taken for another one, or for itself.

    Attributes:
        truth: The class; ``None``: there is nothing.
        predicted: What it was taken for; ``None``: it was not found.
        before, after: How often.
    """

    truth: Class | None
    predicted: Class | None
    before: int
    after: int

    @property
    def change(self) -> int:
        """How much more often it happens."""
        return self.after - self.before


class SliceChange(NamedTuple):
    """How a part of the samples was predicted and is predicted.

    Attributes:
        column: That they are told by; where versions differ in it, the values of the first count.
        name: What they have in common.
        samples: How many they are.
        before, after: The figure; NaN where there is nothing to find.
        counts: How many changed how.
    """

    column: str
    name: str
    samples: int
    before: float
    after: float
    counts: Mapping[Change, int]

    @property
    def change(self) -> float:
        """What was gained."""
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """What changed from one version to another.

    Attributes:
        before, after: What they compare.
        judge: Who says what is right.
        samples: Of which all figures are: those in both versions whose truth both know, in the order of the first.
        only_before, only_after: Keys of the samples that the other one lacks.
        unjudged: Keys of those in both whose truth one does not know.
        relabelled: Keys of those whose truth is another in each; each version is judged by its own.
        value_before, value_after: The figure, such as the accuracy; NaN where there is nothing to judge.
        classes: Of each class, in order.
        confusion: What was ever taken for what, in order.
        slices: Of each column that was asked for, in order.
    """

    before: Samples
    after: Samples
    judge: Judge
    samples: tuple[SampleChange, ...]
    only_before: tuple[Hashable, ...]
    only_after: tuple[Hashable, ...]
    unjudged: tuple[Hashable, ...]
    relabelled: tuple[Hashable, ...]
    value_before: float
    value_after: float
    classes: tuple[ClassChange, ...]
    confusion: tuple[ConfusionChange, ...]
    slices: tuple[SliceChange, ...]

    @property
    def change(self) -> float:
        """What was gained of the figure."""
        return self.value_after - self.value_before

    @property
    def counts(self) -> dict[Change, int]:
        """How many samples changed how."""
        return _counts(self.samples)

    def is_worse(self, by: float) -> bool:
        """Whether the figure fell by more than ``by``, or the second version lacks samples that the first one has."""
        fell = not math.isnan(self.value_before) and not self.value_after >= self.value_before - by
        return fell or bool(self.only_before)


def compare(
    before: Samples, after: Samples, *, judge: Judge | None = None, by: Sequence[str] = (), bins: int = BINS
) -> Comparison:
    """Compares two versions.

    Args:
        before: The one.
        after: The other.
        judge: Says what is right; ``None``: ``Classification()``, or ``Detection()`` where boxes were predicted.
        by: Columns whose slices are compared too; see ``ml.evaluation.slices``.
        bins: Into which numbers are put.

    Raises:
        ConfigError: One predicts classes and the other boxes, they have no sample in common, two rows are about one
            sample, or a column is not there or cannot be sliced.
        LogValueError: Boxes were predicted without scores, or their labels cannot be compared.
        FileNotFoundError, FormatError, WriteError: A table cannot be read.
    """
    if before.is_boxed != after.is_boxed:
        raise ConfigError(f"{before!r} and {after!r}: classes and boxes cannot be compared.")
    judge = judge or judge_of(before)
    rows_before, rows_after = before.rows(), after.rows()
    common = [key for key in rows_before if key in rows_after]
    if not common and rows_before and rows_after:
        problem = f"{_keys(before, rows_before)} and {_keys(after, rows_after)} have no sample in common."
        raise RoleError(problem, "key", "a column that tells samples apart in both.")
    pairs_before, pairs_after = pairs_of(before), pairs_of(after)
    known, unjudged, relabelled = list[SampleChange](), list[Hashable](), list[Hashable]()
    for key in common:
        first, second = rows_before[key], rows_after[key]
        old, new = pairs_before[first], pairs_after[second]
        if not (judge.is_known(old[0]) and judge.is_known(new[0])):
            unjudged.append(key)
            continue
        if not judge.is_same(old[0], new[0]):
            relabelled.append(key)
        known.append(SampleChange(key, first, second, change_of(judge.is_right(*old), judge.is_right(*new))))
    old_pairs = [pairs_before[one.row_before] for one in known]
    new_pairs = [pairs_after[one.row_after] for one in known]
    figures_before, figures_after = judge.figures(old_pairs), judge.figures(new_pairs)
    return Comparison(
        before=before,
        after=after,
        judge=judge,
        samples=tuple(known),
        only_before=tuple(key for key in rows_before if key not in rows_after),
        only_after=tuple(key for key in rows_after if key not in rows_before),
        unjudged=tuple(unjudged),
        relabelled=tuple(relabelled),
        value_before=figures_before.value,
        value_after=figures_after.value,
        classes=tuple(
            ClassChange(name, figures_before.by_class.get(name, _ABSENT), figures_after.by_class.get(name, _ABSENT))
            for name in ordered({*figures_before.by_class, *figures_after.by_class})
        ),
        confusion=tuple(_confusion(judge, old_pairs, new_pairs)),
        slices=tuple(
            one for name in by for one in _slices(name, bins, before, after, judge, known, old_pairs, new_pairs)
        ),
    )


def judge_of(samples: Samples) -> Judge:
    """Returns who judges predictions of their kind."""
    return Detection() if samples.is_boxed else Classification()


def pairs_of(samples: Samples) -> list[Pair]:
    """Returns what is true and what was predicted, of each row."""
    return list(zip(samples.values(samples.truth), samples.values(samples.predicted), strict=True))


def change_of(was_right: bool, is_right: bool) -> Change:
    """Returns what became of a sample."""
    if was_right:
        return "still right" if is_right else "right to wrong"
    return "wrong to right" if is_right else "still wrong"


def _confusion(judge: Judge, before: Sequence[Pair], after: Sequence[Pair]) -> list[ConfusionChange]:
    old, new = judge.confusion(before), judge.confusion(after)
    classes: list[Class | None] = [*ordered({one for pair in (*old, *new) for one in pair if one is not None}), None]
    position = {name: number for number, name in enumerate(classes)}
    cells = sorted({*old, *new}, key=lambda cell: (position[cell[0]], position[cell[1]]))
    return [ConfusionChange(*cell, old.get(cell, 0), new.get(cell, 0)) for cell in cells]


def _slices(
    name: str,
    bins: int,
    before: Samples,
    after: Samples,
    judge: Judge,
    known: Sequence[SampleChange],
    old_pairs: Sequence[Pair],
    new_pairs: Sequence[Pair],
) -> list[SliceChange]:
    is_first = name in before.column_names or name not in after.column_names  # else the first one says what is there
    samples = before if is_first else after
    values = samples.values(name)
    values = [values[one.row_before if is_first else one.row_after] for one in known]
    return [
        SliceChange(
            name,
            part.name,
            len(part.members),
            judge.figures([old_pairs[member] for member in part.members]).value,
            judge.figures([new_pairs[member] for member in part.members]).value,
            _counts([known[member] for member in part.members]),
        )
        for part in slices(values, samples.kind(name), bins=bins)
    ]


def _counts(samples: Sequence[SampleChange]) -> dict[Change, int]:
    counts = dict.fromkeys(CHANGES, 0)
    for one in samples:
        counts[one.change] += 1
    return counts


def _keys(samples: Samples, rows: Mapping[Hashable, int]) -> str:
    return f"{samples.name} (by {samples.key}, such as {next(iter(rows))})"
