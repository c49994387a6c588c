"""``mlog predictions ls SOURCE``: one line a record."""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ml.cli.numbers import compact
from ml.cli.output import Column, Output, printable
from ml.cli.predictions_choice import chosen, limited, opened
from ml.cli.predictions_json import as_json
from ml.predictions.reading import Found
from ml.predictions.results import device_text_of, summary_of, surest_of, time_text_of

_ROWS = 500  # of a table; what comes behind is a table of its own, so that any number can be listed
_MAX_NAME, _MAX_ERROR = 32, 60  # columns of a terminal

_log = logging.getLogger("ml")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Lists the records. One that is damaged is left out, with a warning.

    Raises:
        FileNotFoundError: There is no such directory.
        ConfigError: A time or a number makes no sense.
        WriteError: An object store does not answer.
    """
    found = limited(chosen(opened(arguments.source, arguments), arguments), arguments)
    if arguments.json:
        _write_json(found, output)
        return 0
    count = 0
    while rows := list(islice(found, _ROWS)):
        _print(rows, output, has_keys=arguments.keys)
        count += len(rows)
    if not count:
        _log.warning("No record in %s is one of those that were asked for.", arguments.source)
    return 0


def _write_json(found: Iterable[Found], output: Output) -> None:
    separator = "[\n"
    for one in found:
        output.write(separator + json.dumps({"key": one.key, **as_json(one.record)}, allow_nan=False))
        separator = ",\n"
    output.write("\n]\n" if separator == ",\n" else "[]\n")


def _print(rows: Sequence[Found], output: Output, *, has_keys: bool) -> None:
    columns = list(_columns(rows, output, has_keys=has_keys))
    by_importance = sorted(columns, key=lambda column: _IMPORTANCE.index(column.header))
    shown, room = set[int](), output.width
    for column in by_importance:
        if column.width <= room or column is by_importance[0]:
            shown.add(id(column))
            room -= column.width + 2
    output.table([column for column in columns if id(column) in shown])
    hidden = [column.header for column in columns if id(column) not in shown]
    if hidden:
        text = f"{len(hidden)} more, for --json: {', '.join(hidden)}"
        output.line(output.shortened(text, output.width), style="dim")


_IMPORTANCE = (
    "time (UTC)",
    "result",
    "confidence",
    "model",
    "error",
    "id",
    "key",
    "device",
    "latency (ms)",
    "version",
    "type",
)


def _columns(rows: Sequence[Found], output: Output, *, has_keys: bool) -> Iterator[Column]:
    """Yields the columns that hold something."""
    records = [row.record for row in rows]
    surest = [surest_of(one) for one in records]

    def texts(values: Iterable[str], width: int = _MAX_NAME) -> list[str]:
        return [output.shortened(printable(value), width) or "-" for value in values]

    def numbers(values: Iterable[float | None], form: str) -> list[str]:
        return ["-" if value is None else format(value, form) if form else compact(value) for value in values]

    columns = [
        Column("time (UTC)", [time_text_of(one) for one in records]),
        Column("type", texts(one.model["type"].lower() for one in records)),
        Column("model", texts(one.model["name"] for one in records)),
        Column("version", texts(one.model["version"] for one in records)),
        Column("device", texts(map(device_text_of, records))),
        Column("result", texts(map(summary_of, records)), style="bold"),
        Column("confidence", numbers((one and one.confidence for one in surest), ".3f"), is_number=True),
        Column("latency (ms)", numbers((one.inference_stats["latency_ms"] for one in records), ""), is_number=True),
        Column("error", texts((one.error_message for one in records), _MAX_ERROR), style="red"),
        Column("key", [printable(row.key) for row in rows])
        if has_keys
        else Column("id", texts(one.record_id for one in records)),
    ]
    for column in columns:
        if any(text != "-" for text in column.cells):
            yield column
