"""What takes measurements and has them committed, with the row of the process that made them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from ml.benchmarks.store import Change, Item, Store, rows_of, size_of
from ml.core.redact import Redactor
from ml.db import shown
from ml.db.writing import MAX_QUEUE_BYTES, BatchWriter
from ml.io.git import GitState, read_git
from ml.loggers.stats import Tally


class Writer:
    """Takes items of one process of a run, and commits them in batches as they come: ``ml.db.writing``.

    Args:
        engine: Of ``ml.db.connect``.
        file: That an SQLite database lies in.
        run: The columns of ``runs`` at the start.
        redactor: Takes secrets out of texts.
        columns: Returns columns of ``runs`` that change while the run goes on. Called on the writer's thread.

    Attributes:
        tally: Counts rows.
    """

    def __init__(
        self,
        engine: sa.Engine,
        file: Path | None,
        run: Mapping[str, object],
        redactor: Redactor,
        columns: Callable[[], Mapping[str, object]],
    ) -> None:
        self._where, self._columns = f"The benchmark database {shown(engine.url)}", columns
        self._changes: dict[str, object] = {}
        self._store = Store(engine, file, run, redactor, lambda: self._batches.breathe())
        self._batches: BatchWriter[Item] = BatchWriter(
            self._where,
            self._commit,
            thread="ml-benchmark",
            size_of=size_of,
            count_of=rows_of,
            unit="rows",
            max_bytes=MAX_QUEUE_BYTES,
            idle=self._idle,
        )
        self.tally: Tally = self._batches.tally
        self._batches.command(Change({}))  # a run is there also if nothing is measured

    @property
    def is_alive(self) -> bool:
        """Whether items are taken: it is not closed, and no forked child's copy."""
        return self._batches.is_alive

    def flush(self, timeout_s: float | None) -> bool:
        """Waits until all is in the database. False: it is not in time, or some of it since the last flush is lost."""
        return self._batches.flush(timeout_s)

    def close(self, columns: Mapping[str, object], timeout_s: float | None) -> None:
        """Commits what is queued, and ``columns`` of ``runs`` last; tells what could not be in time."""
        self._batches.close(Change(columns), timeout_s)

    def submit(self, *items: Item) -> None:
        """Queues items at the price of one; never waits. What finds no room is counted, and told."""
        self._batches.submit(*items)

    def fail(self, rows: int, error: Exception) -> None:
        """Counts accepted rows that cannot be kept, and tells it."""
        self._batches.fail(rows, error)

    # the writer's thread

    def _commit(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Change):
                self._changes |= item.columns
        if self._store.is_moved():
            message = "%s was moved or removed; what follows goes into a new one in its place."
            self._batches.tell("moved", message, self._where)
        rows = [item for item in items if not isinstance(item, Change)]
        self._store.write(rows, self._changes | {**self._columns(), "lost": self._batches.lost})

    def _idle(self) -> None:
        """Adds what takes a while to find out."""
        if "git_commit" not in self._changes:
            git = _read_git()
            self._changes["git_commit"] = None if git is None else git.commit
            self._changes["git_dirty"] = None if git is None or git.patch is None else bool(git.patch)
            self._batches.write([])


def _read_git() -> GitState | None:
    try:
        return read_git(Path.cwd())
    except OSError:  # the directory has been removed
        return None
