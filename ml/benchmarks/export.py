"""A benchmark database as tables that other programs read: CSV, or one JSON object a line.

``rows_of_measurements`` has a row for each measurement, ``rows_of_samples`` one for each sample of a time series::

    uuid,rank,method,call,type,description,value,unit,source,status,at_s,duration_s,time,error,reason,data
    3f2a...,0,train,1,time,epoch,1.25,s,process,ok,0.1,1.25,2026-01-02T03:04:05.678901Z,,,

Rows are made as they are read, so no database is too large. A CSV cell that a spreadsheet would take for a formula has
an apostrophe before it. A number that JSON lacks is the text ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``; what has no
value is empty, or ``null``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from ml.benchmarks.reading import Benchmarks
from ml.loggers.csv_rows import text_cell, timestamp
from ml.loggers.strict_json import Json, strict

Row = Mapping[str, object]

MEASUREMENT_FIELDS = (
    "uuid", "rank", "method", "call", "type", "description", "value", "unit", "source", "status",
    "at_s", "duration_s", "time", "error", "reason", "data",
)  # fmt: skip
SAMPLE_FIELDS = ("uuid", "rank", "method", "call", "type", "description", "unit", "at_s", "value")


def rows_of_measurements(
    benchmarks: Benchmarks, uuids: Sequence[str] = (), types: Sequence[str] = (), descriptions: Sequence[str] = ()
) -> Iterator[Row]:
    """Yields a row for each measurement; its fields are ``MEASUREMENT_FIELDS``.

    Raises:
        ConfigError, FormatError: As ``Benchmarks.measurements``.
    """
    for one in benchmarks.measurements(uuids, types, descriptions):
        yield {name: getattr(one, name) for name in MEASUREMENT_FIELDS}


def rows_of_samples(
    benchmarks: Benchmarks, uuids: Sequence[str] = (), types: Sequence[str] = (), descriptions: Sequence[str] = ()
) -> Iterator[Row]:
    """Yields a row for each sample; its fields are ``SAMPLE_FIELDS``.

    Raises:
        ConfigError, FormatError: As ``Benchmarks.measurements``.
    """
    for one in benchmarks.measurements(uuids, types, descriptions):
        row = {name: getattr(one, name) for name in SAMPLE_FIELDS if name not in ("at_s", "value")}
        for sample in benchmarks.samples(one):
            yield {**row, "at_s": sample.at_s, "value": sample.value}


def csv_lines(fields: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yields a header and a line for each row, ends of lines included."""
    yield ",".join(fields) + "\n"
    for row in rows:
        yield ",".join(_cell(row[name]) for name in fields) + "\n"


def json_lines(fields: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yields a line of strict JSON, in ASCII, for each row."""
    for row in rows:
        yield json.dumps({name: json_value(row[name]) for name in fields}, allow_nan=False) + "\n"


def json_value(value: object) -> Json:
    """Returns what a row holds as strict JSON."""
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, float):
        return strict(value)
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, dict | list):
        return text_cell(json.dumps(json_value(value), allow_nan=False))
    return text_cell(value) if isinstance(value, str) else repr(value)
