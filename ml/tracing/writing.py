"""What takes a model's inferences and has them committed, while the model goes on.

::

    writer = TraceWriter("traces.db", Identity("fcos", "v1", architecture, "detection", 10))
    writer.submit(inferences)
    writer.close()

Nothing waits for the database. A process that is killed has lost its last batch; a database that is locked or away is
tried again, while the queue holds what comes. Past its size the oldest inferences are given up, counted, and told.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import ConfigError, MLError, WriteError
from ml.core.redact import Redactor
from ml.db import connect, shown
from ml.db.files import sqlite_file
from ml.db.runs import checked_run, run_uuid
from ml.db.writing import MAX_QUEUE_BYTES, BatchWriter
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.rankstore import process_group_store
from ml.io.runrecord import describe_process
from ml.io.worker import Lock
from ml.loggers.stats import LoggerStats
from ml.tracing.databases import rank_database
from ml.tracing.fields import FieldSpec
from ml.tracing.record import Identity, Inference
from ml.tracing.rows import RowMaker, size_of
from ml.tracing.schema import NAME_LENGTH
from ml.tracing.selection import Selection, newest
from ml.tracing.storing import TraceStore

CLOSE_TIMEOUT_S = 10.0

_GATHER_BYTES = 4 << 20
"""Some hundred inferences: what comes faster than it is written is worth fewer and longer transactions."""

_log = logging.getLogger("ml")


class _Change(NamedTuple):
    """Columns of ``runs`` that have changed."""

    columns: Mapping[str, object]


_Item = Inference | _Change


class TraceWriter:
    """Takes the inferences of one process, and commits them in batches as they come.

    Args:
        database: The path of an SQLite file, or a URL of SQLAlchemy's; ranks above 0 write to a file of their own
            (``ml.tracing.databases``).
        identity: Whose inferences they are.
        fields: The columns of inferences that are the user's own.
        label_fields: Those of true boxes.
        recreate: Renames the tables that are there first, once for all ranks of a run.
        rank: Of this process.
        world_size: How many ranks there are.
        run: The uuid of the run, the same on all ranks; ``None``: as ``ml.db.runs`` says, with ``ML_TRACING_RUN``.
        max_queue_bytes: What may wait for the database.
        room_timeout_s: How long ``submit`` waits for room in the queue at the most, before the oldest inferences are
            given up. 0: never, as a deployment needs it.
        redactor: Takes secrets out of texts; ``None``: those of the environment.
        wall_clock: Returns Unix seconds.

    Attributes:
        run: The uuid of the run.
        database: What this rank writes to.

    Raises:
        ConfigError: An argument is wrong; the database is none for traces; the model is known with another
            architecture, or a field with another type.
    """

    def __init__(
        self,
        database: str | Path,
        identity: Identity,
        *,
        fields: Sequence[FieldSpec] = (),
        label_fields: Sequence[FieldSpec] = (),
        recreate: bool = False,
        rank: int = 0,
        world_size: int = 1,
        run: str | None = None,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        room_timeout_s: float = 0.0,
        redactor: Redactor | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        for name, text in (("model_name", identity.model_name), ("version_name", identity.version_name)):
            if not 0 < len(text) <= NAME_LENGTH:
                raise ConfigError(f"{name} has 1 to {NAME_LENGTH} characters, got {text!r:.80}.")
        redactor = Redactor(os.environ) if redactor is None else redactor
        self.database = rank_database(database, rank)
        self._shared_database, self._identity, self._wall_clock = database, identity, wall_clock
        self._room_timeout_s = room_timeout_s
        self._engine = connect(self.database)
        self._where = f"The trace database {shown(self._engine.url)}"
        if run is None:
            store = process_group_store() if world_size > 1 else None
            run = run_uuid("tracing", rank, f"{identity.model_name}\n{identity.version_name}", store)
        self.run = checked_run(run, "run")
        self._rows = RowMaker(self.run, rank, fields, label_fields, redactor)
        self._changes: dict[str, object] = {}
        self._ending, self._closed = Lock(), False
        self._store = TraceStore(
            self._engine,
            sqlite_file(self.database),
            identity,
            {
                "uuid": self.run,
                "rank": rank,
                "world_size": world_size,
                "started": self._now(),
                "ended": None,
                "lost": 0,
                **_described(redactor),
            },
            fields=fields,
            label_fields=label_fields,
            recreate=recreate,
            breathe=lambda: self._batches.breathe(),
        )
        try:
            self._store.prepare()
        except WriteError as error:
            _log.warning("Tracing goes on, and is kept as soon as that is possible. %s", error)
        except BaseException:
            self._engine.dispose()
            raise
        self._batches: BatchWriter[_Item] = BatchWriter(
            self._where,
            self._commit,
            thread="ml-trace",
            size_of=lambda item: size_of(item) if isinstance(item, Inference) else 0,
            count_of=lambda item: int(isinstance(item, Inference)),
            unit="inferences",
            max_bytes=max_queue_bytes,
            gather_bytes=_GATHER_BYTES,
        )
        close_at_exit(self)
        tell_after_fork(self)

    def latest_epoch(self) -> int | None:
        """Returns the highest epoch of the newest run of the version that has inferences; ``None``: there is none.

        A database that cannot be read has none.
        """
        selection = Selection(self._identity.model_name, self._identity.version_name)
        try:
            return newest(self._shared_database, selection)
        except (MLError, FileNotFoundError):
            return None

    def submit(self, inferences: Sequence[Inference]) -> None:
        """Queues inferences; never raises. What finds no room, or comes too late, is counted and told."""
        for inference in inferences:
            self._batches.submit(inference, room_timeout_s=self._room_timeout_s)

    def stats(self) -> LoggerStats:
        """Returns what became of the inferences."""
        return self._batches.tally.stats()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was submitted is in the database.

        Args:
            timeout_s: How long at the most; ``None``: as long as it takes.

        Returns:
            False: it is not, or some of what was submitted since the last flush is lost.
        """
        return self._batches.flush(timeout_s)

    def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Writes what is queued, and that the run has ended; again does nothing. Happens at exit by itself.

        Args:
            timeout_s: How long the database is waited for. What it has not taken by then is lost, and told.
        """
        with self._ending:
            if self._closed:
                return
            self._closed = True
        forget_at_exit(self)
        self._batches.close(_Change({"ended": self._now()}), timeout_s)
        self._engine.dispose()

    def after_fork_in_child(self) -> None:
        """Makes this copy inert: what it is told goes nowhere, and the parent's connections stay the parent's."""
        forget_at_exit(self)
        self._engine.dispose(close=False)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"A trace writer belongs to its process and cannot be pickled: {shown(self._engine.url)}.")

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)

    def _commit(self, items: Sequence[_Item]) -> None:
        """Commits items in one transaction, on the writer's thread."""
        for item in items:
            if isinstance(item, _Change):
                self._changes |= item.columns
        if self._store.is_moved():
            message = "%s was moved or removed; what follows goes into a new one in its place."
            self._batches.tell("moved", message, self._where)
        batch = [self._rows.rows_of(item) for item in items if isinstance(item, Inference)]
        self._store.write(batch, self._changes | {"lost": self._batches.lost})


def _described(redactor: Redactor) -> dict[str, object]:
    about = describe_process(redactor, sys.argv, os.environ)
    return {"host": str(about["host"]), "pid": about["pid"], "argv": json.dumps(about["argv"])}
