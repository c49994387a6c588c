"""Brings records to one sink: on a thread of its own, in order, again while it fails; counts what became of them."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

from ml.core.errors import ClosedError, WriteError
from ml.io.lifetime import tell_after_fork
from ml.io.worker import Worker
from ml.loggers.report import Reporter, text_of
from ml.loggers.runner import Task
from ml.loggers.stats import Dropped, Tally
from ml.predictions.config import OnFull
from ml.predictions.record import Record
from ml.predictions.sink import MAX_FLUSH_S, Outcome, Sink

_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_CLOSE_S = 1.5  # is left to ``Sink.close``, so that it says what waits while somebody listens
_GATHER_BYTES = 4 * 2**20  # of records that wait are written together


class Ticket(Protocol):
    """Is told what became of a record in each sink."""

    def settle(self, sink: str, outcome: Outcome) -> None:
        """A sink is done with it."""
        ...


class Parcel(NamedTuple):
    """A record, and who wants to know what becomes of it."""

    record: Record
    ticket: Ticket


class Delivery:
    """A sink with its worker and its counts.

    Args:
        sink: Used on the worker's thread alone from now on.
        max_bytes: What may wait.
        on_full: What becomes of a record for which there is no room: the oldest are dropped for it, or it is, both
            counted; or ``put`` waits for room.
        reporter: Told what fails.

    Attributes:
        tally: The counts.
    """

    def __init__(self, sink: Sink, *, max_bytes: int, on_full: OnFull, reporter: Reporter) -> None:
        self.sink, self.tally = sink, Tally()
        self._max_bytes, self._on_full, self._reporter = max_bytes, on_full, reporter
        self._retry_s = _FIRST_RETRY_S
        self._end_s: float | None = None  # when whoever closes it waits no longer
        self._worker: Worker[Parcel | Task] = Worker(
            f"ml-predictions-{sink.name}",
            self._handle,
            max_bytes=max_bytes,
            idle=self._idle,
            finish=self._finish,
            linger_s=0.0,
            gather_bytes=_GATHER_BYTES,
        )
        tell_after_fork(self)
        self._worker.submit(Task(lambda: None), size_bytes=0)  # whose end is the first time that nothing is to be done

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the sink's thread."""
        return self._worker.is_here

    def put(self, parcel: Parcel) -> None:
        """Queues a record, whose value was accepted by ``tally``. What is dropped for it is counted and told."""
        size_bytes = len(parcel.record.data)
        room_bytes = max(0, self._max_bytes - size_bytes)
        is_full = self._worker.queued_bytes > room_bytes
        if is_full and self._on_full == "wait":  # asking alone would wake the sink's thread
            self._worker.wait_for_room(room_bytes)
        reason: Dropped = "queue_full" if self._worker.is_alive else "closed"
        try:
            if is_full and self._on_full == "drop_newest":
                self._drop([parcel], reason)
            else:
                self._drop(self._worker.submit(parcel, size_bytes=size_bytes), reason)
        except BaseException as error:  # of a callback; the record's other sinks are still to get it
            self._tell_of_callback(error)

    def flush(self, timeout_s: float | None) -> bool:
        """Has everything queued written, and made durable.

        False: not in time, or it failed, which is reported, or the caller is the sink's own thread, in a callback.
        """
        if self.is_here:
            return False
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        task = Task(lambda: self.sink.flush(_left_s(end_s)))
        if self._worker.submit(task, size_bytes=0):
            return False
        drained = self._worker.drain(timeout_s)
        left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
        if not drained or not task.done.wait(left_s):
            return False
        if task.error is not None:
            self._tell(f"cannot flush: {text_of(task.error)}", task.error)
        return task.error is None

    def wind_down(self, timeout_s: float) -> None:
        """Takes nothing more; does not wait. ``close`` has to follow, after that time at most."""
        if self._end_s is None:
            self._end_s = time.monotonic() + timeout_s
        self._worker.wind_down()

    def close(self, timeout_s: float) -> None:
        """Has everything queued written, as far as there is time, and closes the sink; what is left is counted."""
        self.wind_down(timeout_s)
        try:
            self._drop(self._worker.stop(timeout_s), "deadline")
        finally:
            self.tally.finish()

    def after_fork_in_child(self) -> None:
        """Begins to count anew: another thread may have held the lock of the counts."""
        self.tally = Tally()

    # the sink's thread

    def _handle(self, run: list[Parcel | Task]) -> float | None:
        parcels = [item for item in run if isinstance(item, Parcel)]
        if parcels and (delay_s := self._write(parcels)) is not None:
            return delay_s
        for item in run:
            if isinstance(item, Task):
                item.run()
        return None

    def _write(self, parcels: list[Parcel]) -> float | None:
        try:
            outcomes = self.sink.write([parcel.record for parcel in parcels])
        except (OSError, WriteError) as error:
            if not isinstance(error, ClosedError):
                self._tell(
                    f"cannot write now: {text_of(error).rstrip('.')}. What waits is kept and offered again.",
                    error,
                )
                delay_s, self._retry_s = self._retry_s, min(2 * self._retry_s, _LAST_RETRY_S)
                return delay_s
            outcomes = self._failed(parcels, error)
        except Exception as error:
            outcomes = self._failed(parcels, error)
        else:
            self._retry_s = _FIRST_RETRY_S
        for outcome in outcomes:
            if outcome.is_written:
                self.tally.write(1)
            else:
                self.tally.fail("write")
        try:
            self._settle(zip(parcels, outcomes, strict=True))
        except BaseException as error:  # of a callback: ``SystemExit``, perhaps; this thread goes on
            self._tell_of_callback(error)
        return None

    def _failed(self, parcels: list[Parcel], error: Exception) -> list[Outcome]:
        self._tell(f"failed to write {len(parcels)} records: {text_of(error)}", error)
        return [Outcome(False, text_of(error))] * len(parcels)

    def _idle(self) -> float | None:
        try:
            return self.sink.idle()
        except Exception as error:
            self._tell(f"failed: {text_of(error)}", error)
            return _LAST_RETRY_S

    def _finish(self) -> None:
        end_s = None if self._end_s is None else self._end_s - _CLOSE_S
        with suppress(OSError, WriteError):  # ``close`` tells what is left
            self.sink.flush(_left_s(end_s))
        try:
            self.sink.close()
        except Exception as error:
            self._tell(f"failed to close: {text_of(error)}", error)

    def _drop(self, items: list[Parcel | Task], reason: Dropped) -> None:
        parcels = [item for item in items if isinstance(item, Parcel)]
        self.tally.drop(reason, len(parcels))
        for item in items:
            if isinstance(item, Task):
                item.error = ClosedError(f"The predictions' sink '{self.sink.name}' is closed.")
                item.done.set()
        self._settle((parcel, Outcome(False, reason)) for parcel in parcels)

    def _settle(self, settled: Iterable[tuple[Parcel, Outcome]]) -> None:
        """Tells what became of records; what a callback of one raises is raised when all have been told."""
        interruption: BaseException | None = None
        for parcel, outcome in settled:
            try:
                parcel.ticket.settle(self.sink.name, outcome)
            except BaseException as error:
                interruption = error
        if interruption is not None:
            raise interruption

    def _tell_of_callback(self, error: BaseException) -> None:
        self._tell(f"goes on, though a callback of a Future raised {type(error).__name__}.", error)

    def _tell(self, problem: str, error: BaseException) -> None:
        self._reporter.report(self.sink.name, f"The predictions' sink '{self.sink.name}' {problem}", error)


def _left_s(end_s: float | None) -> float:
    """Returns the seconds until a moment of the monotonic clock, as ``Sink.flush`` takes them."""
    return MAX_FLUSH_S if end_s is None else min(MAX_FLUSH_S, max(0.0, end_s - time.monotonic()))
