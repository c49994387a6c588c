"""Keeps records as files below a directory, each whole or not there, and never fills the disk.

A file is written beside its place and renamed: whoever reads the directory, or kills the process, finds whole records.
They are on the disk after ``flush``, and else within half a minute.
"""

import errno
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ml.core.errors import WriteError
from ml.io.atomic import place_atomically, sync_files
from ml.io.fileops import OPS, FileOps
from ml.io.files import explained, make_directories
from ml.predictions.config import LocalConfig
from ml.predictions.record import Record, without_images
from ml.predictions.retention import Budget
from ml.predictions.sink import MAX_FLUSH_S, Outcome

_log = logging.getLogger("ml")

SYNC_EVERY_S = 30.0
LOOK_EVERY_S = 1.0
"""How often it is asked how much is free on a disk."""

MAX_UNSYNCED = 4096
"""Files that may wait to be synced: a power cut costs no more."""

_MAX_KNOWN_DIRECTORIES = 1024
_NO_PLACE = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


class LocalSink:
    """Writes each record to a file of its own.

    While its directory cannot be written to, records wait. A directory that one record alone was logged with may be
    none at all: then that record is given up, and the others are written.

    Args:
        config: The directory, and what it may hold. A relative one is meant from where the process is now.
        min_free_bytes: Below it on the disk, images are left out of what is written.
        clock: Monotonic seconds.
        ops: The calls to the operating system.

    Attributes:
        images_left_out: Records that were written without their images, by the reason.
    """

    name = "local"

    def __init__(
        self,
        config: LocalConfig,
        *,
        min_free_bytes: int,
        clock: Callable[[], float],
        ops: FileOps = OPS,
    ) -> None:
        self.images_left_out: Counter[str] = Counter()
        self._config, self._min_free_bytes, self._clock, self._ops = config, min_free_bytes, clock, ops
        self._default = Path(os.path.abspath(config.directory))
        self._budgets: dict[Path, Budget] = {}
        self._made: dict[Path, None] = {}
        self._looked: dict[Path, tuple[float, bool]] = {}  # at the disk: when, and whether it was low
        self._unsynced: dict[Path, None] = {}
        self._synced_s = clock()
        self._has_told = False  # that a record had a directory that is none

    def write(self, records: Sequence[Record]) -> list[Outcome]:
        """Writes records; see ``Sink.write``."""
        return [self._write(record) for record in records]

    def idle(self) -> float | None:
        """Syncs what was written half a minute ago."""
        if not self._unsynced:
            return None
        left_s = self._synced_s + SYNC_EVERY_S - self._clock()
        if left_s > 0:
            return left_s
        self.flush()
        return None

    def flush(self, timeout_s: float = MAX_FLUSH_S) -> None:
        """Returns when everything written is on the disk."""
        sync_files(self._unsynced, ops=self._ops)
        self._unsynced.clear()
        self._synced_s = self._clock()

    def close(self) -> None:
        """Syncs what was written."""
        self.flush()

    def _write(self, record: Record) -> Outcome:
        root = record.directory or self._default
        try:
            path = self._placed(record, root)
        except (OSError, ValueError, WriteError) as error:
            if root == self._default or not _is_no_place(error):
                raise
            if not self._has_told:
                self._has_told = True
                _log.warning("A prediction is not kept, as its own directory cannot be one: %s Said once.", error)
            return Outcome(False, f"no directory: {error}")
        self._unsynced[path] = None
        if len(self._unsynced) >= MAX_UNSYNCED:
            self.flush()
        return Outcome(True, path=str(path))

    def _placed(self, record: Record, root: Path) -> Path:
        """Returns where a record is, written whole."""
        path = root / record.key
        reason = self._why_without_images(root)
        data = without_images(record.data, reason) if reason else record.data
        budget = self._budget_of(root)
        if budget is not None and self._config.retention == "oldest_first":
            budget.make_room(len(data))
        if not self._unsynced:
            self._synced_s = self._clock()
        self._place(path, data)
        if reason and len(data) < len(record.data):
            self._tell_left_out(reason, root)
        if budget is not None:
            budget.add(len(data))
        return path

    def _place(self, path: Path, data: bytes) -> None:
        directory = path.parent
        is_known = directory in self._made
        self._make(directory)
        try:
            place_atomically(path, data, ops=self._ops)
        except WriteError as error:
            self._made.pop(directory, None)
            if not (is_known and isinstance(error.__cause__, FileNotFoundError)):
                raise
            self._place(path, data)  # it was removed: by a user, or empty, by somebody who made room

    def _make(self, directory: Path) -> None:
        if directory not in self._made:
            make_directories(directory, ops=self._ops)
            if len(self._made) >= _MAX_KNOWN_DIRECTORIES:
                self._made.clear()
            self._made[directory] = None

    def _why_without_images(self, root: Path) -> str:
        """Returns why an image has no place there; ``""`` if it has."""
        if self._min_free_bytes and self._is_disk_low(root):
            return "disk_low"
        budget = self._budget_of(root)
        return "local_budget" if budget is not None and self._config.retention == "keep" and budget.is_full else ""

    def _is_disk_low(self, root: Path) -> bool:
        looked_s, is_low = self._looked.get(root, (-LOOK_EVERY_S, False))
        if self._clock() - looked_s < LOOK_EVERY_S:
            return is_low
        if not root.is_dir():
            make_directories(root, ops=self._ops)
        with explained("look at", root):
            is_low = shutil.disk_usage(root).free < self._min_free_bytes
        if len(self._looked) >= _MAX_KNOWN_DIRECTORIES:
            self._looked.clear()
        self._looked[root] = self._clock(), is_low
        return is_low

    def _budget_of(self, root: Path) -> Budget | None:
        if self._config.max_local_bytes is None:
            return None
        if root not in self._budgets:
            self._budgets[root] = Budget(root, self._config.max_local_bytes, clock=self._clock)
        return self._budgets[root]

    def _tell_left_out(self, reason: str, root: Path) -> None:
        if not self.images_left_out[reason]:
            limits = {
                "disk_low": f"less than min_free_bytes ({self._min_free_bytes}) are free on the disk of {root}",
                "local_budget": f"the records in {root} take max_local_bytes ({self._config.max_local_bytes})",
            }
            _log.warning("Images are left out of new records, results are kept: %s.", limits[reason])
        self.images_left_out[reason] += 1


def _is_no_place(error: Exception) -> bool:
    """Whether a file cannot be written because of its path, so that trying again does not help."""
    cause = error.__cause__ if isinstance(error, WriteError) else error
    return isinstance(cause, ValueError) or (isinstance(cause, OSError) and cause.errno in _NO_PLACE)
