"""``mlog eval report REF ...``: versions of predictions as one page."""

import argparse
from pathlib import Path

from ml.cli.eval_choice import bins_of, judge_of, roles_are_arguments, roles_of
from ml.cli.output import Output, printable
from ml.cli.store_choice import opened_store
from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.pages import page_of
from ml.evaluation.timeline import evaluations, timeline
from ml.io.atomic import write_atomically
from ml.io.names import readable_segment

_PRIVATE = 0o600  # as what it was made from


@roles_are_arguments()
def run(arguments: argparse.Namespace, output: Output) -> int:
    """Writes the page, and says where.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory, or a blob is missing.
        ConfigError: There is no such version or column, or versions cannot be compared.
        LogValueError: Boxes were predicted without scores, or their labels cannot be compared.
        FormatError: Something in the store is damaged.
        WriteError: A store does not answer, or the file cannot be written; an earlier one is as it was.
    """
    for name in ("last", "max_samples"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} takes 1 or more, got {getattr(arguments, name)}.")
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    found = evaluations(artifacts, arguments.refs, roles_of(arguments), table=arguments.table)
    shown = timeline(found[-arguments.last :], judge=judge_of(found[-1].samples, arguments))
    names = ", ".join(dict.fromkeys(one.name.rpartition(":")[0] for one in found))
    page = page_of(
        shown,
        title=f"Evaluation of {names}",
        by=arguments.by,
        bins=bins_of(arguments),
        max_samples=arguments.max_samples,
    )
    path = arguments.output or Path(f"{readable_segment(names)}.html")
    write_atomically(path, page.encoded(), mode=_PRIVATE)
    output.line(printable(path))
    if len(found) > arguments.last:
        output.line(f"It shows the last {arguments.last} of {len(found)} versions; --last shows more.")
    return 0
