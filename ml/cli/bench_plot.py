"""``mlog bench plot DB``: charts of what was measured, as one picture or as one page."""

import argparse
from pathlib import Path

from ml.benchmarks.pages import page_of
from ml.benchmarks.plots import charts_of
from ml.benchmarks.reading import open_benchmark
from ml.cli.bench_choice import choose
from ml.cli.output import Output, printable
from ml.core.errors import ConfigError
from ml.io.atomic import write_atomically
from ml.report.png import png

_PRIVATE = 0o600  # as what it was made from


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws, and says where.

    Raises:
        ConfigError: There is nothing to draw, or too much for one picture; matplotlib is not installed.
        WriteError: The file cannot be written; an earlier one is as it was.
    """
    with open_benchmark(arguments.database) as benchmarks:
        choice = choose(benchmarks, arguments, output)
        if arguments.to == "html":
            data = page_of(benchmarks, *choice, title=title_of(arguments.database)).encoded()
        else:
            charts = charts_of(benchmarks, *choice)
            if not charts:
                raise ConfigError("There is nothing to draw: no measurement has a number. mlog bench show says why.")
            data = png(charts)
    path = arguments.output or Path(f"{_stem(arguments.database)}.{arguments.to}")
    write_atomically(path, data, mode=_PRIVATE)
    output.line(printable(path))
    return 0


def title_of(database: str) -> str:
    """Returns the title of a page."""
    return "Benchmarks" if "://" in database else f"Benchmarks in {Path(database).name}"


def _stem(database: str) -> str:
    return "benchmark" if "://" in database else Path(database).stem
