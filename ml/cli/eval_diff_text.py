"""A comparison of two versions as text."""

import math
from collections.abc import Sequence
from typing import TypeVar

from ml.cli.eval_diff_rows import FIELDS, sample_rows, set_aside
from ml.cli.output import Column, Output, printable
from ml.evaluation.comparison import ClassChange, Comparison, ConfusionChange, SliceChange
from ml.evaluation.judging import Class

ChangeT = TypeVar("ChangeT", ClassChange, ConfusionChange, SliceChange)

_MAX_TEXT = 40  # columns of a terminal
_NOTHING = "nothing"


def write_text(compared: Comparison, limit: int, output: Output) -> None:
    """Prints what changed.

    Args:
        compared: It.
        limit: Lines of a table; of more, those with the largest changes.
        output: Where it goes.
    """
    before, after = printable(compared.before.name), printable(compared.after.name)
    metric = compared.judge.metric
    output.line(f"{before} and {after}: {len(compared.samples)} samples in both", style="bold")
    output.line(
        f"  {metric}  {_figure(compared.value_before)} to {_figure(compared.value_after)}, {_gain(compared.change)}"
    )
    for change, count in compared.counts.items():
        output.line(f"  {change}  {count}")
    for what, keys in [*set_aside(compared), ("truth differs", compared.relabelled)]:
        if keys:
            output.line(f"  {what}  {len(keys)}: {output.shortened(', '.join(map(printable, keys)), 100)}")
    _print_classes(compared, limit, output)
    _print_confusion([one for one in compared.confusion if one.change], limit, output)
    for column in dict.fromkeys(one.column for one in compared.slices):
        _print_slices(column, [one for one in compared.slices if one.column == column], metric, limit, output)
    for change in ("right to wrong", "wrong to right"):
        _print_samples(change, compared, limit, output)


def _print_classes(compared: Comparison, limit: int, output: Output) -> None:
    shown = _largest(compared.classes, limit)
    _head(f"{compared.judge.class_metric} of each class", len(shown), len(compared.classes), output)
    if shown:
        output.table(
            [
                Column("class", [_class(one.name, output) for one in shown]),
                Column("count", [_support(one) for one in shown], is_number=True),
                Column("before", [_figure(one.before.value) for one in shown], is_number=True),
                Column("after", [_figure(one.after.value) for one in shown], is_number=True),
                Column("change", [_gain(one.change) for one in shown], is_number=True),
            ],
            indent=2,
        )


def _print_confusion(changed: Sequence[ConfusionChange], limit: int, output: Output) -> None:
    shown = _largest(changed, limit)
    if changed:
        _head("what is taken for what more or less often", len(shown), len(changed), output)
    if shown:
        output.table(
            [
                Column("truth", [_class(one.truth, output) for one in shown]),
                Column("predicted", [_class(one.predicted, output) for one in shown]),
                Column("before", [str(one.before) for one in shown], is_number=True),
                Column("after", [str(one.after) for one in shown], is_number=True),
                Column("change", [f"{one.change:+d}" for one in shown], is_number=True),
            ],
            indent=2,
        )


def _print_slices(column: str, parts: Sequence[SliceChange], metric: str, limit: int, output: Output) -> None:
    shown = _largest(parts, limit)
    _head(f"{metric} by {printable(column)}", len(shown), len(parts), output)
    if shown:
        output.table(
            [
                Column(printable(column), [output.shortened(printable(one.name), _MAX_TEXT) for one in shown]),
                Column("samples", [str(one.samples) for one in shown], is_number=True),
                Column("before", [_figure(one.before) for one in shown], is_number=True),
                Column("after", [_figure(one.after) for one in shown], is_number=True),
                Column("change", [_gain(one.change) for one in shown], is_number=True),
                Column("right to wrong", [str(one.counts["right to wrong"]) for one in shown], is_number=True),
                Column("wrong to right", [str(one.counts["wrong to right"]) for one in shown], is_number=True),
            ],
            indent=2,
        )


def _print_samples(change: str, compared: Comparison, limit: int, output: Output) -> None:
    rows = [row for row in sample_rows(compared) if row["change"] == change]
    shown = rows[:limit]
    if rows:
        _head(change, len(shown), len(rows), output)
    if shown:
        output.table(
            [
                Column(name, [output.shortened(printable(row[name]) or "-", _MAX_TEXT) for row in shown])
                for name in FIELDS
                if name != "change"
            ],
            indent=2,
        )


def _head(what: str, shown: int, count: int, output: Output) -> None:
    output.line()
    output.line(what if shown == count else f"{what}: {shown} of {count}", style="bold")


def _largest(changes: Sequence[ChangeT], limit: int) -> list[ChangeT]:
    """Returns the largest changes, in the order in which they are; all, where that is few enough."""
    size = [-abs(one.change) if one.change == one.change else 0.0 for one in changes]
    chosen = sorted(range(len(changes)), key=lambda place: size[place])[:limit]
    return [changes[place] for place in sorted(chosen)]


def _class(name: Class | None, output: Output) -> str:
    return _NOTHING if name is None else output.shortened(printable(name) or "-", _MAX_TEXT)


def _support(one: ClassChange) -> str:
    before, after = one.before.support, one.after.support
    return str(before) if before == after else f"{before} to {after}"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _gain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"
