"""``mlog tracing export DATABASE [MODEL [VERSION]]``: inferences as a ZIP archive of Parquet files."""

import argparse

from ml.cli.numbers import size
from ml.cli.output import Output, printable
from ml.cli.tracing_choice import selection_of
from ml.tracing.export import export
from ml.tracing.reading import open_traces


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Writes the archive, and says where.

    Raises:
        FileNotFoundError: There is no such database.
        ConfigError: There is no such model or version, pyarrow is not installed, or PATH cannot be that of a file.
        FormatError: The database is damaged.
        WriteError: The file cannot be written; an earlier one is as it was.
    """
    selection = selection_of(arguments)
    with open_traces(arguments.database) as traces:
        path = export(traces, selection, arguments.output)
    output.line(f"{printable(path)}: {size(path.stat().st_size)}")
    return 0
