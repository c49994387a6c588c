"""``mlog eval diff STORE A B``: what changed from one version to another, sample by sample."""

import argparse
import math
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

from ml.benchmarks.export import csv_lines
from ml.cli.bench_table import write_lines
from ml.cli.eval_choice import judge_of, roles_of
from ml.cli.output import Column, Output, printable
from ml.cli.store_choice import opened_store
from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.compare import ClassChange, Comparison, ConfusionChange, SliceChange, compare
from ml.evaluation.judging import Class
from ml.evaluation.samples import Samples
from ml.loggers.strict_json import Json, strict

ChangeT = TypeVar("ChangeT", ClassChange, ConfusionChange, SliceChange)

_MAX_TEXT = 40  # columns of a terminal
_NOTHING = "nothing"
_FIELDS = ("sample", "change", "truth", "before", "after")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Compares; returns 1 where the second version is worse by more than ``--fail-if-worse``.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory, or a blob is missing.
        ConfigError: There is no such version or column, or versions cannot be compared.
        LogValueError: Boxes were predicted without scores, or their labels cannot be compared.
        FormatError: Something in the store is damaged.
        WriteError: A store does not answer.
    """
    most = arguments.fail_if_worse
    if most is not None and not (math.isfinite(most) and most >= 0):
        raise ConfigError(f"--fail-if-worse takes a part of 1 such as 0.01, got {most:g}.")
    if arguments.limit < 0:
        raise ConfigError(f"--limit takes a number of lines, 0 or more, got {arguments.limit}.")
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    before, after = (_samples(artifacts, ref, arguments) for ref in (arguments.before, arguments.after))
    compared = compare(before, after, judge=judge_of(before, arguments), by=arguments.by, bins=arguments.bins)
    if arguments.to == "json":
        output.json(as_json(compared))
    elif arguments.to == "csv":
        write_lines(csv_lines(_FIELDS, _sample_rows(compared)), output)
    else:
        _print(compared, arguments.limit, output)
    is_worse = most is not None and compared.is_worse(most)
    if is_worse and arguments.to == "text":
        lacks = f"{printable(after.name)} lacks {len(compared.only_before)} samples"
        fell = f"{compared.judge.metric} fell by more than {most:g}"
        output.line(f"worse: {lacks if compared.only_before else fell}", style="red")
    return int(is_worse)


def as_json(compared: Comparison) -> Json:
    """Returns everything about a comparison."""
    return {
        "before": compared.before.name,
        "after": compared.after.name,
        "columns": {"key": compared.before.key, "truth": compared.before.truth, "predicted": compared.before.predicted},
        "metric": compared.judge.metric,
        "samples": len(compared.samples),
        "value": {"before": strict(compared.value_before), "after": strict(compared.value_after)},
        "changes": {**compared.counts},
        "only_before": [str(key) for key in compared.only_before],
        "only_after": [str(key) for key in compared.only_after],
        "not_judged": [str(key) for key in compared.unjudged],
        "relabelled": [str(key) for key in compared.relabelled],
        "classes": [
            {
                "class": strict_class(one.name),
                "support": {"before": one.before.support, "after": one.after.support},
                compared.judge.class_metric: {"before": strict(one.before.value), "after": strict(one.after.value)},
            }
            for one in compared.classes
        ],
        "confusion": [
            {
                "truth": strict_class(one.truth),
                "predicted": strict_class(one.predicted),
                "before": one.before,
                "after": one.after,
            }
            for one in compared.confusion
        ],
        "slices": [
            {
                "column": one.column,
                "slice": one.name,
                "samples": one.samples,
                "value": {"before": strict(one.before), "after": strict(one.after)},
                "changes": {**one.counts},
            }
            for one in compared.slices
        ],
        "by_sample": [{name: row[name] for name in _FIELDS} for row in _sample_rows(compared)],
    }


def strict_class(name: Class | None) -> Json:
    """Returns a class as strict JSON has it."""
    return strict(name) if isinstance(name, float) else name


def _samples(artifacts: Artifacts, ref: str, arguments: argparse.Namespace) -> Samples:
    version = artifacts.get(ref)
    return Samples(version.table(arguments.table or None), roles_of(arguments), name=version.ref)


def _sample_rows(compared: Comparison) -> Iterator[dict[str, str]]:
    """Yields a row for each sample, those that one version lacks at the end."""
    text = compared.judge.text
    before, after = (
        list(zip(samples.values(samples.truth), samples.values(samples.predicted), strict=True))
        for samples in (compared.before, compared.after)
    )
    for one in compared.samples:
        (truth, old), (_, new) = before[one.row_before], after[one.row_after]
        yield {
            "sample": str(one.key),
            "change": one.change,
            "truth": text(truth, is_truth=True),
            "before": text(old, is_truth=False),
            "after": text(new, is_truth=False),
        }
    for what, keys in _set_aside(compared):
        for key in keys:
            yield {"sample": str(key), "change": what, "truth": "", "before": "", "after": ""}


def _set_aside(compared: Comparison) -> list[tuple[str, Sequence[Hashable]]]:
    return [
        ("only before", compared.only_before),
        ("only after", compared.only_after),
        ("not judged", compared.unjudged),
    ]


def _print(compared: Comparison, limit: int, output: Output) -> None:
    before, after = printable(compared.before.name), printable(compared.after.name)
    metric = compared.judge.metric
    output.line(f"{before} and {after}: {len(compared.samples)} samples in both", style="bold")
    output.line(
        f"  {metric}  {_figure(compared.value_before)} to {_figure(compared.value_after)}, {_gain(compared.change)}"
    )
    for change, count in compared.counts.items():
        output.line(f"  {change}  {count}")
    for what, keys in [*_set_aside(compared), ("truth differs", compared.relabelled)]:
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
    rows = [row for row in _sample_rows(compared) if row["change"] == change]
    shown = rows[:limit]
    if rows:
        _head(change, len(shown), len(rows), output)
    if shown:
        output.table(
            [
                Column(name, [output.shortened(printable(row[name]) or "-", _MAX_TEXT) for row in shown])
                for name in _FIELDS
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
