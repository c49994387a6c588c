"""Benchmark databases, read back: runs, measurements and time series.

::

    benchmarks = open_benchmark("benchmarks.db")
    for run in benchmarks.runs():
        print(run.uuid, run.description, run.status)
    for measurement in benchmarks.measurements(uuids=["3f2a"], types=["cpu"]):
        print(measurement.description, measurement.value, measurement.unit, len(list(benchmarks.samples(measurement))))
    benchmarks.to_pandas(types=["time"]).groupby("method")["value"].median()

Nothing is changed, and nothing waits: a database can be read while others write to it. Rows come some thousand at a
time, each time in a transaction of its own, so the longest series needs no memory, and no reader keeps a log growing.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from ml.benchmarks.measurement import Sample
from ml.benchmarks.schema import METADATA, SCHEMA, SCHEMA_VERSION
from ml.benchmarks.stored import (
    BenchmarkRun,
    Kind,
    Process,
    StoredMeasurement,
    measurement_of,
    process_of,
    run_of,
)
from ml.core.errors import ConfigError
from ml.db import connect, shown
from ml.db.files import sqlite_file
from ml.db.reading import reading
from ml.loggers.strict_json import parsing

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["BenchmarkRun", "Benchmarks", "Kind", "Process", "StoredMeasurement", "open_benchmark"]

_MEASUREMENTS_AT_ONCE, _SAMPLES_AT_ONCE = 1000, 10_000

_VERSIONS = sa.table("schema_versions", sa.column("name", sa.String), sa.column("version", sa.Integer))


class Benchmarks:
    """The runs of a benchmark database. ``open_benchmark`` makes it.

    ``uuids`` may be beginnings, as far as each fits one run. ``types`` and ``descriptions`` are whole; of an empty
    sequence all are meant.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._there: dict[str, set[str]] | None = None

    def __repr__(self) -> str:
        return f"Benchmarks({shown(self._engine.url)!r})"

    def runs(self, uuids: Sequence[str] = ()) -> list[BenchmarkRun]:
        """Returns the runs in the order in which they began.

        Raises:
            ConfigError: No run, or more than one, has a uuid that begins like that.
        """
        by_uuid: dict[str, list[Process]] = {}
        for process in self._processes(uuids):
            by_uuid.setdefault(process.uuid, []).append(process)
        return [run_of(processes) for processes in by_uuid.values()]

    def kinds(self, uuids: Sequence[str] = ()) -> list[Kind]:
        """Returns of what there are measurements, by run, type and description.

        Raises:
            ConfigError: As ``runs``.
        """
        table, found = self._table("measurements"), list[Kind]()
        for run in self.runs(uuids):
            ids = [process.id for process in run.processes]
            counts = (
                sa.select(table.c.type, table.c.description, sa.func.count().label("measurements"))
                .where(table.c.run_id.in_(ids))
                .group_by(table.c.type, table.c.description)
            )
            found += sorted(Kind(run.uuid, row.type, row.description, row.measurements) for row in self._rows(counts))
        return found

    def measurements(
        self, uuids: Sequence[str] = (), types: Sequence[str] = (), descriptions: Sequence[str] = ()
    ) -> Iterator[StoredMeasurement]:
        """Yields measurements, run by run and process by process, in the order in which they were made.

        Raises:
            ConfigError: As ``runs``.
            FormatError: One is damaged: its data is no JSON, for example.
        """
        table = self._table("measurements")
        wanted = [
            column.in_(names)
            for column, names in ((table.c.type, types), (table.c.description, descriptions))
            if len(names)
        ]
        for process in self._processes(uuids):
            query = sa.select(table).where(table.c.run_id == process.id, *wanted).order_by(table.c.number)
            last = 0
            while rows := self._rows(query.where(table.c.number > last).limit(_MEASUREMENTS_AT_ONCE)):
                yield from (measurement_of(process.uuid, row._asdict()) for row in rows)
                last = rows[-1].number

    def samples(self, measurement: StoredMeasurement) -> Iterator[Sample]:
        """Yields the time series behind a measurement, in order; none where it has none.

        Raises:
            FormatError: It is damaged.
        """
        for at_s, values in self.sample_columns(measurement):
            yield from map(Sample, at_s, values)

    def sample_columns(self, measurement: StoredMeasurement) -> "Iterator[tuple[array[float], array[float]]]":
        """Yields what ``samples`` does, some thousand at a time: the times, and the values."""
        table = self._table("samples")
        # As the database has them: a million calls of Real would take longer than all the rest.
        at_s, value = (sa.type_coerce(column, sa.Double) for column in (table.c.at_s, table.c.value))
        here = sa.and_(table.c.run_id == measurement.process, table.c.number == measurement.number)
        query = sa.select(table.c.sample, at_s, value).where(here).order_by(table.c.sample).limit(_SAMPLES_AT_ONCE)
        last = -1
        while rows := self._rows(query.where(table.c.sample > last)):
            numbers, times, values = zip(*rows, strict=True)
            yield _packed(times), _packed(values)
            last = numbers[-1]

    def count_samples(self, measurement: StoredMeasurement) -> int:
        """Returns how many samples ``samples`` yields."""
        table = self._table("samples")
        query = sa.select(sa.func.count()).where(
            table.c.run_id == measurement.process, table.c.number == measurement.number
        )
        return int(self._rows(query)[0][0])

    def to_pandas(
        self, uuids: Sequence[str] = (), types: Sequence[str] = (), descriptions: Sequence[str] = ()
    ) -> "DataFrame":
        """Returns the measurements as a frame: a row each, a column for each field of ``StoredMeasurement``.

        ``value`` is a float: NaN also where there is none, which ``has_value`` tells apart.

        Raises:
            ConfigError: As ``runs``; or pandas is not installed.
            FormatError: As ``measurements``.
        """
        pd = _pandas()
        rows = list(self.measurements(uuids, types, descriptions))
        frame = pd.DataFrame(map(_in_utf_8, rows), columns=list(StoredMeasurement._fields))
        frame.insert(frame.columns.get_loc("value"), "has_value", [row.value is not None for row in rows])
        frame["value"] = frame["value"].astype("float64")
        frame["time"] = pd.to_datetime(frame["time"], utc=True)
        return cast("DataFrame", frame)

    def samples_to_pandas(self, measurement: StoredMeasurement) -> "DataFrame":
        """Returns a time series as a frame with the columns ``at_s`` and ``value``.

        Raises:
            ConfigError: pandas is not installed.
        """
        pd = _pandas()
        at_s, values = array("d"), array("d")
        for more_at_s, more in self.sample_columns(measurement):
            at_s += more_at_s
            values += more
        return cast("DataFrame", pd.DataFrame({"at_s": at_s, "value": values}, dtype="float64"))

    def runs_to_pandas(self, uuids: Sequence[str] = ()) -> "DataFrame":
        """Returns the processes of the runs as a frame: a row each, a column for each field of ``Process``.

        Raises:
            ConfigError: As ``runs``; or pandas is not installed.
        """
        frame = _pandas().DataFrame(map(_in_utf_8, self._processes(uuids)), columns=list(Process._fields))
        return cast("DataFrame", frame)

    def close(self) -> None:
        """Closes the connections; what is read afterwards opens new ones."""
        self._engine.dispose()

    def __enter__(self) -> "Benchmarks":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _processes(self, uuids: Sequence[str]) -> list[Process]:
        if isinstance(uuids, str):
            raise ConfigError(f"uuids is a sequence of texts, got {uuids!r}. Write [{uuids!r}].")
        table = self._table("runs")
        found = [process_of(row._asdict()) for row in self._rows(sa.select(table))]
        found.sort(key=lambda process: (process.started, process.id))
        if not uuids:
            first = {process.uuid: process for process in reversed(found)}
            return sorted(found, key=lambda process: (first[process.uuid].started, first[process.uuid].id, process.id))
        there = list(dict.fromkeys(process.uuid for process in found))
        chosen = list(dict.fromkeys(_resolved(uuid, there, self) for uuid in uuids))
        return [process for uuid in chosen for process in found if process.uuid == uuid]

    def _table(self, name: str) -> Any:
        """Returns what is selected from for a table: with NULL for the columns that an older version had not."""
        self._check()
        assert self._there is not None, "it was just looked at"
        table = METADATA.tables[name]
        missing = [column.name for column in table.columns if column.name not in self._there[name]]
        if not missing:
            return table
        columns = [sa.null().label(c.name) if c.name in missing else c for c in table.columns]
        return sa.select(*columns).select_from(table).subquery(name)

    def _check(self) -> None:
        """Looks once whether it is a database for benchmarks, and which columns it has."""
        if self._there is not None:
            return
        with reading(self._engine), self._engine.connect() as connection:
            inspector = sa.inspect(connection)
            names = set(inspector.get_table_names())
            version = None
            if _VERSIONS.name in names:
                query = sa.select(_VERSIONS.c.version).where(_VERSIONS.c.name == SCHEMA)
                version = connection.scalar(query)
            if not isinstance(version, int) or not names.issuperset(METADATA.tables):
                raise ConfigError(f"{shown(self._engine.url)} is no database for benchmarks. Name one that a run made.")
            if version > SCHEMA_VERSION:
                raise ConfigError(
                    f"{shown(self._engine.url)} was made by a newer version ({version}; this one knows"
                    f" {SCHEMA_VERSION}). Update this software: pip install -U ml-logbook."
                )
            self._there = {name: {c["name"] for c in inspector.get_columns(name)} for name in METADATA.tables}

    def _rows(self, query: sa.Executable) -> "Sequence[sa.Row[Any]]":
        with reading(self._engine), self._engine.connect() as connection:
            return connection.execute(query).all()


