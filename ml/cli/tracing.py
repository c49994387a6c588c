"""``mlog tracing WORD``: what models really saw, in databases of traces.

The arguments of all its words are here; what a word does is in the module ``tracing_<word>``, which is imported only
when it is done, with the libraries that it needs.
"""

import argparse
from importlib import import_module
from pathlib import Path

from ml.cli.output import Output
from ml.cli.words import add_words

_WORDS = {
    "ls": "list what was traced: models, versions, dataset types, epochs, runs, and how much of each",
    "show": "show a version in numbers: statistics, errors, what other thresholds would show, drift, results",
    "report": "show a version as one page: errors, thresholds, drift, latency, and the worst samples with their boxes",
    "export": "write inferences as a ZIP archive of Parquet files",
    "import": "unpack such an archive, after checking it",
}

_EPILOG = """\
examples:
  mlog tracing ls traces.db
  mlog tracing show traces.db fcos v1 --dataset-type val
  mlog tracing report traces.db fcos v1 -o fcos.html --class-names cat,dog
  mlog tracing export traces.db fcos v1 -o fcos.zip
  mlog tracing import fcos.zip fcos

DATABASE is an SQLite file, beside which those of its other ranks are read too, or a URL: postgresql://host/traces.
MODEL and VERSION may be left out where there is only one. 'mlog tracing WORD --help' explains a word."""

_CHOICE = """\
"latest" is the highest epoch of the newest run that has such inferences; a number is that epoch of the newest run that
has it."""

_RESULTS = """\
Estimates of errors are those of the newest evaluation, drift is held against the newest baseline; --result names
others."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the words and their arguments."""
    parser.epilog = _EPILOG
    of = add_words(parser, "tracing_word", _WORDS)
    ls, report, export, unpack = (of[word] for word in ("ls", "report", "export", "import"))
    ls.add_argument("databases", metavar="DATABASE", nargs="+", help="a file or a URL")
    ls.add_argument("--json", action="store_true", help="as JSON, each run and epoch apart")
    for word in ("show", "report", "export"):
        _add_choice(of[word])
    for word in ("show", "report"):
        _add_results(of[word])
    of["show"].add_argument("--json", action="store_true", help="as JSON")
    report.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="replaced whole; by default MODEL_VERSION.html"
    )
    report.add_argument("--max-samples", metavar="N", type=int, default=60, help="with pictures, of a dataset type; 60")
    export.add_argument("-o", "--output", metavar="PATH", type=Path, help="a .zip file, or a directory for one")
    unpack.add_argument("archive", metavar="ARCHIVE", type=Path, help="what was exported")
    unpack.add_argument("directory", metavar="DIR", type=Path, help="a new or empty directory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what the word says.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: What was asked for makes no sense, or is not there.
        FormatError: A database, a result or an archive is damaged.
        WriteError: A file cannot be written.
    """
    return int(import_module(f"ml.cli.tracing_{arguments.tracing_word}").run(arguments, output))


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="DATABASE", help="a file or a URL")
    parser.add_argument("model", metavar="MODEL", nargs="?", default="", help="its name")
    parser.add_argument("version", metavar="VERSION", nargs="?", default="", help="its name")
    group = parser.add_argument_group("which inferences", _CHOICE)
    group.add_argument("--dataset-type", metavar="NAME", help="train, val, deploying; by default each of them")
    group.add_argument("--epoch", metavar="EPOCH", default="latest", help="a number, latest or all; latest")
    group.add_argument("--run", metavar="UUID", help="of this run; the beginning of its uuid is enough")


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what they are held against", _RESULTS)
    group.add_argument("--result", metavar="NAME", action="append", default=[], help="an evaluation, or a baseline")
    group.add_argument("--class-names", metavar="A,B,C", default="", help="of the classes 0, 1, 2; a name may be empty")
    group.add_argument("--window", metavar="N", type=int, help="inferences whose drift is judged together; 100 or more")
