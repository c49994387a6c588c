"""``mlog export RUN --to FORMAT``: a run's scalars as a table that other programs read.

One row a value, with the columns phase, step, epoch, key, value, time and attempt,
as ``ml.open_run(RUN).scalars()`` has them. A CSV cell that a spreadsheet would take
for a formula has an apostrophe before it.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ml.cli.names import require_match
from ml.cli.output import Output, printable
from ml.core.errors import ConfigError
from ml.integrations.parquet import encoded_table, require_pyarrow, table_of
from ml.io.atomic import write_atomically
from ml.loggers.csv_rows import HEADER, encoded_row, timestamp
from ml.loggers.history import Logged, last_of_a_step, read_values
from ml.loggers.kinds import SCALAR
from ml.loggers.places import curves_of
from ml.loggers.strict_json import strict
from ml.reading import open_run

_PRIVATE = 0o600  # as what it was made from
_FORMATS = ("csv", "parquet", "json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="the run's directory")
    parser.add_argument("--to", required=True, choices=_FORMATS, help="json is one object a line")
    parser.add_argument("--keys", metavar="GLOB", default="*", help="only these keys, such as 'task/*'")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="replaced whole; by default standard output, but for parquet"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exports the run.

    Raises:
        FileNotFoundError: There is no run.
        ConfigError: Parquet has no file to go to, pyarrow is not installed, or ``--keys`` matches none.
        WriteError: The file cannot be written; an earlier one is as it was.
    """
    if arguments.to == "parquet" and arguments.output is None:
        raise ConfigError("Parquet is no text for a terminal: name a file, -o scalars.parquet.")
    if arguments.to == "parquet":
        require_pyarrow()
    found = read_values(curves_of(open_run(arguments.run_directory).path), SCALAR)
    values = last_of_a_step(found)
    require_match((row.key for row in values), arguments.keys)
    rows = [row for row in values if fnmatchcase(row.key, arguments.keys)]
    if arguments.to == "parquet":
        write_atomically(arguments.output, encoded_table(table_of(rows)), mode=_PRIVATE)
        return 0
    if arguments.to == "csv" and arguments.output is None and output.is_terminal:
        rows = [row._replace(key=printable(row.key)) for row in rows]
    lines = _csv(rows) if arguments.to == "csv" else _json_lines(rows)
    if arguments.output is None:
        for line in lines:
            output.write(line.decode())
    else:
        write_atomically(arguments.output, b"".join(lines), mode=_PRIVATE)
    return 0


def _csv(rows: Iterable[Logged]) -> Iterator[bytes]:
    yield HEADER
    yield from map(encoded_row, rows)


def _json_lines(rows: Iterable[Logged]) -> Iterator[bytes]:
    for row in rows:
        cells = {**row._asdict(), "value": strict(float(row.value)), "time": timestamp(row.time)}
        yield json.dumps(cells, allow_nan=False).encode() + b"\n"
