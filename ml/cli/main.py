"""Reads the command line, and has the module of its word do it.

A module of a word has ``configure(parser)``, which adds its arguments, and
``run(arguments, output)``, which returns the exit status. Whatever is wrong with
what the user asked for is one line on standard error, and exit status 2.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from ml.cli.output import Output, printable
from ml.core.errors import MLError

_DISTRIBUTION = "ml-logbook"
_WORDS = {
    "runs": "list the runs below a directory: when, how far, their last values, what was overridden",
    "show": "show what a run logged: its keys with last, least and greatest value, and a curve",
    "export": "write a run's scalars as CSV, Parquet or JSON",
    "replay": "give what a run logged to another backend: TensorBoard from the journal, for example",
    "import": "make a run directory of what TensorBoard, W&B, trackio or a CSV file holds",
    "fsck": "check the files of runs, and rescue what is whole",
    "bench": "measure what a program costs; show, draw and compare what benchmarks measured",
    "predictions": "list, show, follow and export records of inferences",
    "artifacts": "list, show, compare, check and clean versions of evaluation tables",
    "eval": "compare what models predicted, sample by sample, and show it as a page",
    "tracing": "list, show, report and export what models really saw, before and after their suppression",
}
_MODULES = {"import": "import_run"}
"""The modules of words that no module can be called by."""

_EPILOG = """\
examples:
  mlog runs runs --sort task/loss          the best run first
  mlog show runs/demo --keys 'task/*'
  mlog export runs/demo --to csv | head
  mlog fsck runs                           every run below runs

'mlog WORD --help' explains a word. 'python -m ml' is the same command."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message.rstrip('.')}. See {self.prog} --help.", program=self.prog))


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says.

    Args:
        arguments: Without the program's name; by default those of this process.

    Returns:
        The exit status: 0, 2 where what was asked for is wrong or not there, or what the word says.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    output = Output(sys.stdout)
    with _warnings_in_one_line():
        try:
            try:
                parsed = _parser(arguments).parse_args(arguments)
                return int(_module_of(parsed.word).run(parsed, output))
            finally:  # after --help too
                output.flush()
        except BrokenPipeError:  # whoever read it has enough, as head has
            output.abandon()
            return 128 + signal.SIGPIPE
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except OSError as error:
            return _refuse(": ".join(str(part) for part in (error.filename, error.strerror) if part) or str(error))
        except MLError as error:
            return _refuse(str(error))


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mlog",
        description="Looks at runs: their curves, their settings, and whether their files are whole.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = _version() if "--version" in arguments else ""  # slow to find
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    words = parser.add_subparsers(dest="word", metavar="WORD", required=True, title="words")
    for word, summary in _WORDS.items():
        of_word = words.add_parser(
            word,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if word in arguments:  # the others need not be imported
            _module_of(word).configure(of_word)
    return parser


def _module_of(word: str) -> ModuleType:
    return import_module(f"ml.cli.{_MODULES.get(word, word)}")


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run from its sources
        return "of no installed package"


def _refuse(message: str, *, program: str = "mlog") -> int:
    if sys.stderr is not None:
        print(f"{program}: {printable(message)}", file=sys.stderr)
    return 2


class _OneLine(logging.Formatter):
    """Has the warnings of this package look like those of a command."""

    def format(self, record: logging.LogRecord) -> str:
        return f"mlog: {printable(record.getMessage())}"


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    log, handler = logging.getLogger("ml"), logging.StreamHandler()
    handler.setFormatter(_OneLine())
    propagated, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagated
