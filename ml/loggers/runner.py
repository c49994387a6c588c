"""Calls one backend, on the backend's own thread: values, writes, retries, durability.

Secrets are taken out of texts here, and of namespaces and keys where their ``Route`` is made: no backend sees one.
"""

import errno
from collections.abc import Callable
from typing import Protocol

from ml.core.errors import ClosedError, LogValueError, WriteError
from ml.io.worker import Event, Worker
from ml.loggers.base import AnyLogger
from ml.loggers.device import DeviceScalar
from ml.loggers.media_budget import CHECK_DISK_EVERY_S, MediaBudget
from ml.loggers.report import Reporter, text_of
from ml.loggers.stats import Failed, Tally
from ml.loggers.values import Batch, Lazy, Plain, Row, series_path

SYNC_EVERY_S = 30.0
GATHER_BYTES = 2**16
"""Hand-overs that are written as one: 500 scalars, about a millisecond of work."""

_RETRY_FIRST_S, _RETRY_LAST_S, _RETRY_FULL_S = 1.0, 60.0, 2.0
_ROWS_BETWEEN_BREATHS = 128
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Task:
    """Something for a backend's thread to do between two writes."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.done = Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Does it; ``done`` is set in any case."""
        try:
            self._function()
        except BaseException as error:
            self.error = error
        self.done.set()


Item = Batch | Task


class Queue(Protocol):
    """What leads to a runner: a ``Worker``, or ``InPlace``."""

    @property
    def thread_id(self) -> int | None: ...
    @property
    def queued_bytes(self) -> int: ...
    def submit(self, item: Item, *, size_bytes: int, droppable: bool = False, more: bool = False) -> list[Item]: ...
    def shrink(self, max_bytes: int, *, only_droppable: bool = False) -> list[Item]: ...
    def wait_for_room(self, max_bytes: int, timeout_s: float | None = None) -> bool: ...
    def wait_until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool: ...
    def drain(self, timeout_s: float | None = None) -> bool: ...
    def wind_down(self) -> None: ...
    def end(self, timeout_s: float | None = None) -> list[Item]: ...
    def join(self, timeout_s: float | None = None) -> bool: ...


