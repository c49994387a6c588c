"""``mlog bench WORD``: what is in a benchmark database, and what a program costs.

The arguments of all its words are here; what a word does is in the module ``bench_<word>``, which is imported only
when it is done, with the libraries that it needs.
"""

import argparse
from importlib import import_module
from pathlib import Path

from ml.cli.output import Output
from ml.cli.words import add_words

_WORDS = {
    "ls": "list the runs of a database, and of what there are measurements",
    "show": "show what calls amount to: count, median, mean, spread and ends",
    "plot": "draw time series, bars, epochs, searches and confusion matrices, as a picture or as a page",
    "compare": "compare two databases or runs: the ratio of the medians, with an interval",
    "export": "write measurements or samples as CSV or JSON, or all of it as a page",
    "run": "run a program, and measure it with all that it starts",
}

_EPILOG = """\
examples:
  mlog bench run -- python train.py                 measured into benchmarks.db
  mlog bench show benchmarks.db -t time -t cpu
  mlog bench plot benchmarks.db --to html
  mlog bench compare before.db after.db --fail-above 1.1

DB is the file of an SQLite database, or a URL: postgresql+psycopg://user@host/name.
'mlog bench WORD --help' explains a word."""

_COMPARED = """\
A and B are databases, files or URLs; 'benchmarks.db#3f2a' is the run in it whose uuid begins with 3f2a, and
without one all runs of a database count together. Time, latency, memory, energy, power and loss are better the less
they are, throughput and accuracy the more; of CPU neither is. An interval needs 5 calls on both sides; it is what 95 of
100 bootstrap samples lie in. Exit status 1: something is worse by more than --fail-above, and its interval does not
hold 1."""

_RUN = """\
Time, CPU, memory and energy of the program and of all that it starts become a call in the database. The exit status is
the program's; of one that a signal ended, 128 + the signal. What is measured is told on standard error."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the words and their arguments."""
    parser.epilog = _EPILOG
    of = add_words(parser, "bench_word", _WORDS)
    for word in ("ls", "show", "plot", "export"):
        of[word].add_argument("database", metavar="DB", help="a file of SQLite, or a URL")
    for word in ("show", "plot", "export"):
        _add_filters(of[word])
    _add_format(of["ls"], ("text", "csv", "json"))
    _add_format(of["show"], ("text", "csv", "json"))
    _add_format(of["plot"], ("png", "html"))
    _add_file(of["plot"], "by default DB's name with .png or .html, in this directory")
    _add_format(of["export"], ("csv", "json", "html"))
    _add_file(of["export"], "by default standard output")
    of["export"].add_argument("--samples", action="store_true", help="the time series, a row a sample")
    _add_comparison(of["compare"])
    _add_program(of["run"])


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what the word says.

    Raises:
        FileNotFoundError: There is no such database.
        ConfigError: The database is none of benchmarks, or what was asked for is not in it.
        FormatError: Something in it is damaged.
    """
    return int(import_module(f"ml.cli.bench_{arguments.bench_word}").run(arguments, output))


def _add_filters(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_argument_group(
        "what is chosen",
        "Each may be given several times. What is not given is asked for on a terminal; else all of it.",
    )
    chosen.add_argument("-u", "--uuid", action="append", default=[], help="a run, or the beginning of its uuid")
    chosen.add_argument("-t", "--type", action="append", default=[], help="what was measured: time, cpu, loss")
    chosen.add_argument("-d", "--description", action="append", default=[], help="what it was called")
    chosen.add_argument("-a", "--all", action="store_true", help="ask for nothing")


def _add_format(parser: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    parser.add_argument("-p", "--to", choices=formats, default=formats[0], help=f"by default {formats[0]}")


def _add_file(parser: argparse.ArgumentParser, help_: str) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help=f"replaced whole; {help_}")


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _COMPARED
    parser.add_argument("before", metavar="A", help="a database, or DB#UUID")
    parser.add_argument("after", metavar="B", help="what is compared with it")
    parser.add_argument("-t", "--type", action="append", default=[], help="only this: time, cpu, loss")
    parser.add_argument("-d", "--description", action="append", default=[], help="only what is called so")
    parser.add_argument(
        "--fail-above", metavar="FACTOR", type=float, help="exit with 1 if something is worse by more: 1.1 is 10 %%"
    )
    _add_format(parser, ("text", "csv", "json"))


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _RUN
    parser.add_argument("--db", metavar="DB", default="benchmarks.db", help="by default benchmarks.db")
    parser.add_argument("--interval", metavar="S", type=float, default=0.1, help="seconds between two samples (0.1)")
    parser.add_argument("--description", metavar="TEXT", help="of the run; by default the command line")
    parser.add_argument("--name", metavar="TEXT", help="of what is measured; by default the name of the program")
    parser.add_argument(
        "--tdp",
        metavar="W",
        type=float,
        help="watts of all processors when busy: energy that nothing measures is estimated",
    )
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the program and its arguments")
