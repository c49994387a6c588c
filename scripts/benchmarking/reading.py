"""Reads scalars back from what each logger wrote, also where its process was killed while it wrote.

Each with the reader of its own package where there is one. A W&B file is a log of LevelDB's kind, 32 KiB blocks of
``<I crc32c><H length><B type>``, which their package writes in Go; its records are read with their messages.
"""

import csv
import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

Row = tuple[int, str]

_BLOCK_BYTES, _HEADER = 32768, struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def json_lines(directory: Path) -> set[Row]:
    rows: set[Row] = set()
    for path in directory.rglob("log.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last line end is not finished
            state = json.loads(line)
            rows.update((state["step"], key) for key in state.get("scalars", {}))
    return rows


def events(directory: Path) -> set[Row]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    rows: set[Row] = set()
    for path in directory.rglob("events.out.tfevents.*"):
        for event in LegacyEventFileLoader(str(path)).Load():
            rows.update((event.step, value.tag) for value in event.summary.value if value.HasField("simple_value"))
    return rows


def wandb_records(directory: Path) -> set[Row]:
    from wandb.proto.wandb_internal_pb2 import Record

    rows: set[Row] = set()
    for path in directory.rglob("run-*.wandb"):
        for data in _leveldb_records(path.read_bytes()):
            items = Record.FromString(data).history.item
            named = {item.key or "/".join(item.nested_key): item.value_json for item in items}
            step = int(named.get("_step", -1))
            rows.update((step, key) for key in named if not key.startswith("_"))
    return rows


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Yields the whole records of a log; one that is torn ends it."""
    offset = _HEADER.size  # the file's own header is as long as that of a record
    record = b""
    while True:
        left = _BLOCK_BYTES - offset % _BLOCK_BYTES
        if left < _HEADER.size:  # filled with zeros
            offset += left
        if offset + _HEADER.size > len(data):
            return
        _, length, kind = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        part = data[offset : offset + length]
        if len(part) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            return
        offset += length
        record = part if kind in (_FULL, _FIRST) else record + part
        if kind in (_FULL, _LAST):
            yield record


def trackio_database(directory: Path) -> set[Row]:
    rows: set[Row] = set()
    for path in directory.glob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'metrics'").fetchone():
                continue  # killed before its thread wrote for the first time
            for step, metrics in database.execute("SELECT step, metrics FROM metrics"):
                rows.update((step, key) for key in json.loads(metrics))
    return rows


def swanlab_records(directory: Path) -> set[Row]:
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreError, DataStoreReader

    rows: set[Row] = set()
    for path in directory.rglob("*.swanlab"):
        reader = DataStoreReader()
        try:
            reader.open(path)
            while (data := reader.scan()) is not None:
                record = Record.FromString(data)
                if record.HasField("scalar"):
                    rows.add((record.scalar.step, record.scalar.key))
        except (AssertionError, DataStoreError):  # how it says that the rest is torn
            pass
    return rows


def csv_rows(directory: Path) -> set[Row]:
    rows: set[Row] = set()
    for path in directory.rglob("metrics.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                rows.update((int(row["step"]), key) for key, value in row.items() if key != "step" and value)
    return rows
