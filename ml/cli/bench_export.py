"""``mlog bench export DB``: measurements and samples as CSV or JSON, or everything as a page."""

import argparse
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ml.benchmarks.export import (
    MEASUREMENT_FIELDS,
    SAMPLE_FIELDS,
    csv_lines,
    json_lines,
    rows_of_measurements,
    rows_of_samples,
)
from ml.benchmarks.pages import page_of
from ml.benchmarks.reading import Benchmarks, open_benchmark
from ml.cli.bench_choice import Choice, choose
from ml.cli.bench_plot import title_of
from ml.cli.bench_table import write_lines
from ml.cli.output import Output
from ml.core.errors import ConfigError

_PRIVATE = 0o600  # as what it was made from


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exports, row by row: no database is too large.

    Raises:
        ConfigError: ``--samples`` of a page.
        OSError: The file cannot be written; an earlier one is as it was.
    """
    if arguments.samples and arguments.to == "html":
        raise ConfigError("A page draws the samples; --samples is for csv and json.")
    with open_benchmark(arguments.database) as benchmarks:
        choice = choose(benchmarks, arguments, output)
        lines = _lines(benchmarks, choice, arguments)
        if arguments.output is None:
            write_lines(lines, output)
        else:
            _write(arguments.output, lines)
    return 0


def _lines(benchmarks: Benchmarks, choice: Choice, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.to == "html":
        return iter([page_of(benchmarks, *choice, title=title_of(arguments.database)).encoded().decode()])
    fields = SAMPLE_FIELDS if arguments.samples else MEASUREMENT_FIELDS
    rows = (rows_of_samples if arguments.samples else rows_of_measurements)(benchmarks, *choice)
    return csv_lines(fields, rows) if arguments.to == "csv" else json_lines(fields, rows)


def _write(path: Path, lines: Iterator[str]) -> None:
    """Replaces a file; nobody ever sees half of the new one."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as file:
            for line in lines:
                file.write(line.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
