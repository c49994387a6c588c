"""What lies in a ``.wandb`` file, the log that W&B keeps of a run: its records, read without W&B.

The file begins with ``:W&B``, a magic number and a version. Then come blocks of 32 KiB as LevelDB has them in
its logs: pieces of records, each with a checksum, its length, and whether it is whole, the first, a middle or the
last one. A record is a protocol buffer; of the many kinds those are taken apart that hold values, the
configuration, which metric is the x axis, what the run is called, its summary, and how it ended.
"""

import html
import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml.core.errors import FormatError
from ml.integrations.foreign import MAX_DEPTH
from ml.io.regular import open_regular
from ml.loggers.strict_json import parsing

MAX_RECORD_BYTES = 2**27

_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK_BYTES = 2**15
_PIECE = struct.Struct("<IHB")  # checksum, length, which piece
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

_HISTORY, _SUMMARY, _CONFIG, _METRIC, _RUN, _EXIT = 2, 3, 5, 12, 17, 18  # fields of a record
_ABOUT = {1: "run_id", 2: "entity", 3: "project", 6: "group", 7: "job_type", 8: "name", 9: "notes"}
_TAGS = 10
_PRE, _POST = '<pre style="white-space: pre-wrap">', "</pre>"
_TEXTS = re.compile(f"{re.escape(_PRE)}(.*?){re.escape(_POST)}", re.DOTALL)

Tree = dict[str, Any]
"""Values by name; a value that has parts is a tree again."""


class Row(NamedTuple):
    """Values that were logged together."""

    values: Tree


class Config(NamedTuple):
    """Settings that were made, or changed."""

    values: Tree


class Axis(NamedTuple):
    """The metric that all metrics are drawn over."""

    name: str


class Summary(NamedTuple):
    """The last values, or what else the run noted as its result: those that changed."""

    values: Tree


class Facts(NamedTuple):
    """What was noted of the run: ``name``, ``project``, ``tags``."""

    values: Tree


class Exit(NamedTuple):
    """The run has ended."""

    code: int


class Unreadable(NamedTuple):
    """Stands for a value that cannot be read."""

    why: str


class LogReader:
    """Reads the records of a ``.wandb`` file, which may be being written: ``read`` goes on where it stopped.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def read(self) -> Iterator[bytes | FormatError]:
        """Yields whole records that were not read yet, and what is damaged among them.

        Raises:
            OSError: The file cannot be read.
        """
        with open_regular(self.path) as file:
            if self._position == 0:
                if (head := file.read(len(_HEADER))) != _HEADER:
                    if not _HEADER.startswith(head):  # else it is about to be written
                        yield FormatError(f"this is no log of W&B that can be read here: it begins with {head!r}")
                    return
                self._position = len(_HEADER)
            at = self._position
            file.seek(at)
            pieces: list[bytes] = []
            is_damaged = False
            while True:
                if (left := _BLOCK_BYTES - at % _BLOCK_BYTES) < _PIECE.size:
                    file.seek(left, os.SEEK_CUR)
                    at += left
                    continue
                head = file.read(_PIECE.size)
                if len(head) < _PIECE.size:
                    return
                checksum, length, piece = _PIECE.unpack(head)
                body = file.read(min(length, left - _PIECE.size))
                if len(body) < length <= left - _PIECE.size:
                    return
                if not _WHOLE <= piece <= _LAST or checksum != zlib.crc32(body, zlib.crc32(head[6:])):
                    if not is_damaged:
                        yield FormatError("a record is damaged", path=self.path, offset=at)
                    is_damaged = True
                    pieces.clear()
                    # Perhaps its length is right; else what is taken for pieces has no right checksum either.
                    at += _PIECE.size + length if length <= left - _PIECE.size else left
                    self._position = at
                    file.seek(at)
                    continue
                is_damaged = False
                if pieces and (piece in (_WHOLE, _FIRST) or len(pieces) * _BLOCK_BYTES > MAX_RECORD_BYTES):
                    yield FormatError("a record has no end", path=self.path, offset=at)
                    pieces.clear()
                at += _PIECE.size + length
                if pieces or piece in (_WHOLE, _FIRST):  # else what is left of a record that was damaged
                    pieces.append(body)
                if piece in (_WHOLE, _LAST):
                    self._position = at
                    if pieces:
                        yield b"".join(pieces)
                    pieces.clear()

    @property
    def unread_bytes(self) -> int:
        """What is behind the last whole record."""
        return max(0, self.path.stat().st_size - self._position)


class LogProgress:
    """How far W&B has come with a log that it writes.

    Attributes:
        path: The log.
        num_rows: Rows that are there.
        has_ended: Whether the run was finished: that is the last record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = LogReader(path)
        self.num_rows, self.has_ended = 0, False

    def look(self) -> None:
        """Takes in what was written since the last look.

        Raises:
            OSError: The log cannot be read.
        """
        for record in self._reader.read():
            if isinstance(record, bytes):
                fields = {field for field, _ in _fields(record)}
                self.num_rows += _HISTORY in fields
                self.has_ended |= _EXIT in fields


