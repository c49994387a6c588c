"""A file that goes on in another one when it cannot be trusted any more.

A failed sync is final: the kernel has forgotten the pages that it could not
write, and the next sync of the same file succeeds without them. A file that was
removed or renamed still takes what is appended, where nobody will look for it.
So everything that is not known to be on the disk is kept in memory, and is
written again to a new file as soon as its own file is in doubt.
"""

import errno
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import ClosedError, WriteError
from ml.io.files import AppendFile

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_EVERYTHING_BYTES = 10**18 - 1

_log = logging.getLogger("ml")


class Opening(NamedTuple):
    """Why a file is opened.

    Attributes:
        number: 1 for the first file of a ``DurableFile``; the same again where that file went.
        previous: The file before it: one that is complete, or not trusted any more. ``None`` before the first,
            where somebody has put another file in its place, and where another process appends to it as well.
        synced_bytes: How much of the file before counts: what is on the disk, as what followed is written again,
            to the new file; and more than a file can hold where another process appends to it as well.
    """

    number: int
    previous: Path | None
    synced_bytes: int


OpenNext = Callable[[Opening], AppendFile]
"""Opens the file that an ``Opening`` asks for, in a directory that it makes if need be; raises ``WriteError``."""


class DurableFile:
    """Appends whole records; where the file cannot be trusted any more it goes on in the next one.

    What ``append`` took survives the death of the process. What ``sync``
    returned from survives a power cut, also if an earlier sync failed. Until then
    it is kept in memory as well. A file is left behind when a sync failed, when a
    write failed for another reason than a full local disk, and when its path names
    it no longer: removed or renamed, alone or with its directory. What it held on
    the disk stays there, and a notice says how much that is.

    It has one writer: one thread of one process. A forked child's copy is closed.

    Args:
        open_next: Opens the first file, and each that follows. A number above 1 asks for a file that was not there.
        max_unsynced_bytes: What may be kept in memory, beyond one record: more is synced first.
        notice: Told, in a sentence, that and why the file goes on elsewhere.

    Raises:
        WriteError: The first file cannot be opened.
    """

    def __init__(
        self,
        open_next: OpenNext,
        *,
        max_unsynced_bytes: int = 16 * 2**20,
        notice: Callable[[str], None] = _log.warning,
    ) -> None:
        self._open_next, self._max_unsynced_bytes, self._notice = open_next, max_unsynced_bytes, notice
        self._opening = Opening(1, None, 0)
        self._file = open_next(self._opening)
        self._synced_bytes = self._file.size_bytes
        self._unsynced: list[bytes] = []
        self._unsynced_bytes = 0
        self._doubt = ""  # why what is not synced must be written again, to another file
        self._took_nothing = self._file.is_new

    @property
    def path(self) -> Path:
        """The file that is appended to."""
        return self._file.path

    @property
    def size_bytes(self) -> int:
        """Bytes of that file, up to the end of the last whole record."""
        return self._file.size_bytes

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that were appended since everything was last known to be on the disk."""
        return self._unsynced_bytes

    def append(self, data: bytes) -> None:
        """Hands all of ``data`` to the kernel, or appends nothing.

        Raises:
            WriteError: Nothing was appended; the same data may be offered again.
            ClosedError: The file is closed, or belongs to another process.
        """
        self._file.check_open()
        if self._unsynced and self._unsynced_bytes + len(data) > self._max_unsynced_bytes:
            self.sync()
        if self._doubt or self._file.whereabouts != "in place":
            self._go_on()
        try:
            self._file.append(data)
        except WriteError as error:
            # NFS tells a write that an earlier one found no room, and then tells the next sync nothing.
            if not _is_for_want_of_room(error) or (self._unsynced and self._file.is_remote):
                self._doubt = str(error)
            raise
        self._took_nothing = False
        self._unsynced.append(data)
        self._unsynced_bytes += len(data)

    def sync(self) -> None:
        """Returns when everything appended so far is on the disk, wherever it had to be written again.

        Raises:
            WriteError: It cannot be said that the data is on the disk. It is kept; the next call tries again.
            ClosedError: The file is closed, or belongs to another process.
        """
        self._file.check_open()
        if not self._unsynced:
            return
        if not self._doubt:
            try:
                self._file.sync()
            except WriteError as error:
                self._doubt = str(error)
        if self._doubt or self._file.whereabouts != "in place":
            self._go_on()
        else:
            self._settle()

    def rotate(self) -> None:
        """Makes the file durable, and goes on in the next one.

        Raises:
            WriteError: The file is not durable, or there is no next one: it goes on where it was.
            ClosedError: The file is closed, or belongs to another process.
        """
        self.sync()
        opening = Opening(self._opening.number + 1, self._file.path, self._file.size_bytes)
        self._replace(self._open_next(opening), opening)

    def close(self) -> None:
        """Makes everything durable, and closes the file; again does nothing. In a forked child nothing is synced.

        Raises:
            WriteError: The file is closed, but its last data may not be on the disk.
        """
        try:
            self.sync()
        except ClosedError:
            pass
        finally:
            self._file.abandon()

    def _go_on(self) -> None:
        """Starts a file that can be trusted, with everything that is not known to be on the disk."""
        old, where = self._file, self._file.whereabouts
        if self._took_nothing and where == "in place" and not old.is_shared:
            with suppress(WriteError):  # a record that no file takes would leave one behind at every try
                old.remove()
                where = "gone"
        if where == "gone":
            opening = self._opening
        elif where == "in place" and old.is_shared:  # what this process writes again is better read twice
            opening = Opening(self._opening.number + 1, None, _EVERYTHING_BYTES)
        else:
            previous = old.path if where == "in place" else None
            opening = Opening(self._opening.number + 1, previous, self._synced_bytes)
        new = self._open_next(opening)
        size_bytes = new.size_bytes
        try:
            if self._unsynced:
                new.append(b"".join(self._unsynced))
            new.sync()
        except BaseException as error:
            self._give_up(new, opening, size_bytes, str(error) or repr(error))
            raise
        why = self._doubt or f"{old.path} was {'removed or renamed' if where == 'gone' else 'replaced'} while in use."
        again = (
            f", which begins with the {self._unsynced_bytes} bytes that may have been lost" if self._unsynced else ""
        )
        self._notice(
            f"{why} It goes on in {new.path}{again}. "
            f"Of the file before, the first {self._synced_bytes} bytes were on the disk."
        )
        self._replace(new, opening)

    def _give_up(self, new: AppendFile, opening: Opening, size_bytes: int, why: str) -> None:
        """Removes a new file that failed at once; one that stays takes its place in the order of files, in doubt."""
        if new.is_new:
            with suppress(WriteError):
                new.remove()
                new.abandon()
                return
        self._file.abandon()
        self._file, self._opening, self._synced_bytes, self._doubt = new, opening, size_bytes, why
        self._took_nothing = False

    def _replace(self, new: AppendFile, opening: Opening) -> None:
        self._file.abandon()
        self._file, self._opening, self._doubt = new, opening, ""
        self._took_nothing = new.is_new and not self._unsynced
        self._settle()

    def _settle(self) -> None:
        self._synced_bytes = self._file.size_bytes
        self._unsynced.clear()
        self._unsynced_bytes = 0


def _is_for_want_of_room(error: WriteError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM
