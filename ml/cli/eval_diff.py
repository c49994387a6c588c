"""``mlog eval diff A B``: what changed from one version to another, sample by sample."""

import argparse
import math

from ml.benchmarks.export import csv_lines
from ml.cli.bench_table import write_lines
from ml.cli.eval_choice import bins_of, judge_of, roles_are_arguments, roles_of
from ml.cli.eval_diff_json import as_json
from ml.cli.eval_diff_rows import FIELDS, sample_rows
from ml.cli.eval_diff_text import write_text
from ml.cli.output import Output, printable
from ml.cli.store_choice import opened_store
from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.comparison import compare
from ml.evaluation.samples import Samples


@roles_are_arguments()
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
    compared = compare(before, after, judge=judge_of(before, arguments), by=arguments.by, bins=bins_of(arguments))
    if arguments.to == "json":
        output.json(as_json(compared))
    elif arguments.to == "csv":
        write_lines(csv_lines(FIELDS, sample_rows(compared)), output)
    else:
        write_text(compared, arguments.limit, output)
    is_worse = most is not None and compared.is_worse(most)
    if is_worse and arguments.to == "text":
        lacks = f"{printable(after.name)} lacks {len(compared.only_before)} samples"
        fell = f"{compared.judge.metric} fell by more than {most:g}"
        output.line(f"worse: {lacks if compared.only_before else fell}", style="red")
    return int(is_worse)


def _samples(artifacts: Artifacts, ref: str, arguments: argparse.Namespace) -> Samples:
    version = artifacts.get(ref)
    return Samples(version.table(arguments.table or None), roles_of(arguments), name=version.ref)
