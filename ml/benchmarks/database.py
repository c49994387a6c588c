"""The benchmark database: what a run of a pipeline was measured to cost, next to all earlier runs.

::

    with Benchmark("benchmarks.db", description="digits, batch size 64") as benchmark:
        benchmark.log("validation", "accuracy", 0.97)

    Benchmark("benchmarks.db", mode="r").query(RUNS.c.uuid, RUNS.c.started).all()

What is measured never waits for the database: rows are queued, and a thread commits them in batches as they come. A
process that is killed has lost its last batch. A database that is locked or away is tried again; meanwhile the queue
holds 64 MiB, past that the oldest rows are given up, counted, and told. The tables: ``ml.benchmarks.schema``. Which
processes share a run: ``ml.benchmarks.identity``.
"""

import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Query, Session

from ml.benchmarks.files import set_aside
from ml.benchmarks.identity import described, script_name
from ml.benchmarks.measurement import Measurement
from ml.benchmarks.schema import prepare
from ml.benchmarks.store import Chunk, Item, Numbered, chunks_of, size_of
from ml.benchmarks.values import plain
from ml.benchmarks.writing import Writer
from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.core.redact import Redactor
from ml.core.run import RunContext, detect_rank
from ml.db import connect, shown
from ml.db.files import sqlite_file
from ml.db.runs import run_uuid
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.rankstore import process_group_store
from ml.io.worker import Lock
from ml.loggers.stats import LoggerStats
from ml.loggers.strict_json import real

Mode = Literal["w", "a", "r"]
Ended = Literal["finished", "failed", "interrupted"]
Column = sa.ColumnElement[Any] | sa.FromClause

CLOSE_TIMEOUT_S = 10.0

_log = logging.getLogger("ml")


class OpenSeries:
    """A time series that is kept while the call that it belongs to still runs; ``Benchmark.begin_series`` makes it.

    Attributes:
        number: For ``Measurement.series``.
    """

    def __init__(self, number: int, submit: Callable[[Chunk], None]) -> None:
        self.number = number
        self._submit, self._count = submit, 0

    def add(self, samples: Iterable[tuple[float, float]]) -> None:
        """Hands samples on, behind those before; from one thread at a time. Many at once are cheaper than one by one.

        Args:
            samples: Monotonic seconds since the run began, and values.
        """
        for chunk in chunks_of(self.number, self._count, iter(samples)):
            self._count += len(chunk.values)
            self._submit(chunk)

    def __len__(self) -> int:
        return self._count


