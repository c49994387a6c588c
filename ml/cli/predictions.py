"""``mlog predictions WORD``: records of inferences, in a directory, in an object store, or on their way.

The arguments of all its words are here; what a word does is in the module ``predictions_<word>``, which is imported
only when it is done, with the libraries that it needs.
"""

import argparse
from importlib import import_module
from pathlib import Path

from ml.cli.output import Output
from ml.cli.store_choice import add_store
from ml.cli.words import add_words

_WORDS = {
    "ls": "list records: when, which model on which device, what it said, how sure and how fast it was",
    "show": "show everything that a record holds, and draw its picture with what was found in it",
    "tail": "print records as a publisher sends them",
    "export": "write records as COCO JSON, as Parquet, as a contact sheet, or as annotated pictures",
}

_TYPES = ("none", "classification", "detection")

_EPILOG = """\
examples:
  mlog predictions ls babylog --model 'yolo*' --class person --min-confidence 0.9
  mlog predictions ls s3://bucket/records --endpoint-url http://127.0.0.1:9000 --day 2026-01-02 --errors
  mlog predictions show 01KDX0Q2Q6W3H5T9V8N4M2C7BA babylog --png seen.png
  mlog predictions tail 127.0.0.1:7777 camera-3
  mlog predictions export babylog --to html sheet.html

SOURCE is a directory, or the URL of an object store: s3://bucket/prefix, gs://, az://. Credentials of a store are taken
from the environment. 'mlog predictions WORD --help' explains a word."""

_EXPORTS = """\
coco      OUT is a new directory: annotations.json, results.json, and with --images the pictures
parquet   OUT is a file, a row a record; with --images the pictures are in it
html      OUT is a file, a page that needs no other
png       OUT is a new directory, a picture a record, with boxes, labels and scores

What failed, or tells nothing of boxes, is not in coco. A file is replaced whole."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the words and their arguments."""
    parser.epilog = _EPILOG
    of = add_words(parser, "predictions_word", _WORDS)
    _configure_ls(of["ls"])
    _configure_show(of["show"])
    _configure_tail(of["tail"])
    _configure_export(of["export"])


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what the word says.

    Raises:
        FileNotFoundError: There is no such directory or record.
        ConfigError: What was asked for makes no sense, or is not there.
        WriteError: An object store does not answer.
        FormatError: A record is damaged.
    """
    return int(import_module(f"ml.cli.predictions_{arguments.predictions_word}").run(arguments, output))


def _configure_ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a directory or a URL")
    parser.add_argument("--keys", action="store_true", help="where each record lies, instead of its id")
    parser.add_argument("--json", action="store_true", help="everything but the pictures, as JSON")
    _add_filters(parser)
    add_store(parser)


def _configure_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", metavar="RECORD", help="a file; or, of SOURCE, a key or the beginning of an id")
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="a directory or a URL")
    parser.add_argument("--png", metavar="FILE", type=Path, help="draw it here, with boxes, labels and scores")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_store(parser)


def _configure_tail(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS:PORT", help="of the publisher: 127.0.0.1:7777")
    parser.add_argument("topic", metavar="TOPIC", help="the name of the device, unless it was configured otherwise")
    parser.add_argument("--count", metavar="N", type=int, help="end after so many records")
    parser.add_argument("--json", action="store_true", help="everything but the pictures, as one JSON object a line")
    parser.add_argument(
        "--server-key", metavar="FILE", type=Path, help="holds the publisher's public key, where it encrypts"
    )
    parser.add_argument(
        "--client-key", metavar="FILE", type=Path, help="holds our secret key, where it admits known ones alone"
    )


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPORTS
    parser.add_argument("source", metavar="SOURCE", help="a directory or a URL")
    parser.add_argument("out", metavar="OUT", type=Path, help="where to")
    parser.add_argument("--to", required=True, choices=("coco", "parquet", "html", "png"), help="see below")
    parser.add_argument("--images", action="store_true", help="coco and parquet: the pictures too, as they were logged")
    _add_filters(parser)
    add_store(parser)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "which records",
        "A GLOB is a name, or a pattern such as 'yolo*'. A TIME is in UTC: 2026-01-02, or 2026-01-02T03:04:05.",
    )
    group.add_argument("--model", metavar="GLOB", default="*", help="of this model")
    group.add_argument("--version", metavar="GLOB", default="*", help="of this version of a model")
    group.add_argument("--group", metavar="GLOB", default="*", help="of devices of this group")
    group.add_argument("--device", metavar="GLOB", default="*", help="of this device")
    group.add_argument("--type", choices=_TYPES, help="of models that tell this")
    group.add_argument("--since", metavar="TIME", help="not before")
    group.add_argument("--until", metavar="TIME", help="before")
    group.add_argument("--day", metavar="DATE", help="of this day, in UTC")
    group.add_argument("--class", metavar="GLOB", dest="class_name", help="in which this class was predicted")
    group.add_argument(
        "--min-confidence", metavar="P", type=float, help="whose surest result, of --class, has this at least"
    )
    group.add_argument("--max-confidence", metavar="P", type=float, help="... and this at most")
    group.add_argument("--errors", action="store_true", help="that tell of an error")
    group.add_argument("-n", "--limit", metavar="N", type=int, help="so many at most")
    group.add_argument("--newest", action="store_true", help="the newest first")
