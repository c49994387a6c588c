"""How a process's measurements get into the database: in batches, each one transaction, on the worker's thread.

A measurement is known by its process and its number, a sample by its place too, so a batch that is offered again,
since nobody knows whether it was committed, is there once.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ml.benchmarks.measurement import Measurement
from ml.benchmarks.schema import MEASUREMENTS, RUNS, SAMPLES, prepare
from ml.benchmarks.values import to_json
from ml.core.errors import LogValueError
from ml.core.redact import Redactor
from ml.db import transact, upsert
from ml.db.files import FileWatch

CHUNK_SAMPLES = 10_000

_SAMPLES_AT_ONCE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MEASUREMENT_BYTES, _SAMPLE_BYTES = 1000, 16
_INTEGER = 2**63


class Numbered(NamedTuple):
    """A measurement on its way to the database; ``number`` counts those of the process, from 1."""

    number: int
    measurement: Measurement


class Chunk(NamedTuple):
    """Some samples of a measurement, the first of which is the ``first`` one of its series, counted from 0."""

    number: int
    first: int
    at_s: "array[float]"
    values: "array[float]"


class Change(NamedTuple):
    """Columns of ``runs`` that have changed."""

    columns: Mapping[str, object]


Item = Numbered | Chunk | Change


def size_of(item: Item) -> int:
    """Returns about how many bytes an item takes in the queue."""
    if isinstance(item, Chunk):
        return _SAMPLE_BYTES * len(item.values) + _MEASUREMENT_BYTES // 4
    if isinstance(item, Change):
        return _MEASUREMENT_BYTES
    measurement = item.measurement
    texts = (measurement.description, measurement.type, measurement.reason, measurement.method, measurement.error)
    return _MEASUREMENT_BYTES + sum(map(len, texts)) + _size_of_data(measurement.data)


def rows_of(item: Item) -> int:
    """Returns how many rows an item becomes, which is what is counted."""
    if isinstance(item, Chunk):
        return len(item.values)
    return 1 if isinstance(item, Numbered) else 0


def chunks_of(number: int, first: int, samples: Iterator[tuple[float, float]]) -> Iterator[Chunk]:
    """Yields samples in chunks, packed: 16 bytes a sample.

    Raises:
        TypeError, ValueError: They are no pairs of numbers.
    """
    while taken := list(islice(samples, CHUNK_SAMPLES)):
        chunk = Chunk(number, first, array("d", [at_s for at_s, _ in taken]), array("d", [v for _, v in taken]))
        first += len(taken)
        yield chunk


class Store:
    """The rows of one process of a run.

    Args:
        engine: Of ``ml.db.connect``.
        file: That an SQLite database lies in.
        run: The columns of ``runs`` as they are at the start; ``token`` tells the process from all others.
        redactor: Takes secrets out of texts.
        breathe: Called now and then.
    """

    def __init__(
        self,
        engine: sa.Engine,
        file: Path | None,
        run: Mapping[str, object],
        redactor: Redactor,
        breathe: Callable[[], None],
    ) -> None:
        self._engine, self._redactor, self._breathe = engine, redactor, breathe
        self._run = dict(run)
        self._kept: dict[str, object] | None = None  # the row as the database has it; None: it may not have the tables
        self._watch = FileWatch(file)
        self._texts: dict[str, str] = {}

    def is_moved(self) -> bool:
        """Returns whether another file, or none, lies where the database was; once: what follows goes to a new one."""
        if not self._watch.is_moved():
            return False
        self._kept = None
        self._engine.dispose()
        return True

    def write(self, items: Sequence[Item], changes: Mapping[str, object]) -> None:
        """Commits items, and the row of the process before the first.

        Args:
            items: In order; of equal numbers the last measurement counts.
            changes: Columns of ``runs`` that may have changed.

        Raises:
            WriteError: Not now.
            LogValueError: The database refuses an item, or it cannot be kept.
            ConfigError: The database was made by newer software.
        """
        rows = [self._row(item) for item in items if isinstance(item, Numbered)]
        chunks = [item for item in items if isinstance(item, Chunk)]
        run = {**self._run, **changes}

        def work(connection: sa.Connection) -> None:
            run_id = self._find_or_begin(connection, run)
            upsert(connection, MEASUREMENTS, [{"run_id": run_id} | row for row in rows])
            for chunk in chunks:
                for samples in _samples(run_id, chunk):
                    upsert(connection, SAMPLES, samples)
                    self._breathe()

        if self._kept is None:
            prepare(self._engine)
        try:
            transact(self._engine, work)
        except LogValueError:
            if self._kept is None:
                raise
            self._kept = None  # somebody may have emptied the database: once more, from the beginning
            prepare(self._engine)
            transact(self._engine, work)
        self._run, self._kept = run, run

    def _find_or_begin(self, connection: sa.Connection, run: Mapping[str, object]) -> int:
        """Returns the id of the process's row. It is looked for every time: another file may lie here now."""
        found = connection.scalar(sa.select(RUNS.c.id).where(RUNS.c.token == run["token"]))
        if found is None:
            connection.execute(RUNS.insert(), dict(run))
            found = connection.scalar(sa.select(RUNS.c.id).where(RUNS.c.token == run["token"]))
        elif run != self._kept:
            connection.execute(RUNS.update().where(RUNS.c.id == found).values(**run))
        assert found is not None, "a row that was inserted is found"
        return int(found)

    def _row(self, item: Numbered) -> dict[str, object]:
        measurement = item.measurement
        if not -_INTEGER <= measurement.call < _INTEGER:
            raise LogValueError(f"the number of a call has 64 bits, got {measurement.call!r:.60}")
        return {
            "number": item.number,
            "description": self._clean(measurement.description),
            "type": measurement.type,
            "has_value": measurement.value is not None,
            "value": measurement.value,
            "unit": measurement.unit,
            "source": measurement.source,
            "reason": self._clean(measurement.reason),
            "method": measurement.method,
            "call": measurement.call,
            "status": measurement.status,
            "error": self._clean(measurement.error),
            "rank": measurement.rank,
            "at_s": measurement.at_s,
            "duration_s": measurement.duration_s,
            "time": _moment(measurement.time_s),
            "data": None if measurement.data is None else to_json(measurement.data).decode(),
        }

    def _clean(self, text: str) -> str:
        """Returns a text without secrets; most come again and again."""
        if not text:
            return text
        if (clean := self._texts.get(text)) is None:
            if len(self._texts) >= 1000:
                self._texts.clear()
            clean = self._texts[text] = self._redactor.redact_text(text, self._breathe)
        return clean


def _samples(run_id: int, chunk: Chunk) -> Iterator[list[dict[str, object]]]:
    for start in range(0, len(chunk.values), _SAMPLES_AT_ONCE):
        stop = min(start + _SAMPLES_AT_ONCE, len(chunk.values))
        yield [
            {
                "run_id": run_id,
                "number": chunk.number,
                "sample": chunk.first + index,
                "at_s": chunk.at_s[index],
                "value": chunk.values[index],
            }
            for index in range(start, stop)
        ]


def _moment(time_s: float) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=time_s)
    except (OverflowError, ValueError):
        raise LogValueError(f"no calendar has a moment {time_s!r} s after 1970") from None


def _size_of_data(data: object) -> int:
    if isinstance(data, dict):
        return sum(map(_size_of_data, data.values())) + 100 * len(data)
    if isinstance(data, list):
        first = data[0] if data else None
        nested = isinstance(first, list | dict | str)
        return sum(map(_size_of_data, data)) if nested else 32 * len(data)
    return len(data) if isinstance(data, str) else 32