class Benchmark:
    """A run of a pipeline in a benchmark database, or a database that is read.

    Args:
        db_file: The path of an SQLite file, or a URL of SQLAlchemy's: ``postgresql+psycopg://user@host/name``.
        description: What the run is; tells it from others in a list.
        mode: ``"a"`` adds a run to what is there; ``"w"`` renames an SQLite file that is there to
            ``<file>.old-<n>`` and begins a new one; ``"r"`` reads, and begins no run.
        name: Of the program; by default the file name of the outermost script.
        context: Rank and clocks; by default those of this process. Its directory is not used.

    Attributes:
        uuid: Of the run; ``""`` in mode ``r``.
        description: As given.
        name: Of the program.
        mode: As given.
        context: Rank and clocks.
        sampler_cpu_s: CPU seconds that measuring itself has taken so far; whoever measures sets it, and it is kept
            with the run.

    Raises:
        ConfigError: An argument is wrong; newer software made the database, or it is none for benchmarks; mode ``w``
            on a server.
        FileNotFoundError: There is no such file to be read.
    """

    def __init__(
        self,
        db_file: str | Path,
        description: str = "",
        mode: Mode = "a",
        name: str = "",
        *,
        context: RunContext | None = None,
    ) -> None:
        if mode not in ("w", "a", "r"):
            raise ConfigError(f"mode is 'w', 'a' or 'r', got {mode!r}.")
        for argument, text in (("description", description), ("name", name)):
            if not isinstance(text, str):
                raise ConfigError(f"{argument} is a text, got {text!r:.80}.")
        self.db_file, self.description, self.mode = db_file, description, mode
        self.name = name or script_name()
        if context is None:
            rank, world_size = detect_rank()
            context = RunContext("", rank=rank, world_size=world_size)
        self.context = context
        self.uuid, self.sampler_cpu_s = "", 0.0
        self._file = sqlite_file(db_file)
        self._session: Session | None = None
        self._ending = Lock()
        self._writer: Writer | None = None
        self._closed = False
        if mode == "r" and self._file is not None and not self._file.is_file():
            raise FileNotFoundError(f"There is no benchmark database {self._file}. Mode 'a' makes one.")
        if mode == "w":
            if self._file is None:
                raise ConfigError(
                    f"mode 'w' would begin a new database, and {shown(connect(db_file).url)} is on a server. Use mode"
                    " 'a', which adds a run, or name another database."
                )
            set_aside(self._file)
        self._engine = connect(db_file, reads_only=mode == "r")
        if mode == "r":
            return
        self._begin(context)

    def _begin(self, context: RunContext) -> None:
        try:
            prepare(self._engine)
        except WriteError as error:
            _log.warning("The benchmark goes on, and is kept as soon as that is possible. %s", error)
        subject = f"{self.name}\n{self.description}"
        store = process_group_store() if context.world_size > 1 else None
        self.uuid = run_uuid("benchmark", context.rank, subject, store)
        self._started_s, self._started_time_s = context.clock(), context.wall_clock()
        self._numbers, self._open = count(1), dict[int, OpenSeries]()
        self._redactor = Redactor(os.environ)
        run = {
            "uuid": self.uuid,
            "token": secrets.token_hex(16),
            "rank": context.rank,
            "world_size": context.world_size,
            "description": self._redactor.redact_text(self.description),
            "name": self._redactor.redact_text(self.name),
            "status": "running",
            "started": datetime.fromtimestamp(self._started_time_s, UTC),
            "ended": None,
            "git_commit": None,
            "git_dirty": None,
            "sampler_cpu_s": 0.0,
            "lost": 0,
            **described(self._redactor),
        }
        self._writer = Writer(
            self._engine, self._file, run, self._redactor, lambda: {"sampler_cpu_s": self.sampler_cpu_s}
        )
        self._at_exit = _AtExit(self)
        close_at_exit(self._at_exit)
        tell_after_fork(self)

    # what is kept

    def elapsed_s(self) -> float:
        """Returns the monotonic seconds since the run began, for ``Sample.at_s`` and ``Measurement.at_s``.

        Raises:
            ConfigError: The database is open for reading.
        """
        self.check_writes()
        return self.context.clock() - self._started_s

    def record(self, measurements: Iterable[Measurement]) -> None:
        """Keeps measurements; never waits. What cannot be kept is counted and told, and does not raise.

        Args:
            measurements: Of one call, or what a tracker was told. One with a ``series`` ends it.

        Raises:
            ConfigError: The database is open for reading.
        """
        writer = self.check_writes()
        items: list[Item] = []
        for measurement in measurements:
            try:
                number = measurement.series or next(self._numbers)
                series = self._open.pop(number, None)
                samples = measurement.samples
                if len(samples):
                    measurement = measurement._replace(samples=())
                item = Numbered(number, measurement)
                size_of(item)  # which finds what is no measurement, while the others go on
                items.append(item)
                if len(samples):
                    (series or OpenSeries(number, items.append)).add(samples)
            except Exception as error:  # whoever is measured goes on
                writer.tally.accept(1)
                writer.fail(1, error)
        writer.submit(*items)

    def begin_series(self, measurement: Measurement) -> OpenSeries:
        """Begins a time series that is kept as it comes, so it may be longer than memory, and outlives a kill.

        ::

            series = benchmark.begin_series(Measurement("load", "cpu", None, status="running"))
            series.add([(benchmark.elapsed_s(), 99.5), ...])            # any number of times
            benchmark.record([Measurement("load", "cpu", 99.5, series=series.number)])

        Args:
            measurement: What is known of it yet. It is in the database until ``record`` replaces it by the one with
                the number of the series.

        Raises:
            ConfigError: The database is open for reading.
        """
        writer = self.check_writes()
        number = next(self._numbers)
        series = self._open[number] = OpenSeries(number, writer.submit)
        writer.submit(Numbered(number, measurement._replace(samples=(), series=number)))
        return series

    def log(self, description: str, measure_type: str, value: object, unit: str = "", method_name: str = "") -> None:
        """Keeps a value. Two with one description are two rows.

        Args:
            description: What it is.
            measure_type: What was measured: ``"accuracy"``.
            value: A number; or a text, or lists, mappings, arrays and tensors of numbers and texts, kept as JSON.
            unit: Of the number.
            method_name: Of the function that was measured.

        Raises:
            LogValueError: It is something else. Nothing of it is kept, and everything else is.
            ConfigError: The database is open for reading.
        """
        self.check_writes()
        for name, text in (
            ("description", description),
            ("measure_type", measure_type),
            ("unit", unit),
            ("method_name", method_name),
        ):
            if not isinstance(text, str):
                raise LogValueError(f"{name} is a text, got {text!r:.80}")
        data = plain(value)
        if data is None:
            raise LogValueError(f"'{description:.80}' has no value", "Give a number, a text, or what is made of them.")
        number = real(data) if isinstance(data, int | float) else None
        self.record(
            [
                Measurement(
                    description,
                    measure_type,
                    number,
                    unit,
                    source="given",
                    method=method_name,
                    rank=self.context.rank,
                    at_s=self.elapsed_s(),
                    time_s=self.context.wall_clock(),
                    data=None if number is not None else data,
                )
            ]
        )

    def stats(self) -> LoggerStats:
        """Returns what became of the rows: measurements and samples."""
        return self.check_writes().tally.stats()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was recorded is in the database.

        Args:
            timeout_s: How long at the most; ``None``: as long as it takes.

        Returns:
            False: it is not, or some of what was recorded since the last flush is lost.
        """
        return self._writer is None or self._writer.flush(timeout_s)

    # what is read

    @property
    def session(self) -> Session:
        """A session of SQLAlchemy's on the database; the same one every time. It is closed with the benchmark."""
        if self._session is None:
            self._session = Session(self._engine)
        return self._session

    def query(self, *what: Column) -> Query[Any]:
        """Returns ``session.query`` of columns or tables of ``ml.benchmarks.schema``, in mode ``r``.

        Raises:
            ConfigError: The mode is another one.
        """
        if self.mode != "r":
            raise ConfigError(f"query needs mode 'r', and this benchmark has mode '{self.mode}'.")
        return self.session.query(*what)

    def check_writes(self) -> Writer:
        """Returns what takes measurements.

        Raises:
            ConfigError: The mode is ``r``.
        """
        if self._writer is None:
            raise ConfigError(f"{self.db_file} is open for reading. Use mode 'a' to add a run.")
        return self._writer

    # how it ends

    def __enter__(self) -> "Benchmark":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(_status(error), CLOSE_TIMEOUT_S)

    def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Writes what is queued, and that the run has finished; again does nothing.

        Happens at exit by itself: where an exception ends the program the run is ``failed``, or ``interrupted``.

        Args:
            timeout_s: How long the database is waited for. What it has not taken by then is lost, and told.
        """
        self._end("finished", timeout_s)

    def after_fork_in_child(self) -> None:
        """Makes this copy inert: what it is told goes nowhere, and the parent's connections stay the parent's."""
        forget_at_exit(self._at_exit)
        self._session = None
        self._engine.dispose(close=False)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"A benchmark belongs to its process and cannot be pickled: {self.db_file}.")

    def _end(self, status: Ended, timeout_s: float | None) -> None:
        with self._ending:
            if self._closed:
                return
            self._closed = True
        if self._writer is not None:
            forget_at_exit(self._at_exit)
            # No less than what has passed: the time of day may have been set back.
            ended_s = max(self.context.wall_clock(), self._started_time_s + self.elapsed_s())
            ended = datetime.fromtimestamp(ended_s, UTC)
            self._writer.close({"status": status, "ended": ended, **described(self._redactor)}, timeout_s)
        if self._session is not None:
            self._session.close()
        self._engine.dispose()


class _AtExit:
    """Closes a benchmark that nobody closed, when the interpreter ends."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark

    def close(self) -> None:
        self._benchmark._end(_status(getattr(sys, "last_value", None)), CLOSE_TIMEOUT_S)


def _status(error: BaseException | None) -> Ended:
    """Returns how a run has ended that ended like that."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