def open_benchmark(where: str | Path) -> Benchmarks:
    """Opens a benchmark database for reading; others may write to it meanwhile.

    Args:
        where: The path of an SQLite file, or a URL of SQLAlchemy's.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError: The file is no SQLite database.
        ConfigError: It is no database for benchmarks, newer software made it, it does not answer, or ``where`` is
            no path or URL.
    """
    file = sqlite_file(where)
    if file is not None and not file.is_file():
        raise FileNotFoundError(f"There is no benchmark database {file}.")
    benchmarks = Benchmarks(connect(where, reads_only=True))
    try:
        benchmarks._check()
    except BaseException:
        benchmarks.close()
        raise
    return benchmarks


def _resolved(beginning: str, uuids: Sequence[str], benchmarks: Benchmarks) -> str:
    """Returns the one uuid that begins like that."""
    fitting = [uuid for uuid in uuids if uuid.startswith(beginning)]
    if beginning in fitting:
        return beginning
    if len(fitting) == 1 and beginning:
        return fitting[0]
    if not fitting:
        raise ConfigError(f"{benchmarks} has no run whose uuid begins with {beginning!r}.")
    raise ConfigError(f"Several runs fit the uuid {beginning!r}: {', '.join(fitting[:5])}. Give more of it.")


def _packed(column: Sequence[float | None]) -> "array[float]":
    """Returns numbers, 8 bytes each; NULL is NaN."""
    with parsing("no samples"):
        return array("d", [math.nan if number is None else number for number in column])


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ConfigError("A frame needs pandas: pip install 'ml-logbook[benchmarks]'.") from error
    return pandas


def _in_utf_8(row: tuple[object, ...]) -> tuple[object, ...]:
    """Returns a row that pandas can hold: its texts have no half surrogate pairs."""
    return tuple(v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for v in row)
