"""Sends traced inferences to an endpoint, a bucket or a directory: once, or beside the model as they come.

::

    report = upload(traces, Selection("fcos", "v1"), endpoint="https://traces.example.com", spool=Path("spool"))
    assert not report.pending

Without an endpoint nothing leaves the machine. What is sent, and how it arrives exactly once, say
``ml.tracing.batches`` and ``ml.tracing.sending``; what an endpoint has to do says ``docs/upload.md``.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ml.core.errors import MLError, WriteError
from ml.io.worker import Worker
from ml.loggers.runner import Task
from ml.tracing.archive import TraceTables
from ml.tracing.batches import INFERENCES_PER_BATCH
from ml.tracing.destination import Destination, destination_of
from ml.tracing.sending import MAX_SPOOL_BYTES, SpoolBusy, TraceSender, UploadReport

if TYPE_CHECKING:
    import pyarrow as pa

    from ml.tracing.selection import Selection

__all__ = ["UploadReport", "Uploader", "upload"]

_log = logging.getLogger("ml")

TIMEOUT_S: Final = 600.0
CLOSE_TIMEOUT_S: Final = 10.0
CUT_EVERY_S: Final = 10.0
"""What was traced waits so long at most before it is sent, while nobody asks for it."""

_BUSY_SHARE: Final = 20  # looking for what is new takes a twentieth of the time at most
_RETRY_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.2
_NOTHING: Final = UploadReport(0, 0, 0, 0)


def upload(
    traces: TraceTables,
    selection: "Selection",
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    spool: Path,
    timeout_s: float = TIMEOUT_S,
    allow_http: bool = False,
    max_spool_bytes: int = MAX_SPOOL_BYTES,
    inferences_per_batch: int = INFERENCES_PER_BATCH,
) -> UploadReport:
    """Sends chosen inferences that were not sent yet; returns when all have arrived, or no more can now.

    Args:
        traces: Where they come from.
        selection: Which.
        endpoint: ``https://host/path``, ``s3://bucket/prefix`` and the like, or a directory; ``None``: what
            ``ML_API_ENDPOINT`` says.
        api_key: For HTTP; ``None``: what ``ML_API_KEY`` says, if anything.
        spool: A directory on a disk of this machine, the same every time: it remembers what was sent.
        timeout_s: After which what has not arrived is left for the next time.
        allow_http: Whether another machine may be asked without TLS.
        max_spool_bytes: What may wait in the spool.
        inferences_per_batch: What is sent at once, at most.

    Raises:
        ConfigError: There is no endpoint, or it cannot be one; or a library is missing.
        WriteError: The spool cannot be used, or somebody else sends from it for all of that time.
        MLError: The traces cannot be read.
    """
    destination = destination_of(endpoint, api_key, allow_http=allow_http)
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            sender = TraceSender(
                destination, spool, max_spool_bytes=max_spool_bytes, inferences_per_batch=inferences_per_batch
            )
        except SpoolBusy:
            if time.monotonic() + _LOOK_AGAIN_S >= end_s:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            break
    try:
        return sender.upload(traces, selection, timeout_s=max(0.0, end_s - time.monotonic()))
    finally:
        sender.close()


class Uploader:
    """Sends what is traced as it comes, on a thread of its own. Whatever the endpoint does, nobody waits for it.

    Args:
        open_traces: Opens where the inferences come from; called on the thread.
        selection: Which of them.
        destination: Where to.
        spool: A directory on a disk of this machine.
        cut_every_s: How often it is looked for what is new, at most, while nobody asks for it.
        max_spool_bytes: What may wait in the spool.
        inferences_per_batch: What is sent at once, at most.
        clock: Monotonic seconds.

    Raises:
        ConfigError: The destination cannot be one.
    """

    def __init__(
        self,
        open_traces: Callable[[], AbstractContextManager[TraceTables]],
        selection: "Selection",
        destination: Destination,
        spool: Path,
        *,
        cut_every_s: float = CUT_EVERY_S,
        max_spool_bytes: int = MAX_SPOOL_BYTES,
        inferences_per_batch: int = INFERENCES_PER_BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        destination.open()
        self._open_traces, self._selection, self._destination, self._spool = open_traces, selection, destination, spool
        self._cut_every_s, self._max_spool_bytes, self._clock = cut_every_s, max_spool_bytes, clock
        self._inferences_per_batch = inferences_per_batch
        self._sender: TraceSender | None = None
        self._report = _NOTHING
        self._said = ""
        self._is_awake = False
        self._cut_s = clock() - cut_every_s
        self._worker: Worker[Task] = Worker(
            "ml-tracing-upload", self._handle, max_bytes=0, idle=self._turn, finish=self._finish
        )

    @property
    def report(self) -> UploadReport:
        """What became so far of what was cut into batches."""
        return self._report

    def wake(self) -> None:
        """Says that there may be something new. Never waits."""
        if not self._is_awake:  # of two threads that come at once both may wake it
            self._is_awake = True
            self._worker.submit(Task(lambda: None), size_bytes=0)  # after which ``_turn`` is called

    def flush(self, timeout_s: float) -> bool:
        """Sends all that was traced so far, now. False: not all arrived in time; ``report`` says why."""
        if self._worker.is_here:
            return False
        task = Task(lambda: self._send_all(timeout_s))
        self._worker.submit(task, size_bytes=0)
        if not self._worker.is_alive or not task.done.wait(timeout_s) or task.error is not None:
            return False
        return not self._report.pending

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> UploadReport:
        """Sends what there is time for, and leaves the rest for the next time; again does nothing."""
        if self._worker.is_alive:
            self.flush(timeout_s)
        self._worker.stop(timeout_s)
        return self._report

    # the thread

    def _handle(self, run: list[Task]) -> float | None:
        for task in run:
            task.run()
            if task.error is not None:
                self._tell(task.error)
        return None

    def _turn(self) -> float | None:
        wait_s = self._cut_s + self._cut_every_s - self._clock()
        if self._is_awake and wait_s <= 0:
            self._is_awake = False
            try:
                self._cut()
            except Exception as error:
                self._tell(error)
                self._is_awake, self._cut_s = True, self._clock() + _RETRY_S - self._cut_every_s
            wait_s = self._cut_s + self._cut_every_s - self._clock()
        waits = [max(0.0, wait_s)] if self._is_awake else []
        try:
            if self._sender is not None and (pause_s := self._sender.turn()) is not None:
                waits.append(pause_s)
                self._report = self._sender.progress
        except Exception as error:
            self._tell(error)
            waits.append(_RETRY_S)
        return min(waits) if waits else None

    def _send_all(self, timeout_s: float) -> None:
        end_s = self._clock() + timeout_s
        self._is_awake = False
        while True:
            waiting = self._cut()
            assert self._sender is not None, "it was opened"
            if not self._sender.send(end_s) or not waiting:
                break
        self._report = self._sender.progress._replace(pending=self._sender.progress.pending + waiting)

    def _cut(self) -> int:
        """Puts what is new into the spool; returns how many inferences it has no room for."""
        began_s = self._clock()
        try:
            if self._sender is None:
                self._sender = TraceSender(
                    self._destination,
                    self._spool,
                    max_spool_bytes=self._max_spool_bytes,
                    inferences_per_batch=self._inferences_per_batch,
                )
            with self._open_traces() as traces:
                breathing = _Breathing(traces, self._worker.breathe)
                waiting = self._sender.cut(breathing, self._selection).waiting
        finally:
            self._cut_s = self._clock() + _BUSY_SHARE * (self._clock() - began_s)
        if waiting:
            self._is_awake = True  # when some of it has arrived
        return waiting

    def _finish(self) -> None:
        if self._sender is not None:
            try:
                self._sender.close()
            except WriteError as error:
                self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Says what is wrong, once."""
        said = str(error) if isinstance(error, MLError | OSError) else f"{type(error).__name__}: {error}"
        self._report = self._report._replace(problem=said)
        if said != self._said:
            self._said = said
            _log.warning("Traces cannot be sent now: %s", said)


class _Breathing:
    """Traces that are read on a thread beside the model's: others have the interpreter in between."""

    def __init__(self, traces: TraceTables, breathe: Callable[[], None]) -> None:
        self._traces, self._breathe = traces, breathe

    def table_batches(
        self, name: str, selection: "Selection", *, ids: Sequence[str] | None = None
    ) -> "Iterator[pa.RecordBatch]":
        for batch in self._traces.table_batches(name, selection, ids=ids):
            self._breathe()
            yield batch
