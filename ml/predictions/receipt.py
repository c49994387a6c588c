"""What the caller of ``log`` gets: a ``Future`` of where the record is safe."""

from collections.abc import Iterable
from typing import NamedTuple

from ml.core.errors import WriteError
from ml.io.worker import Future, Lock
from ml.predictions.sink import Outcome


class Logged(NamedTuple):
    """Where a record is safe.

    Attributes:
        record_id: Tells it from every other one.
        key: Its name in the object store, and its path below the local directory.
        path: Of the file; ``""`` where nothing is kept locally.
    """

    record_id: str
    key: str
    path: str


class Receipt:
    """Resolves a ``Future`` once every sink is done with a record.

    The future cannot be cancelled: the record is on its way.

    Args:
        record_id: Of the record.
        key: Of the record; ``""`` where that is said later.
        sinks: Those that will settle it, by name; at least one.

    Attributes:
        key: Of the record.
        future: Gives a ``Logged`` when all sinks have the record safe. Else it raises what the record was refused
            for, or a ``WriteError``, which says where it is and where not.
    """

    def __init__(self, record_id: str, key: str, sinks: Iterable[str]) -> None:
        self.future: Future[Logged] = Future()
        self.future.set_running_or_notify_cancel()
        self._record_id, self.key = record_id, key
        self._waiting = list(sinks)
        self._path = ""
        self._safe: list[str] = []
        self._lost: dict[str, str] = {}
        self._lock = Lock()

    def settle(self, sink: str, outcome: Outcome) -> None:
        """A sink is done with the record; again does nothing."""
        with self._lock:
            if sink not in self._waiting:
                return
            self._waiting.remove(sink)
            if outcome.is_written:
                self._safe.append(sink)
                self._path = outcome.path or self._path
            else:
                self._lost[sink] = outcome.reason
            if self._waiting:
                return
        if not self._lost:
            self.future.set_result(Logged(self._record_id, self.key, self._path))
            return
        lost = ", ".join(f"{name} ({reason})" for name, reason in self._lost.items())
        safe = f"; it is in {', '.join(self._safe)}" if self._safe else ""
        self.future.set_exception(WriteError(f"Prediction {self._record_id} did not get to {lost}{safe}."))

    def give_up(self, reason: str) -> None:
        """The record gets to none of the sinks that are left."""
        for sink in list(self._waiting):
            self.settle(sink, Outcome(False, reason))

    def refuse(self, error: Exception) -> None:
        """There is no record, and no sink was offered one; after ``settle`` it does nothing."""
        with self._lock:
            is_first, self._waiting = not (self._safe or self._lost), []
        if is_first:
            self.future.set_exception(error)


def give_up_all(receipts: Iterable[Receipt], reason: str) -> None:
    """Gives up records; what a callback of one raises is raised when all have been told."""
    interruption: BaseException | None = None
    for receipt in receipts:
        try:
            receipt.give_up(reason)
        except BaseException as error:
            interruption = error
    if interruption is not None:
        raise interruption


def failed(error: Exception) -> "Future[Logged]":
    """Returns a future of a prediction that could not be logged."""
    future: Future[Logged] = Future()
    future.set_exception(error)
    return future
