"""``mlog tracing report DATABASE [MODEL [VERSION]]``: what was traced of a version as one page."""

import argparse
from pathlib import Path

from ml.cli.output import Output, printable
from ml.cli.tracing_choice import class_names_of, selection_of
from ml.core.errors import ConfigError
from ml.io.atomic import write_atomically
from ml.io.names import readable_segment
from ml.tracing.findings import find
from ml.tracing.pages import page_of

_PRIVATE = 0o600  # as what it was made from


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Writes the page, and says where.

    Raises:
        FileNotFoundError: There is no such database.
        ConfigError: There is no such model, version, result, or no such inference.
        FormatError: The database, or a result in it, is damaged.
        WriteError: The file cannot be written; an earlier one is as it was.
    """
    if arguments.max_samples < 0:
        raise ConfigError(f"--max-samples takes 0 or more, got {arguments.max_samples}.")
    selection = selection_of(arguments)
    found = find(
        [arguments.database],
        selection,
        result_names=arguments.result,
        max_samples=arguments.max_samples,
        window_size=arguments.window,
    )
    page = page_of(found, class_names=class_names_of(arguments))
    name = readable_segment(f"{selection.model_name}_{selection.version_name}"[:120])
    path = arguments.output or Path(f"{name}.html")
    write_atomically(path, page.encoded(), mode=_PRIVATE)
    output.line(printable(path))
    return 0
