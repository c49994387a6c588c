"""The event files that TensorBoard reads: their names, their records, and the event that is written most.

A file is a sequence of records, each framed by its length and two checksums::

    length      uint64, little endian
    checksum    uint32, of the eight bytes before
    event       a serialized ``tensorboard.Event``
    checksum    uint32, of the event

Scalars are by far the most frequent values, so the event that holds them is put
together here from cached bytes, 0.3 us a scalar; the protocol buffer classes
take 0.8. Everything else is built with those, in ``tensorboard_events.py``.
"""

import os
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import google_crc32c

from ml.core.errors import WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.durable import DurableFile, Opening
from ml.io.files import AppendFile, cut, make_directories

MAX_FILE_BYTES = 64 * 2**20
"""Where an event file goes on in another one: what a damaged record can cost at most."""

_MASK_DELTA = 0xA282EAD8
_pack_uint64 = struct.Struct("<Q").pack
_pack_uint32 = struct.Struct("<I").pack
_pack_double = struct.Struct("<d").pack

# Field numbers and wire types of tensorboard's event.proto and summary.proto.
_EVENT_WALL_TIME, _EVENT_STEP, _EVENT_SUMMARY = b"\x09", b"\x10", b"\x2a"
_SUMMARY_VALUE, _VALUE_TAG, _VALUE_SIMPLE_VALUE = b"\x0a", b"\x0a", b"\x15"


def record(event: bytes) -> bytes:
    """Returns ``event`` framed by its length and its checksums."""
    length = _pack_uint64(len(event))
    return b"".join((length, masked_crc(length), event, masked_crc(event)))


def scalar_head(tag: str) -> bytes:
    """Returns the bytes of a scalar value but for the number, which follows as a little-endian float32."""
    name = tag.encode("utf-8")
    head = _VALUE_TAG + _varint(len(name)) + name + _VALUE_SIMPLE_VALUE
    return _SUMMARY_VALUE + _varint(len(head) + 4) + head


def scalars_event(state: State, values: Iterable[bytes]) -> bytes:
    """Returns the one event that holds all scalars of ``state``; each value is a head and its number."""
    summary = b"".join(values)
    return b"".join(
        (
            _EVENT_WALL_TIME,
            _pack_double(state.time_s),
            _EVENT_STEP,
            _varint(state.num_steps & 0xFFFFFFFFFFFFFFFF),
            _EVENT_SUMMARY,
            _varint(len(summary)),
            summary,
        )
    )