def parsed(record: bytes) -> Iterator[Row | Config | Axis | Summary | Facts | Exit]:
    """Yields what a record says of values, settings, the x axis and the run; a value may be ``Unreadable``.

    Raises:
        FormatError: It is no record.
    """
    with parsing("no record"):
        for field, content in _fields(record):
            if isinstance(content, int):
                continue
            if field == _HISTORY:
                yield Row(_tree(content))
            elif field == _CONFIG:
                yield Config(_tree(content))
            elif field == _SUMMARY:
                yield Summary(_tree(content))
            elif field == _RUN:
                yield from (Config(_tree(part)) for part in _parts(content, 4))
                yield Facts(_facts(content))
            elif field == _EXIT:
                yield Exit(next((code for part, code in _fields(content) if part == 1 and isinstance(code, int)), 0))
            elif field == _METRIC and [*_parts(content, 2)] == [b"*"]:
                yield from (Axis(name.decode()) for name in _parts(content, 4))


def html_of(texts: Iterable[str]) -> str:
    """Returns a page that shows texts as they are."""
    return "".join(f"{_PRE}{html.escape(text)}{_POST}" for text in texts)


def texts_of(page: str) -> list[str]:
    """Returns the texts that ``html_of`` made a page of; another page is a text itself."""
    if "".join(found[0] for found in _TEXTS.finditer(page)) != page:
        return [page]
    return [html.unescape(text) for text in _TEXTS.findall(page)]


def _tree(message: bytes) -> Tree:
    """Returns the items of a message that lists them in its first field."""
    tree: Tree = {}
    for item in _parts(message, 1):
        name = ""
        try:
            with parsing("no value"):
                fields = [*_fields(item)]
                path = [_text(content) for field, content in fields if field == 2]
                path = path or [_text(content) for field, content in fields if field == 1][-1:] or [""]
                name = f"{'.'.join(path):.200}"
                for field, content in fields:
                    if field > 2:
                        _put(tree, path, _value(field, content))
        except FormatError as error:
            tree[name] = Unreadable(error.message)
    return tree


def _put(tree: Tree, path: list[str], value: object) -> None:
    if len(path) > MAX_DEPTH:
        raise ValueError(f"its name has {len(path)} parts, more than {MAX_DEPTH}")
    *parents, name = path
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise TypeError(f"it lies below a value: {parent!r:.60}")
    tree[name] = value


def _facts(message: bytes) -> Tree:
    """Returns what the record of a run says of it."""
    tree: Tree = {}
    for field, content in _fields(message):
        if field in _ABOUT and content:
            tree[_ABOUT[field]] = _text(content)
        elif field == _TAGS:
            tree.setdefault("tags", []).append(_text(content))
    return tree


def _value(field: int, content: bytes | int) -> Any:
    """Returns a value, which is JSON, or of a type that the number of its field says."""
    if field in (8, 16):
        return json.loads(_text(content))
    if field == 4:
        return bool(content)
    if field == 5:
        if not isinstance(content, int):
            raise TypeError("a text stands where a whole number should")
        return (content >> 1) ^ -(content & 1)
    if field == 6:
        if not isinstance(content, bytes) or len(content) != 8:
            raise TypeError(f"a number has eight bytes, got {content!r:.60}")
        return struct.unpack("<d", content)[0]
    return _text(content) if field == 7 else None


def _text(content: bytes | int) -> str:
    if isinstance(content, int):
        raise TypeError("a number stands where a text should")
    return content.decode()


def _parts(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yields what the field ``wanted`` of a message holds, each time that it occurs."""
    return (content for field, content in _fields(message) if field == wanted and isinstance(content, bytes))


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields the number and the content of each field of a protocol buffer.

    Raises:
        ValueError, IndexError: It is none.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                number, at = _varint(message, at)
                yield tag >> 3, number
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case wire_type:
                raise ValueError(f"a field has the unknown type {wire_type}")
        if at + size > len(message):
            raise ValueError("a field is longer than its record")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number has more than ten bytes")
