"""``mlog tracing import ARCHIVE DIR``: an archive of traces, checked and unpacked."""

import argparse

from ml.cli.output import Column, Output, printable
from ml.tracing.importing import import_traces


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Unpacks the archive, whole or not at all, and says what is in it.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError: It is no archive of traces, it is damaged, or it holds what could do harm.
        ConfigError: DIR holds something, or pyarrow is not installed.
        WriteError: It cannot be written.
    """
    imported = import_traces(arguments.archive, arguments.directory)
    output.line(f"{printable(imported.model_name)} {printable(imported.version_name)}", style="bold")
    names = sorted(imported.tables)
    output.table(
        [
            Column("table", names),
            Column("rows", [str(imported.rows[name]) for name in names], is_number=True),
            Column("file", [printable(imported.tables[name]) for name in names]),
        ]
    )
    return 0
