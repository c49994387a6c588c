"""``mlog bench compare A B``: what costs more than it did, and how sure that is."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from ml.benchmarks.compare import Comparison, Group, compare
from ml.benchmarks.reading import open_benchmark
from ml.cli.bench_choice import check
from ml.cli.bench_table import Field, write_table
from ml.cli.output import Output, printable
from ml.core.errors import ConfigError

_FIELDS = [
    Field("type", "type"),
    Field("description", "description"),
    Field("method", "method"),
    Field("unit", "unit"),
    Field("source", "source"),
    Field("calls_a", "calls A", is_number=True),
    Field("calls_b", "calls B", is_number=True),
    Field("median_a", "median A", is_number=True),
    Field("median_b", "median B", is_number=True),
    Field("ratio", "B / A", is_number=True),
    Field("low", "from", is_number=True),
    Field("high", "to", is_number=True),
    Field("verdict", "verdict"),
    Field("is_regression", ""),
]


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Compares; returns 1 where something is worse by more than ``--fail-above``.

    Raises:
        ConfigError: ``--fail-above`` is no factor, or both sides have nothing in common.
    """
    factor = arguments.fail_above
    if factor is not None and not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"--fail-above takes a factor above 0, such as 1.1 for 10 %, got {factor:g}.")
    before, after = (_numbers(where, arguments) for where in (arguments.before, arguments.after))
    compared = compare(before, after)
    if not any(one.count_before and one.count_after for one in compared):
        raise ConfigError(
            "A and B have no numbers of the same type, description, unit, method and source. See: mlog bench show "
            f"{arguments.before}; mlog bench show {arguments.after}."
        )
    regressions = [one for one in compared if factor is not None and one.is_regression(factor)]
    write_table(_FIELDS, [_row(one, is_regression=one in regressions) for one in compared], arguments.to, output)
    if arguments.to == "text":
        _say(regressions, factor, output)
    return 1 if regressions else 0


def _numbers(where: str, arguments: argparse.Namespace) -> dict[Group, list[float]]:
    """Returns the numbers of all calls that returned, by what they are of."""
    database, uuids = _place(where)
    numbers = dict[Group, list[float]]()
    with open_benchmark(database) as benchmarks:
        kinds = benchmarks.kinds(uuids)
        types = check("type", arguments.type, kinds, lambda kind: kind.type)
        descriptions = check("description", arguments.description, kinds, lambda kind: kind.description)
        for one in benchmarks.measurements(uuids, types, descriptions):
            if one.value is not None and one.status == "ok" and one.type != "hyperparameters":
                group = Group(one.type, one.description, one.unit, one.method, one.source)
                numbers.setdefault(group, []).append(one.value)
    return numbers


def _place(where: str) -> tuple[str, Sequence[str]]:
    """Returns a database, and the beginnings of uuids: ``"a.db#3f2a"`` is ``("a.db", ["3f2a"])``."""
    database, mark, uuid = where.rpartition("#")
    return (where, []) if not mark or Path(where).exists() else (database, [uuid])


def _row(one: Comparison, *, is_regression: bool) -> dict[str, object]:
    return {
        **one.group._asdict(),
        "calls_a": one.count_before,
        "calls_b": one.count_after,
        "median_a": _known(one.before),
        "median_b": _known(one.after),
        "ratio": _known(one.ratio),
        "low": _known(one.low),
        "high": _known(one.high),
        "verdict": one.verdict,
        "is_regression": is_regression,
    }


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def _say(regressions: Sequence[Comparison], factor: float | None, output: Output) -> None:
    for one in regressions:
        subject = f"{one.group.description}, {one.group.method}" if one.group.method else one.group.description
        name = f"{printable(one.group.type)} of {printable(subject)}"
        output.line(f"worse by more than {factor:g}: {name}, {one.ratio:.4g} times", style="red")