class EventFile:
    """The event file of one TensorBoard run in this attempt; it is made when the first records are appended.

    As a rule it is one file. It goes on in another one when it is large, so that a
    damaged record, after which TensorBoard reads no more of a file, costs a bounded
    part of the run; and when it cannot be trusted any more, after a failed sync or
    because it was removed. Then what may have been lost is written again, to a file
    that begins by telling TensorBoard at which step; and the file before, which is
    ours, is cut back to what it had on the disk, so that nothing is there twice.

    Args:
        directory: Where it goes; made if it is missing.
        context: Names the attempt and the rank; its wall clock names the time.
        first_records: Given a step, returns the records that a file begins with whose values begin there.
        first_step: Where the values of the first file begin.
    """

    def __init__(
        self, directory: Path, context: RunContext, first_records: Callable[[int], bytes], first_step: int
    ) -> None:
        self._directory, self._context, self._first_records = directory, context, first_records
        self._file: DurableFile | None = None
        self._last_synced_step = first_step - 1  # of what is on the disk for sure
        self._last_step = first_step - 1
        self._first_unsynced_step = first_step
        self._distrusted: dict[int, Opening] = {}  # by the number of the file that goes on

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Appends all of ``records``, each with its step, in one piece; or raises and has appended none.

        Raises:
            OSError, WriteError: Nothing was written; it can be tried again.
        """
        if self._file is None:
            self._file = DurableFile(self._open_next)
        if self._file.size_bytes >= MAX_FILE_BYTES:
            self._file.rotate()
        data = b"".join(framed for _, framed in records)
        self._file.append(data)
        steps = [step for step, _ in records]
        if self._file.unsynced_bytes == len(data):  # what was before has been synced
            self._last_synced_step, self._first_unsynced_step = self._last_step, min(steps)
        self._first_unsynced_step = min(self._first_unsynced_step, *steps)
        self._last_step = max(self._last_step, *steps)
        self._cut_distrusted()

    def sync(self) -> None:
        """Returns when everything appended is durable.

        Raises:
            WriteError: It cannot be made durable.
        """
        if self._file is not None:
            self._file.sync()
            self._cut_distrusted()

    def close(self) -> None:
        """Makes everything appended durable, and closes the file.

        Raises:
            WriteError: It cannot be made durable.
        """
        if self._file is not None:
            self._file.close()
            self._cut_distrusted()

    def _open_next(self, opening: Opening) -> AppendFile:
        make_directories(self._directory)
        file = AppendFile(self._directory / file_name(self._directory, self._context), exclusive=True, mode=0o600)
        try:
            file.append(self._first_records(self._first_step()))
        except BaseException:
            with suppress(WriteError):
                file.discard()
            raise
        self._distrusted[opening.number] = opening
        return file

    def _first_step(self) -> int:
        """Returns the first step of a file that begins now, which drops what TensorBoard read of later ones before.

        A step of which a part is on the disk is not dropped: what is written again of it is shown in its place.
        """
        if self._file is None:
            return self._first_unsynced_step
        if self._file.unsynced_bytes == 0:
            return self._last_step + 1
        return max(self._first_unsynced_step, self._last_synced_step + 1)

    def _cut_distrusted(self) -> None:
        """Cuts what is written again by now off the files before."""
        while self._distrusted:
            _, opening = self._distrusted.popitem()
            if opening.previous is not None:
                with suppress(WriteError):  # TensorBoard drops most of it also by the step the next file begins with
                    cut(opening.previous, opening.synced_bytes)


class EventFiles:
    """The event files of one attempt, appended to together."""

    def __init__(self) -> None:
        self._files: list[EventFile] = []
        # With the file: training and validation may log the same at the same moment.
        self._half_written: set[tuple[EventFile, bytes]] = set()

    def add(self, file: EventFile) -> EventFile:
        """Returns ``file``, which now is one of these."""
        self._files.append(file)
        return file

    def append(self, records: Iterable[tuple[EventFile, int, bytes]]) -> None:
        """Appends all of ``records``, each with its file and its step, those of one file in one piece.

        What one file took before another failed is remembered, so that the same
        records can be given again: nothing is written twice.

        Raises:
            OSError, WriteError: Not all was written; all of it can be given again.
        """
        by_file: dict[EventFile, list[tuple[int, bytes]]] = {}
        for file, step, framed in records:
            if not self._half_written or (file, framed) not in self._half_written:
                by_file.setdefault(file, []).append((step, framed))
        taken: list[tuple[EventFile, bytes]] = []
        try:
            for file, missing in by_file.items():
                file.append(missing)
                taken += [(file, framed) for _, framed in missing]
        except (OSError, WriteError):
            self._half_written.update(taken)
            raise
        self._half_written.clear()

    def end(self, file: EventFile) -> None:
        """Closes one of these, as nothing more comes; one that is not durable yet stays, and is synced with them."""
        try:
            file.sync()
        except WriteError:
            return
        file.close()
        self._files.remove(file)

    def sync(self) -> None:
        """Returns when everything appended is durable.

        Raises:
            WriteError: It cannot be made durable.
        """
        for file in self._files:
            file.sync()

    def close(self) -> None:
        """Makes everything appended durable, and closes every file, also when one fails.

        Raises:
            WriteError: A file cannot be made durable; the first one's.
        """
        failures: list[OSError | WriteError] = []
        for file in self._files:
            try:
                file.close()
            except (OSError, WriteError) as error:
                failures.append(error)
        if failures:
            raise failures[0]


def file_name(directory: Path, context: RunContext) -> str:
    """Returns the name of a new event file: ``events.out.tfevents.<time>.<attempt>.<host>.<pid>.<rank>.<token>``.

    TensorBoard reads the files of a directory in the order of their names, so a
    later file must have the later name, also on a machine whose clock is behind:
    the time is never below one that is there already, and above those of this attempt.
    """
    now_s = int(context.wall_clock())
    for path in directory.glob("events.out.tfevents.*"):
        time, attempt, *_ = [*path.name.split(".")[3:], ""]
        if time.isdecimal():
            now_s = max(now_s, int(time) + (attempt == f"{context.attempt:04d}"))
    host = re.sub(r"[^A-Za-z0-9_-]", "-", os.uname().nodename)[:64]
    return (
        f"events.out.tfevents.{now_s:010d}.{context.attempt:04d}.{host}.{os.getpid()}.{context.rank}"
        f".{secrets.token_hex(4)}"
    )


def masked_crc(data: bytes) -> bytes:
    """Returns the checksum of ``data`` as these files have it: four bytes."""
    crc: int = google_crc32c.value(data)
    return _pack_uint32(((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
