"""``mlog eval WORD``: what versions of predictions got right, and what changed between them.

The arguments of all its words are here; what a word does is in the module ``eval_<word>``, which is imported only when
it is done.
"""

import argparse
from importlib import import_module
from pathlib import Path

from ml.cli.output import Output
from ml.cli.store_choice import add_store
from ml.cli.words import add_words

_WORDS = {
    "diff": "compare two versions, sample by sample: what got right, what got wrong, which classes changed",
    "report": "show versions as one page: figures, confusions, and samples with their pictures",
}

_EPILOG = """\
examples:
  mlog eval diff run_1_pred:epoch_3 run_1_pred:epoch_4
  mlog eval diff run_1_pred:best run_2_pred:best --by width --to json
  mlog eval report run_1_pred --store s3://bucket/evaluation -o report.html

A store is a directory, or the URL of an object store: s3://bucket/prefix, gs://, az://. A REF is NAME, for its latest
version, NAME:v3, or NAME:ALIAS. 'mlog eval WORD --help' explains a word."""

_COLUMNS = """\
Columns are those of the predictions, and those of the rows that these refer to. What is not said is found by its name,
the first of:
  key         a reference to the ground truth; sample, sample_id, index, idx, id, key, image_id
  truth       label, labels, truth, ground_truth, target, true, actual, y, y_true, class
  prediction  prediction, predicted, pred, predictions, preds, guess, output, y_pred
Where boxes were predicted, the figure is mAP, a sample is right where every true box is found and nothing else is, and
the truth may be an image that has boxes."""

_DIFF = """\
All figures are of the samples that both versions have; the others are counted. CSV has a line for each sample.

exit status:
  0  A and B were compared
  1  with --fail-if-worse: the figure fell by more than X, or B lacks samples of A"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the words and their arguments."""
    parser.epilog = _EPILOG
    of = add_words(parser, "eval_word", _WORDS)
    for one in of.values():
        one.add_argument("--store", default="evaluation", help="a directory or a URL; evaluation")
    diff, report = of["diff"], of["report"]
    diff.epilog = _DIFF
    diff.add_argument("before", metavar="A", help="a version: NAME, NAME:v3, NAME:ALIAS")
    diff.add_argument("after", metavar="B", help="another one")
    diff.add_argument("-p", "--to", choices=("text", "json", "csv"), default="text", help="by default text")
    diff.add_argument("-n", "--limit", metavar="N", type=int, default=20, help="lines of a table of text; 20")
    diff.add_argument("--fail-if-worse", metavar="X", type=float, help="exit with 1 if B is worse by more: 0.01")
    report.add_argument("refs", metavar="REF", nargs="+", help="a version; NAME alone stands for all of its versions")
    report.add_argument("-o", "--output", metavar="FILE", type=Path, help="replaced whole; by default NAME.html, here")
    report.add_argument("--last", metavar="N", type=int, default=20, help="of more versions, only the last; 20")
    report.add_argument("--max-samples", metavar="N", type=int, default=200, help="samples with pictures; 200")
    for one in of.values():
        _add_columns(one)
        add_store(one)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what the word says.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory, or a blob is missing.
        ConfigError: What was asked for makes no sense, or is not there.
        WriteError: A store does not answer, or a file cannot be written.
        FormatError: Something in the store is damaged.
    """
    return int(import_module(f"ml.cli.eval_{arguments.eval_word}").run(arguments, output))


def _add_columns(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is compared", _COLUMNS)
    group.add_argument("--table", metavar="NAME", default="", help="where versions have several tables")
    group.add_argument("--key", metavar="COLUMN", default="", help="tells samples apart")
    group.add_argument("--truth", metavar="COLUMN", default="", help="what is true")
    group.add_argument("--predicted", metavar="COLUMN", default="", help="what was predicted")
    group.add_argument(
        "--by", metavar="COLUMN", action="append", default=[], help="compare slices by it; several times"
    )
    group.add_argument("--bins", metavar="N", type=int, default=4, help="quantiles that numbers are put in; 4")
    group.add_argument("--iou", metavar="X", type=float, default=0.5, help="that a box needs to be found; 0.5")
    group.add_argument("--score", metavar="X", type=float, default=0.3, help="from which on a box is a sure one; 0.3")