class Runner:
    """Handles what a delivery handed over.

    Args:
        backend: The backend, initialized.
        tally: Told what became of every value.
        reporter: Told what failed.

    Attributes:
        media: Whether media are still taken.
        is_durable: Whether the backend was closed, and everything was durable then.
    """

    def __init__(self, backend: AnyLogger, tally: Tally, reporter: Reporter) -> None:
        self._backend, self._tally, self._reporter = backend, tally, reporter
        self._breathe: Callable[[], None] = lambda: None  # in place there is no one to make room for
        self.max_bytes: int = backend.config.max_queue_bytes
        self._methods = {kind: getattr(backend, kind.method) for kind in backend.kinds}
        self._redactor = reporter.redactor
        self._clock = backend.context.clock
        self._retry_s = _RETRY_FIRST_S
        self.is_durable = False
        self._unsynced_since: float | None = None
        self.media = MediaBudget(backend, reporter)

    def start(self) -> Worker[Item]:
        """Returns the backend's worker, running."""
        worker: Worker[Item] = Worker(
            f"ml-{self._backend.id}",
            self.handle,
            max_bytes=self.max_bytes,
            idle=self.idle,
            finish=self.finish,
            gather_bytes=GATHER_BYTES if self._backend.gathers else 0,
        )
        self._breathe = worker.breathe
        return worker

    def handle(self, run: list[Item]) -> float | None:
        """Gives the backend the values of one hand-over, and has it write them.

        Returns:
            ``None``, or the seconds after which to offer the same values again.
        """
        batches = [item for item in run if isinstance(item, Batch)]
        if batches and (delay_s := self._write(batches)) is not None:
            return delay_s
        for item in run:
            if isinstance(item, Task):
                item.run()
        return None

    def _write(self, batches: list[Batch]) -> float | None:
        if any(batch.is_media for batch in batches):
            self.media.begin()
        failed: list[tuple[Row, Failed, BaseException]] = []
        written: list[Lazy] = []
        count = sum(len(batch.rows) for batch in batches)
        try:
            for batch in batches:
                self._log(batch, failed, written)
            self._backend.write(batches[-1].state)
        except (OSError, WriteError) as error:
            if not isinstance(error, ClosedError):
                return self._retry_later(error)
            self._fail_batch(count, error)
        except Exception as error:
            self._fail_batch(count, error)
        except BaseException as error:  # Ctrl-C passes, where the backend runs in place
            self._fail_batch(count, error)
            raise
        else:
            self._retry_s = _RETRY_FIRST_S
            self._tally.write(count - len(failed))
            if self._unsynced_since is None:
                self._unsynced_since = self._clock()
            self._report_values(failed)
            self._count_media(written)
        return None

    def idle(self) -> float | None:
        """Makes what was written durable every 30 s, and looks for room on a disk that was low."""
        wanted_s = []
        if self.media.refusal == "disk_low":
            self.media.check_disk()
            wanted_s.append(CHECK_DISK_EVERY_S)
        if self._unsynced_since is not None:
            left_s = self._unsynced_since + SYNC_EVERY_S - self._clock()
            if left_s <= 0:
                try:
                    self.flush()
                except BaseException as error:
                    self._reporter.report(
                        self._backend.id, f"'{self._backend.id}' cannot flush: {text_of(error)}", error
                    )
                    self._unsynced_since = self._clock()
                    left_s = SYNC_EVERY_S
            if left_s > 0:
                wanted_s.append(left_s)
        return min(wanted_s, default=None)

    def flush(self) -> None:
        """Has the backend make everything durable; raises what it raises."""
        self._backend.flush()
        self._unsynced_since = None

    def finish(self) -> None:
        """Flushes and closes the backend; what either raises is reported."""
        self.is_durable = True
        for step in (self._backend.flush, self._backend.close):
            try:
                step()
            except BaseException as error:
                self.is_durable = False
                self._reporter.report(
                    self._backend.id, f"'{self._backend.id}' failed to {step.__name__}: {text_of(error)}", error
                )

    def _log(self, batch: Batch, failed: list[tuple[Row, Failed, BaseException]], written: list[Lazy]) -> None:
        state, methods = batch.state, self._methods
        for number, row in enumerate(batch.rows):
            if number % _ROWS_BETWEEN_BREATHS == 0:
                self._breathe()
            kind, namespace, key, value = row
            try:
                if isinstance(value, Lazy):
                    methods[kind](key, value, state, namespace)
                    written.append(value)
                elif isinstance(value, str):
                    text = self._redactor.redact_text(value, self._breathe)
                    methods[kind](key, Plain(text), state, namespace)
                elif isinstance(value, DeviceScalar):
                    methods[kind](key, Plain(value.arrived()), state, namespace)
                else:
                    methods[kind](key, Plain(value), state, namespace)
            except LogValueError as error:
                failed.append((row, "value", error))
            except Exception as error:
                failed.append((row, "write", error))

    def _retry_later(self, error: OSError | WriteError) -> float:
        cause = error.__cause__ if isinstance(error, WriteError) else error
        full = isinstance(cause, OSError) and cause.errno in _FULL
        delay_s = _RETRY_FULL_S if full else self._retry_s
        self._retry_s = min(2 * self._retry_s, _RETRY_LAST_S)
        self._reporter.report(
            self._backend.id,
            f"'{self._backend.id}' cannot write now: {text_of(error)}. What it holds is kept and offered again.",
            error,
        )
        return delay_s

    def _fail_batch(self, count: int, error: BaseException) -> None:
        self._tally.fail("write", count)
        self._reporter.report(
            self._backend.id, f"'{self._backend.id}' failed to write {count} values: {text_of(error)}", error
        )

    def _report_values(self, failed: list[tuple[Row, Failed, BaseException]]) -> None:
        for (_, namespace, key, value), reason, error in failed:
            self._tally.fail(reason)
            path, text = series_path(namespace, key), text_of(error)
            if reason != "value":
                text = f"'{self._backend.id}' cannot log '{path}': {text}"
                self._reporter.report(self._backend.id, text, error, about=path)
            elif not isinstance(value, Lazy) or value.begin_telling():
                if isinstance(error, LogValueError) and not error.path:  # a number whose copy did not arrive
                    text = text_of(error.located(path))
                self._reporter.report("values", text, error, about=path)

    def _count_media(self, written: list[Lazy]) -> None:
        for lazy in written:
            if lazy.warning:
                self._reporter.notice(lazy.path, f"'{lazy.path}': {lazy.warning}")
        if written:
            self.media.count(sum(lazy.written_bytes for lazy in written))


class InPlace:
    """Runs a backend on the caller's thread: a hand-over is written before ``submit`` returns.

    A run that is to be offered again is offered with the next one.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._run: list[Item] = []
        self.queued_bytes = 0
        self.thread_id = None

    def submit(self, item: Item, *, size_bytes: int, droppable: bool = False, more: bool = False) -> list[Item]:
        """Takes an item; the one that ends a run has it handled. Returns what was dropped of runs that failed."""
        self._run.append(item)
        self.queued_bytes += size_bytes
        if more or self.drain():
            return []
        max_bytes = self._runner.max_bytes
        return [*self.shrink(max_bytes, only_droppable=True), *self.shrink(max_bytes)]

    def shrink(self, max_bytes: int, *, only_droppable: bool = False) -> list[Item]:
        """Drops the oldest batches, or the oldest of media, until at most ``max_bytes`` are left."""
        dropped: list[Item] = []
        for item in list(self._run):
            if self.queued_bytes > max_bytes and isinstance(item, Batch) and (item.is_media or not only_droppable):
                self._run.remove(item)
                self.queued_bytes -= item.size_bytes
                dropped.append(item)
        return dropped

    def wait_for_room(self, max_bytes: int, timeout_s: float | None = None) -> bool:
        """Nothing waits here."""
        return True

    def wait_until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Nothing waits here."""
        return condition()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Offers what is left once more."""
        again = False
        try:
            again = bool(self._run) and self._runner.handle(self._run) is not None
        finally:
            if not again:
                self._run, self.queued_bytes = [], 0
        return not again

    def wind_down(self) -> None:
        """Nothing is under way here."""

    def end(self, timeout_s: float | None = None) -> list[Item]:
        """Offers what is left once more, then closes the backend."""
        self.drain()
        self._runner.finish()
        return self._run

    def join(self, timeout_s: float | None = None) -> bool:
        """There is no thread to wait for."""
        return True
