"""What a place is that records go to, seen by the logger: sequential code on a thread of its own."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ml.predictions.record import Record

MAX_FLUSH_S = 30.0
"""What ``Sink.flush`` is given at most: records that are logged meanwhile wait in memory."""


class Outcome(NamedTuple):
    """What became of one record in one sink.

    Attributes:
        is_written: Whether the sink has it safe.
        reason: Why it has not: a word for the counts.
        path: Where it lies; ``""`` where that cannot be said.
    """

    is_written: bool
    reason: str = ""
    path: str = ""


WRITTEN = Outcome(True)


class Sink(Protocol):
    """Keeps records, or passes them on.

    All methods but the constructor are called on the sink's own worker thread, one at a time. They may block, and they
    may raise: only this sink's queue suffers.
    """

    name: str
    """``"local"``, ``"cloud"`` or ``"stream"``: what the counts and messages call it."""

    def write(self, records: Sequence[Record]) -> list[Outcome]:
        """Takes records, in the order in which they were logged.

        Returns:
            One outcome for each.

        Raises:
            OSError, WriteError: Not now: the same records are offered again, so a part of them may come twice.
        """
        ...

    def idle(self) -> float | None:
        """Does what is to be done between records.

        It returns soon: records, and whoever waits for them to be safe, wait for it. What takes long, as uploads to a
        server that hangs do, is done on a worker of the sink's own, and ``write``, ``flush`` and ``close`` with it.

        Returns:
            The seconds after which it wants to be called again if no record came; ``None``: it does not.
        """
        ...

    def flush(self, timeout_s: float) -> None:
        """Makes what was written durable, and sends what waits, as far as that is possible now.

        Args:
            timeout_s: What is waited for others, at most; what waits then is left to ``idle``.

        Raises:
            OSError, WriteError: Not all of it.
        """
        ...

    def close(self) -> None:
        """Lets go of files and connections; nothing is written any more. What waits on the disk stays, and is told.

        Raises:
            OSError, WriteError: Something that was written may not be safe.
        """
        ...
