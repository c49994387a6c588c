"""``mlog replay RUN --to BACKEND DIR``: what a run logged, given to another backend."""

import argparse
from pathlib import Path

from ml.cli.output import Output, printable
from ml.core.errors import ConfigError
from ml.loggers.replay import replay
from ml.reading import open_run

_KEEPS_NOTHING = "memory"
_MAX_LISTED = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.epilog = (
        "The values come from the journal of the run, else from its JSON lines. Doing it again replaces DIR by the\n"
        "same once more. A directory that holds something else is refused."
    )
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="the run's directory")
    parser.add_argument("--to", metavar="BACKEND", required=True, help="tensorboard, json, journal, or any other")
    parser.add_argument("directory", metavar="DIR", type=Path, help="where the new run goes")
    parser.add_argument("--from", dest="source", choices=("journal", "json"), help="read only this")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Replays the run; returns 1 where something of it was left out.

    Raises:
        FileNotFoundError: There is no run.
        ConfigError: There is nothing to replay, no such backend or one that keeps nothing, or the directory holds
            something else.
        OSError, WriteError: The result cannot be written.
    """
    if arguments.to == _KEEPS_NOTHING:
        raise ConfigError(f"The backend {arguments.to!r} keeps nothing that outlives this command. Name another: json.")
    run_directory = open_run(arguments.run_directory).path
    report = replay(run_directory, arguments.to, arguments.directory, source=arguments.source)
    attempts = "1 attempt" if report.attempts == 1 else f"{report.attempts} attempts"
    output.line(
        f"{report.written} values of {attempts}, from {printable(report.source)} to {printable(report.directory)}"
    )
    if report.unsupported:
        output.line(f"{report.unsupported} of kinds that {printable(arguments.to)} does not take", style="dim")
    for problem in report.problems[:_MAX_LISTED]:
        output.line(f"  {printable(problem)}")
    if report.num_problems > _MAX_LISTED:
        output.line(f"and {report.num_problems - _MAX_LISTED} more like it")
    return 1 if report.num_problems else 0
