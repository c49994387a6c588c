"""The queue between what is measured and the database, and the thread that empties it."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from ml.benchmarks.store import Change, Item, Store, rows_of, size_of
from ml.core.errors import LogValueError, WriteError
from ml.core.redact import Redactor
from ml.db import shown
from ml.io.git import GitState, read_git
from ml.io.worker import Worker
from ml.loggers.stats import Dropped, Tally

MAX_QUEUE_BYTES = 64 << 20

_GATHER_BYTES = 1 << 20
_LONGEST_PAUSE_S = 30.0
_TELL_EVERY_S = 60.0

_log = logging.getLogger("ml")


class Writer:
    """Takes items of one process of a run, and commits them in batches as they come.

    A database that is locked or away is tried again, after 1 s, doubling to 30 s; an item that is refused costs no
    other.

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
        self._engine, self._columns = engine, columns
        self.tally = Tally()
        self._changes: dict[str, object] = {}
        self._pause_s, self._told_s = 0.0, dict[str, float]()
        self._is_whole, self._closed = True, False
        self._worker: Worker[tuple[Item, ...]] = Worker(
            "ml-benchmark", self._handle, max_bytes=MAX_QUEUE_BYTES, idle=self._idle, gather_bytes=_GATHER_BYTES
        )
        self._store = Store(engine, file, run, redactor, self._worker.breathe)
        self._worker.submit((Change({}),), size_bytes=0)  # a run is there also if nothing is measured

    @property
    def is_alive(self) -> bool:
        """Whether items are taken: it is not closed, and no forked child's copy."""
        return self._worker.is_alive

    @property
    def lost(self) -> int:
        """How many rows were given up."""
        stats = self.tally.stats()
        return sum(stats.dropped.values()) + sum(stats.failed.values())

    def flush(self, timeout_s: float | None) -> bool:
        """Waits until all is in the database. False: it is not in time, or some of it since the last flush is lost."""
        if self._closed:
            return False
        before, self._is_whole = self._is_whole, True
        return self._worker.drain(timeout_s) and before and self._is_whole

    def close(self, columns: Mapping[str, object], timeout_s: float | None) -> None:
        """Commits what is queued, and ``columns`` of ``runs`` last; tells what could not be in time."""
        self._closed = True
        if not self._worker.is_alive:
            return
        self._worker.submit((Change(columns),), size_bytes=0)
        self._drop("deadline", self._worker.stop(timeout_s))
        self.tally.finish()
        if self.lost:
            _log.warning("%s lost %d rows: %s", self._where, self.lost, self.tally.stats())

    @property
    def _where(self) -> str:
        return f"The benchmark database {shown(self._engine.url)}"

    def submit(self, *items: Item) -> None:
        """Queues items at the price of one; never waits. What finds no room is counted, and told."""
        self.tally.accept(sum(map(rows_of, items)))
        is_forked = not (self._closed or self._worker.is_alive)
        dropped = self._worker.submit(items, size_bytes=sum(map(size_of, items)))
        if is_forked:
            self.tally.drop("closed", sum(map(rows_of, items)))  # the worker has told it
        elif dropped:
            self._drop("closed" if self._closed else "queue_full", dropped)

    def _drop(self, reason: Dropped, dropped: Iterable[tuple[Item, ...]]) -> None:
        rows = sum(rows_of(item) for items in dropped for item in items)
        self.tally.drop(reason, rows)
        if rows:
            self._is_whole = False
            self._tell(reason, "%s: %d rows are lost (%s); more are only counted.", self._where, rows, reason)

    def fail(self, rows: int, error: Exception) -> None:
        """Counts accepted rows that cannot be kept, and tells it."""
        self.tally.fail("value" if isinstance(error, LogValueError) else "write", rows)
        self._is_whole = False
        self._tell("failed", "%s: %d rows are lost: %s", self._where, rows, error)

    def _tell(self, kind: str, message: str, *arguments: object) -> None:
        now_s = time.monotonic()
        if now_s >= self._told_s.get(kind, now_s):
            self._told_s[kind] = now_s + _TELL_EVERY_S
            _log.warning(message, *arguments)

    # the worker's thread

    def _handle(self, queued: list[tuple[Item, ...]]) -> float | None:
        """Commits items. Returns after how many seconds they are to come again."""
        items = [item for together in queued for item in together]
        for item in items:
            if isinstance(item, Change):
                self._changes |= item.columns
        rows = [item for item in items if not isinstance(item, Change)]
        if self._store.is_moved():
            self._tell("moved", "%s was moved or removed; what follows goes into a new one in its place.", self._where)
        try:
            failed = self._write(rows)
        except WriteError as error:
            self._pause_s = min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
            self._tell("away", "%s The rows wait, and are tried again.", error)
            return self._pause_s
        self._pause_s = 0.0
        self.tally.write(sum(map(rows_of, rows)) - sum(lost for lost, _ in failed))
        for lost, reason in failed:
            self.fail(lost, reason)
        return None

    def _write(self, items: Sequence[Item]) -> list[tuple[int, Exception]]:
        """Commits items; those that are refused alone, so that one costs no other. Returns how many rows each lost."""
        changes = self._changes | {**self._columns(), "lost": self.lost}
        try:
            self._store.write(items, changes)
        except WriteError:
            raise
        except Exception as error:
            if len(items) > 1:
                return [failure for item in items for failure in self._write([item])]
            return [(sum(map(rows_of, items)), error)]
        return []

    def _idle(self) -> None:
        """Adds what takes a while to find out."""
        if "git_commit" not in self._changes:
            git = _read_git()
            self._changes["git_commit"] = None if git is None else git.commit
            self._changes["git_dirty"] = None if git is None or git.patch is None else bool(git.patch)
            self._handle([])


def _read_git() -> GitState | None:
    try:
        return read_git(Path.cwd())
    except OSError:  # the directory has been removed
        return None
