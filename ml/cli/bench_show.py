"""``mlog bench show DB``: what the calls of each function amount to."""

import argparse

from ml.benchmarks.plots import Labels, remarks_of
from ml.benchmarks.reading import open_benchmark
from ml.benchmarks.summary import Summary, summarize
from ml.cli.bench_choice import choose
from ml.cli.bench_table import Field, write_table
from ml.cli.output import Output, printable

_FIELDS = [
    Field("uuid", ""),
    Field("run", "run"),
    Field("type", "type"),
    Field("description", "description"),
    Field("method", "method"),
    Field("calls", "calls", is_number=True),
    Field("median", "median", is_number=True),
    Field("unit", "unit"),
    Field("mean", "mean", is_number=True),
    Field("stdev", "stdev", is_number=True),
    Field("min", "min", is_number=True),
    Field("max", "max", is_number=True),
    Field("source", "source"),
    Field("failed", "failed", is_number=True),
    Field("missing", "missing", is_number=True),
    Field("reason", ""),
    Field("error", ""),
]


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Shows the summaries; of text, what was missing or failed, and why, stands below."""
    with open_benchmark(arguments.database) as benchmarks:
        choice = choose(benchmarks, arguments, output)
        summaries = summarize(benchmarks.measurements(*choice))
        labels = Labels(benchmarks, choice.uuids)
    has_runs = len({one.subject.uuid for one in summaries}) > 1
    rows = [_row(one, labels, has_runs=has_runs or arguments.to != "text") for one in summaries]
    write_table(_FIELDS, rows, arguments.to, output)
    if arguments.to == "text":
        for name, remark in remarks_of(summaries, labels):
            output.line(f"{printable(name)}: {printable(remark)}", style="dim")
    return 0


def _row(summary: Summary, labels: Labels, *, has_runs: bool) -> dict[str, object]:
    subject = summary.subject
    return {
        **subject._asdict(),
        "run": labels.of(subject.uuid) if has_runs else "",
        "calls": len(summary.values),
        "median": summary.median,
        "mean": summary.mean,
        "stdev": summary.stdev,
        "min": summary.low,
        "max": summary.high,
        "failed": summary.failed or None,
        "missing": summary.missing or None,
        "reason": summary.reason,
        "error": summary.error,
    }
