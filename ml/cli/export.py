"""``mlog export RUN --to FORMAT``: a run's scalars as a table that other programs read.

One row a value, with the columns phase, step, epoch, key, value, time and attempt,
as ``ml.open_run(RUN).scalars()`` has them. A CSV cell that a spreadsheet would take
for a formula has an apostrophe before it.
"""

import argparse
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from ml.cli.names import require_match
from ml.cli.output import Output, printable
from ml.core.errors import ConfigError
from ml.io.atomic import write_atomically
from ml.loggers.history import Logged, last_of_a_step, read_values
from ml.loggers.kinds import SCALAR
from ml.loggers.places import curves_of
from ml.loggers.strict_json import strict
from ml.reading import open_run

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PRIVATE = 0o600  # as what it was made from
_ROWS_AT_ONCE = 1000
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
        _require_pyarrow()
    found = read_values(curves_of(open_run(arguments.run_directory).path), SCALAR)
    values = last_of_a_step(found)
    require_match((row.key for row in values), arguments.keys)
    rows = [row for row in values if fnmatchcase(row.key, arguments.keys)]
    if arguments.to == "parquet":
        write_atomically(arguments.output, _parquet(rows), mode=_PRIVATE)
        return 0
    if arguments.to == "csv" and arguments.output is None and output.is_terminal:
        rows = [row._replace(key=printable(row.key)) for row in rows]
    texts = _csv(rows) if arguments.to == "csv" else _json_lines(rows)
    if arguments.output is None:
        for text in texts:
            output.write(text)
    else:
        write_atomically(arguments.output, "".join(texts).encode("utf-8", "backslashreplace"), mode=_PRIVATE)
    return 0


def _csv(rows: Iterable[Logged]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Logged._fields)
    for number, row in enumerate(rows):
        writer.writerow([*map(_cell, row[:4]), row.value, _timestamp(row.time), row.attempt])
        if number % _ROWS_AT_ONCE == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _json_lines(rows: Iterable[Logged]) -> Iterator[str]:
    for row in rows:
        cells = {**row._asdict(), "value": strict(float(row.value)), "time": _timestamp(row.time)}
        yield json.dumps(cells, allow_nan=False) + "\n"


def _timestamp(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parquet(rows: Sequence[Logged]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = list(zip(*rows, strict=True)) or [()] * len(Logged._fields)
    phase, step, epoch, key, value, time, attempt = columns
    # Half a surrogate pair, which a key may have, is no UTF-8.
    keys = [text.encode("utf-8", "backslashreplace").decode() for text in key]
    table = pa.table(
        {
            "phase": pa.array(phase, pa.string()),
            "step": pa.array(step, pa.int64()),
            "epoch": pa.array(epoch, pa.int64()),
            "key": pa.array(keys, pa.string()),
            "value": pa.array(value, pa.float64()),
            "time": pa.array(time, pa.timestamp("us", tz="UTC")),
            "attempt": pa.array(attempt, pa.int64()),
        }
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, of the extra 'parquet': pip install 'ml-logbook[parquet]'."
        ) from error
