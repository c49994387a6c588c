"""``mlog import SRC DIR``: a run directory made of what another program logged."""

import argparse
from pathlib import Path

from ml.cli.output import Output, printable
from ml.cli.problems import attempts_of, tell_problems
from ml.integrations.importing import DEFAULT_BACKENDS, READERS, ImportReport, import_runs
from ml.loggers.kinds import KINDS


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.epilog = (
        "Reads folders of TensorBoard event files, folders of W&B runs, databases of trackio and folders of them, and\n"
        "CSV with a column of steps, such as the folders version_0, version_1 of Lightning. What is written is there\n"
        "when it is complete, or not at all. Of several runs each has a directory below DIR. Exit status 1: something\n"
        "was left out, and is named."
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="a folder or a file")
    parser.add_argument("directory", metavar="DIR", type=Path, help="the new run directory; must not be there")
    parser.add_argument("--format", choices=list(READERS), help="what SRC is; by default it is found out")
    parser.add_argument(
        "--to",
        metavar="BACKEND",
        action="append",
        help=f"what the run is written as, once for each; by default {' and '.join(DEFAULT_BACKENDS)}",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Imports the runs; returns 1 where something was left out.

    Raises:
        FileNotFoundError: There is no source.
        ConfigError: It is of no known format, DIR is there already, a backend cannot be used, or nothing was logged.
        OSError, WriteError: It cannot be read, or written.
    """
    reports = import_runs(
        arguments.source, arguments.directory, format=arguments.format, backends=arguments.to or DEFAULT_BACKENDS
    )
    for report in reports:
        _tell(report, output)
    if len(reports) > 1:
        output.line(f"{len(reports)} runs, each in a directory of its own below {printable(arguments.directory)}")
    return 1 if any(report.num_problems for report in reports) else 0


def _tell(report: ImportReport, output: Output) -> None:
    place = f"from {printable(report.source)} ({report.format}) to {printable(report.directory)}"
    output.line(f"{report.kinds.total()} values of {attempts_of(report.attempts)}, {place}")
    counts = (f"{report.kinds[kind.name]} {_plural(kind.name, report.kinds[kind.name])}" for kind in KINDS)
    if report.kinds:
        output.line("  " + ", ".join(counted for counted in counts if not counted.startswith("0 ")))
    for name, played in report.backends.items():
        if played.unsupported:
            output.line(f"  {played.unsupported} of kinds that {printable(name)} does not take", style="dim")
    tell_problems(report.problems, report.num_problems, output)


def _plural(kind: str, number: int) -> str:
    name = kind.replace("_", " ")
    return name if number == 1 or name == "audio" else f"{name}s"
