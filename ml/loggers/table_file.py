"""A table as a file of strict JSON, which ``pandas.read_json(path, orient="table")`` reads as it is.

::

    {"schema": {"fields": [{"name": "label", "type": "integer", "kind": "integer"},
                           {"name": "input", "type": "string", "kind": "image"}]}, "total_rows": 2, "data": [
    {"label": 3, "input": "data:image/png;base64,iVBORw0KG…"},
    {"label": null, "input": null}
    ]}

The schema is Frictionless' Table Schema: types survive, as they do not in CSV. ``kind`` says what of
``ml.media.table`` a column is. Pictures are PNG files as ``data:`` URIs, which a browser shows: so a table is one
file, with one hash, whatever copies, checks or replays it.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from ml.io.breath import Breath
from ml.io.regular import open_regular
from ml.loggers.strict_json import Json, encoder, loads, number, parsing, real, strict, text
from ml.loggers.table_frame import NULLABLE_DTYPES
from ml.media.decode import decode_png, png_shape
from ml.media.image import encode_png
from ml.media.table import Cell, Column, TableData
from ml.media.table_cells import CellKind

MAX_FILE_BYTES = 2**27
MAX_PICTURE_ELEMENTS = 2**27
"""Of all pictures of a table, before they are decoded."""

_URI = "data:image/png;base64,"
_TYPES = {"boolean": "boolean", "integer": "integer", "number": "number", "timestamp": "datetime", "array": "any"}
_KINDS = frozenset(get_args(CellKind))
_encoded = encoder((", ", ": "))


def encode_table(table: TableData) -> bytes:
    """Returns the file of a table. Other threads go on meanwhile."""
    return b"".join(_pieces(table))


def decode_table(data: bytes) -> TableData:
    """Returns the table that ``encode_table`` made a file of; to be called inside of ``parsing``."""
    document = loads(data)
    rows, total_rows = document["data"], document["total_rows"]
    if not isinstance(rows, list) or type(total_rows) is not int or total_rows < len(rows):
        raise ValueError(f"no rows of a table, of which there were {total_rows!r:.40}")
    columns, elements = [], MAX_PICTURE_ELEMENTS
    for field in document["schema"]["fields"]:
        name, kind = text(field["name"]), text(field["kind"])
        if kind not in _KINDS:
            raise ValueError(f"no kind of column: {kind!r:.40}")
        found = [row[name] for row in rows]
        if kind == "image":
            files = [None if cell is None else _png_of(cell) for cell in found]
            elements -= sum(math.prod(png_shape(file)) for file in files if file is not None)
            if elements < 0:
                raise ValueError(f"its pictures have more than {MAX_PICTURE_ELEMENTS} elements")
            cells: list[Cell] = [None if file is None else decode_png(file, png_shape(file)) for file in files]
        else:
            cells = [None if cell is None else _READERS[kind](cell) for cell in found]
        columns.append(Column(name, kind, cells))  # type: ignore[arg-type]  # it is one of them
    if not columns or len({column.name for column in columns}) < len(columns):
        raise ValueError("a table has columns, each of another name")
    return TableData(tuple(columns), total_rows)


def read_table(path: Path) -> TableData:
    """Returns the table in a file.

    Raises:
        OSError: It is not there.
        FormatError: It is no table.
    """
    with open_regular(path) as file, parsing("no table", path):
        data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
        return decode_table(data)


def _pieces(table: TableData) -> Iterator[bytes]:
    rest = Breath()
    fields: list[Json] = [_field(column) for column in table.columns]
    head = _encoded({"schema": {"fields": fields}, "total_rows": table.total_rows, "data": []})
    yield head.removesuffix(b"]}")
    names = table.column_names
    writers = [_WRITERS.get(column.kind, _as_it_is) for column in table.columns]
    for place, cells in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        row = {
            name: None if cell is None else write(cell) for name, cell, write in zip(names, cells, writers, strict=True)
        }
        yield (b",\n" if place else b"\n") + _encoded(row)
        rest()
    yield b"\n]}\n"


def _field(column: Column) -> Json:
    field: dict[str, Json] = {"name": column.name, "type": _TYPES.get(column.kind, "string"), "kind": column.kind}
    if column.kind in NULLABLE_DTYPES and None in column.cells:
        field["extDtype"] = NULLABLE_DTYPES[column.kind]
    if column.kind == "timestamp" and any(isinstance(cell, datetime) and cell.tzinfo for cell in column.cells):
        field["tz"] = "UTC"
    return field


def _as_it_is(cell: Any) -> Json:
    return cell  # type: ignore[no-any-return]


def _moment(cell: Any) -> Json:
    written: str = cell.isoformat(timespec="microseconds")
    return written.replace("+00:00", "Z")


def _numbers(cell: Any) -> Json:
    return [_numbers(item) for item in cell] if isinstance(cell, list) else strict(cell)


def _uri(cell: Any) -> Json:
    return _URI + b64encode(encode_png(cell)).decode("ascii")


def _png_of(cell: object) -> bytes:
    uri = text(cell)
    if not uri.startswith(_URI):
        raise ValueError(f"no picture: {uri!r:.40}")
    return b64decode(uri[len(_URI) :], validate=True)


def _read_flag(cell: object) -> bool:
    if not isinstance(cell, bool):
        raise TypeError(f"no truth value: {cell!r:.40}")
    return cell


def _read_whole(cell: object) -> int:
    if type(cell) is not int:
        raise TypeError(f"no whole number: {cell!r:.40}")
    return cell


def _read_numbers(cell: object) -> Any:
    if isinstance(cell, list):
        return [_read_numbers(item) for item in cell]
    return cell if isinstance(cell, bool) else number(cell)


_WRITERS: dict[str, Callable[[Any], Json]] = {
    "number": strict,
    "timestamp": _moment,
    "array": _numbers,
    "image": _uri,
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "boolean": _read_flag,
    "integer": _read_whole,
    "number": lambda cell: real(number(cell)),
    "string": text,
    "timestamp": datetime.fromisoformat,
    "array": _read_numbers,
}
