"""Cuts inferences into batches, each an archive of its own under a key that names its content.

::

    traces/fcos/v1/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.zip

Inferences that were not sealed yet (``ml.tracing.ledger``) are taken in the order in which the traces have them, so
many at a time. A batch holds the inferences and what belongs to them; of the runs only what never changes is in it.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from ml.core.errors import LogValueError
from ml.io.frames import MAX_PAYLOAD_BYTES
from ml.io.names import safe_segment
from ml.io.store import MAX_KEY_BYTES
from ml.tracing.archive import TraceTables, write_archive
from ml.tracing.ledger import Ledger

if TYPE_CHECKING:
    from ml.tracing.selection import Selection

_log = logging.getLogger("ml")

INFERENCES_PER_BATCH: Final = 256
LARGE_BYTES: Final = 32 * 2**20
"""A batch that is larger is cut in two."""

MAX_BATCH_BYTES: Final = MAX_PAYLOAD_BYTES - MAX_KEY_BYTES - 2
"""What a record of the spool can hold."""

TABLES: Final = (
    "models",
    "inferences",
    "detections",
    "candidates",
    "classifications",
    "features",
    "pictures",
    "ground_truths",
)


class Batch(NamedTuple):
    """Inferences on their way.

    Attributes:
        key: Where they are kept.
        data: The archive.
        digests: Of each inference, by its id.
    """

    key: str
    data: bytes
    digests: dict[str, str]


class Progress(NamedTuple):
    """What became of the chosen inferences while they were cut.

    Attributes:
        arrived: Had arrived before.
        refused: Will never be kept.
        waiting: Were not put in a batch, since there was no room.
    """

    arrived: int
    refused: int
    waiting: int


class Cutter:
    """Puts what was not sealed yet into batches.

    Args:
        ledger: Remembers what was.
        spool: Is given each batch when it is sealed.
        has_room: Whether another batch may be made.
        inferences_per_batch: At most.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Callable[[Batch], None],
        has_room: Callable[[], bool],
        *,
        inferences_per_batch: int = INFERENCES_PER_BATCH,
    ) -> None:
        self._ledger, self._spool, self._has_room = ledger, spool, has_room
        self._count = inferences_per_batch

    def cut(self, traces: TraceTables, selection: "Selection") -> Progress:
        """Cuts all that is new, as long as there is room.

        Raises:
            MLError: The traces cannot be read, or nothing can be written, now or ever. What was cut is kept.
        """
        arrived = refused = waiting = 0
        new: dict[str, str] = {}
        found = _digests(traces, selection)
        while some := dict(islice(found, self._count)):
            known = self._ledger.known(list(some))
            for inference_id, digest in some.items():
                if inference_id not in known or known[inference_id].digest != digest:
                    new[inference_id] = digest
                else:
                    arrived += known[inference_id].state == "arrived"
                    refused += known[inference_id].state == "refused"
            while len(new) >= self._count and self._has_room():
                refused += self._seal(traces, selection, _first(new, self._count))
            if len(new) >= self._count:  # there is no room: the others are only counted
                waiting, new = waiting + len(new), {}
        if new and self._has_room():
            refused += self._seal(traces, selection, _first(new, len(new)))
        return Progress(arrived, refused, waiting + len(new))

    def finish(self, traces: TraceTables, selection: "Selection") -> None:
        """Does to its end what a process did when it died: batches that were sealed, and maybe not spooled."""
        for key in self._ledger.batches("sealed"):
            digests = self._ledger.digests(key)
            batch = make_batch(traces, selection, digests) if digests else None
            if batch is not None and batch.key == key:
                self._spool_sealed(batch)
            else:
                self._ledger.forget([key])

    def _seal(self, traces: TraceTables, selection: "Selection", digests: dict[str, str]) -> int:
        """Makes a batch, or several where it is too large; returns how many inferences are refused."""
        batch = make_batch(traces, selection, digests)
        if len(batch.data) > LARGE_BYTES and len(digests) > 1:
            halves = list(digests.items())
            middle = len(halves) // 2
            return sum(self._seal(traces, selection, dict(half)) for half in (halves[:middle], halves[middle:]))
        if len(batch.data) > MAX_BATCH_BYTES:
            problem = f"the inference {next(iter(digests))} has {len(batch.data)} bytes, {MAX_BATCH_BYTES} are the most"
            _log.warning("It is not sent: %s", LogValueError(problem, "Reduce the features of its layers."))
            self._ledger.seal(batch.key, digests, "refused")
            return 1
        self._ledger.seal(batch.key, digests)
        self._spool_sealed(batch)
        return 0

    def _spool_sealed(self, batch: Batch) -> None:
        self._spool(batch)
        self._ledger.move(batch.key, "spooled")


def make_batch(traces: TraceTables, selection: "Selection", digests: dict[str, str]) -> Batch:
    """Returns the batch of some inferences; the same ones, in the same state, make the same one.

    Args:
        traces: Where they come from.
        selection: Whose they are; which dataset, epoch and run was asked for makes no difference.
        digests: By their ids.
    """
    file = io.BytesIO()
    anything = selection._replace(dataset_type=None, n_epoch="all", run=None)
    write_archive(file, traces, anything, tables=TABLES, ids=sorted(digests))
    data = file.getvalue()
    names = "/".join(map(safe_segment, (selection.model_name, selection.version_name)))
    return Batch(f"traces/{names}/{hashlib.sha256(data).hexdigest()}.zip", data, digests)


def _digests(traces: TraceTables, selection: "Selection") -> Iterator[tuple[str, str]]:
    """Yields the id of each inference with a digest of its row: one that was traced anew has another time."""
    for batch in traces.table_batches("inferences", selection):
        for row in batch.to_pylist():
            said = [(name, value) for name, value in row.items() if value is not None]  # a new column changes nothing
            yield row["id"], hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _first(new: dict[str, str], count: int) -> dict[str, str]:
    """Takes some of them away, and returns them."""
    ids: Sequence[str] = list(islice(new, count))
    return {inference_id: new.pop(inference_id) for inference_id in ids}
