"""``mlog artifacts WORD``: tables in versions, in a directory or in an object store.

The arguments of all its words are here; what a word does is in the module ``artifacts_<word>``, which is imported only
when it is done.
"""

import argparse
from importlib import import_module

from ml.cli.output import Output
from ml.cli.store_choice import add_store
from ml.cli.words import add_words

_WORDS = {
    "ls": "list versions: their aliases, rows, bytes and metrics, which run made them, and when",
    "show": "show everything about a version but its rows",
    "diff": "compare what two versions hold: their tables, metadata and metrics",
    "fsck": "check that versions are whole",
    "gc": "remove blobs that no version names, as publications that were killed leave them",
}

_EPILOG = """\
examples:
  mlog artifacts ls evaluations
  mlog artifacts show s3://bucket/evaluations val_pred:best --endpoint-url http://127.0.0.1:9000
  mlog artifacts diff evaluations val_pred:epoch_3 val_pred:epoch_4
  mlog artifacts fsck evaluations --deep
  mlog artifacts gc evaluations --dry-run

STORE is a directory, or the URL of an object store: s3://bucket/prefix, gs://, az://. Credentials of a store are taken
from the environment. A REF is NAME, for its latest version, NAME:v3, or NAME:ALIAS. 'mlog artifacts WORD --help'
explains a word."""

_FSCK = """\
exit status:
  0  everything is whole; what a killed publication has left is no damage, and told as a note
  1  something is damaged or missing

Without --deep, blobs are looked at for their sizes alone."""

_GC = """\
Nothing is removed while a publication is under way; one that begins waits. A publication that was killed counts for
under way until its GRACE is over: 90s, 30m, 12h, 1d."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the words and their arguments."""
    parser.epilog = _EPILOG
    of = add_words(parser, "artifacts_word", _WORDS)
    for one in of.values():
        one.add_argument("store", metavar="STORE", help="a directory or a URL")
    of["ls"].add_argument("name", metavar="NAME", nargs="?", help="of one artifact; by default, all")
    of["show"].add_argument("ref", metavar="REF", help="which version: NAME, NAME:v3, NAME:ALIAS")
    of["diff"].add_argument("before", metavar="A", help="a version: NAME, NAME:v3, NAME:ALIAS")
    of["diff"].add_argument("after", metavar="B", help="another one")
    of["fsck"].add_argument("--deep", action="store_true", help="read every blob to its end")
    of["fsck"].epilog = _FSCK
    of["gc"].add_argument("--grace", metavar="TIME", default="1d", help="a publication that is older is dead; 1d")
    of["gc"].add_argument("--dry-run", action="store_true", help="remove nothing, and say what would be")
    of["gc"].epilog = _GC
    for one in of.values():
        one.add_argument("--json", action="store_true", help="as JSON")
        add_store(one)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what the word says.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory.
        ConfigError: What was asked for makes no sense, or is not there.
        WriteError: An object store does not answer.
        FormatError: A manifest is damaged.
    """
    return int(import_module(f"ml.cli.artifacts_{arguments.artifacts_word}").run(arguments, output))
