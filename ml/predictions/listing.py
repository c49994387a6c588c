"""The keys of records in the order of their time, without opening any: of a directory, or of an object store.

Records of one day may lie in many folders, one for each model and device. Their keys are merged as they are listed, so
what is held are the folders, and of the folders of one day some ``MAX_NAMES`` names together.
"""

import heapq
import operator
import os
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ml.predictions.census import MAX_RECORD_BYTES
from ml.predictions.codecs import MAX_PIXELS
from ml.predictions.kinds import VisionModelType
from ml.predictions.layout import SUFFIX, KeyParts, parse_key
from ml.predictions.logged import LoggedPrediction

if TYPE_CHECKING:
    from ml.io.store import Store

MAX_NAMES = 2**18
"""Names of files, of all folders of a day, that are asked for at a time: of a folder that has more the next ones are
found by listing it again. Twice as many are held."""

_MIN_PAGE = 1024  # names of one folder
_DAY = re.compile(r"(?:^|/)([0-9]{4}-[0-9]{2}-[0-9]{2})$")
_TYPES = frozenset(kind.name for kind in VisionModelType)
_TIME_LENGTH = len("2026-01-02T03-04-05.678")
_DAY_LENGTH = len("2026-01-02")
_BEHIND_SLASH = chr(ord("/") + 1)


class Listing(Protocol):
    """Where records lie."""

    source: str
    """What the user calls it."""

    def folders(self) -> Iterator[str]:
        """Yields the folders in which records lie, each once; ``""`` is the top."""
        ...

    def keys(self, folder: str, *, newest_first: bool, page: int) -> Iterator[str]:
        """Yields the keys of the records in a folder, by ``order_of``.

        Args:
            folder: Of ``folders``.
            newest_first: Whether the last come first.
            page: Names that may be held at a time, if that is possible.
        """
        ...

    def parts(self, key: str) -> KeyParts | None:
        """Returns what a key says for certain; ``None`` if its record must be read."""
        ...

    def read(self, key: str) -> LoggedPrediction:
        """Returns a record.

        Raises:
            FormatError: It is damaged, or none.
            FileNotFoundError: It is gone.
            OSError, WriteError: It cannot be read.
        """
        ...


class DirectoryListing:
    """Records below a directory, at any depth. Links to directories are not followed; hidden files are none."""

    def __init__(self, root: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.source = str(root)
        self._root, self._max_pixels = root, max_pixels
        self._above = "/".join(root.absolute().parts[1:])

    def folders(self) -> Iterator[str]:
        """Yields the folders in which records lie.

        Raises:
            OSError: The directory is not there, or is none.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            if folder and self.parts(f"{folder}/{SUFFIX}") is not None:  # the folder of a day: it need not be searched
                yield folder
                continue
            has_records = False
            for entry in self._entries(folder):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(_joined(folder, entry.name))
                else:
                    has_records = has_records or _is_record(entry.name)
            if has_records:
                yield folder

    def keys(self, folder: str, *, newest_first: bool, page: int) -> Iterator[str]:
        """Yields the keys of the records in a folder; of files that come or go meanwhile, some."""
        is_before = operator.gt if newest_first else operator.lt
        last = ""
        while True:
            names = (
                entry.name
                for entry in self._entries(folder)
                if _is_record(entry.name) and entry.is_file(follow_symlinks=False)
            )
            rest = (name for name in names if not last or is_before(last, order_of(name)))
            found = _first(rest, page, newest_first=newest_first)
            yield from (_joined(folder, name) for name in found)
            if len(found) < page:
                return
            last = order_of(found[-1])

    def parts(self, key: str) -> KeyParts | None:
        """Returns what a key says, together with the directory that it is relative to."""
        return _certain(f"{self._above}/{key}")

    def read(self, key: str) -> LoggedPrediction:
        """Returns a record."""
        return LoggedPrediction.from_path(self._root / key, max_pixels=self._max_pixels)

    def _entries(self, folder: str) -> "Iterator[os.DirEntry[str]]":
        with os.scandir(self._root / folder) as entries:
            yield from entries


class StoreListing:
    """Records in an object store. Newest first, the names of a day are held."""

    def __init__(self, store: "Store", *, max_pixels: int = MAX_PIXELS) -> None:
        self.source = store.url
        self._store, self._max_pixels = store, max_pixels
        self._above = urlsplit(store.url).path.strip("/")

    def folders(self) -> Iterator[str]:
        """Yields the folders in which records lie; the keys of a day are skipped, not listed."""
        after, last = "", None
        while True:
            for entry in self._store.list(after=after):
                folder, _, name = entry.key.rpartition("/")
                if not _is_record(name):
                    continue
                if folder != last:
                    yield folder
                    last = folder
                if self.parts(entry.key) is not None:
                    after = folder + _BEHIND_SLASH
                    break
            else:
                return

    def keys(self, folder: str, *, newest_first: bool, page: int) -> Iterator[str]:
        """Yields the keys of the records in a folder."""
        entries = self._store.list(f"{folder}/" if folder else "")
        keys = (entry.key for entry in entries if _is_in(folder, entry.key))
        first = next(keys, None)
        if first is None:
            return
        found = chain([first], keys)
        # A blank is before a T: the keys of the ancestor would all come first.
        if newest_first or not _is_ours(first.rpartition("/")[2]):
            yield from sorted(found, key=order_of, reverse=newest_first)
        else:
            yield from found

    def parts(self, key: str) -> KeyParts | None:
        """Returns what a key says, together with the prefix that it is relative to."""
        return _certain(f"{self._above}/{key}")

    def read(self, key: str) -> LoggedPrediction:
        """Returns a record."""
        data = self._store.get(key, max_bytes=MAX_RECORD_BYTES)
        return LoggedPrediction.from_bytes(data, max_pixels=self._max_pixels)


def keys_in_order(
    listing: Listing, is_wanted: Callable[[str], bool], *, newest_first: bool = False, max_names: int = MAX_NAMES
) -> Iterator[str]:
    """Yields the keys of records in the order of their time, as far as their names tell it.

    Files in folders that are named by no day come last, by name.

    Args:
        listing: Where they lie.
        is_wanted: Whether a folder is looked into.
        newest_first: Whether the last come first.
        max_names: Names that may be held at a time.
    """
    folders: dict[str, list[str]] = {}
    for folder in listing.folders():
        if is_wanted(folder):
            folders.setdefault(day_of(folder), []).append(folder)
    nameless = folders.pop("", [])
    for of_day in [*(folders[day] for day in sorted(folders, reverse=newest_first)), nameless]:
        page = max(_MIN_PAGE, max_names // max(1, len(of_day)))
        streams = (listing.keys(folder, newest_first=newest_first, page=page) for folder in sorted(of_day))
        yield from heapq.merge(*streams, key=order_of, reverse=newest_first)


def day_of(folder: str) -> str:
    """Returns the day that a folder is named by; ``""`` if it is named by none."""
    match = _DAY.search(folder)
    return match[1] if match else ""


def order_of(key: str) -> str:
    """Returns what keys of a day are ordered by: their time, then the rest of their name."""
    name = key[key.rfind("/") + 1 :] if "/" in key else key
    if _is_ours(name):
        return name
    return name[:_TIME_LENGTH].replace(" ", "T").replace(":", "-") + name[_TIME_LENGTH:]


def _first(names: Iterator[str], count: int, *, newest_first: bool) -> list[str]:
    """Returns the first ``count`` names by ``order_of``; twice as many are held."""
    is_before = operator.gt if newest_first else operator.lt
    held, bound = list[str](), ""
    for name in names:
        if bound and not is_before(order_of(name), bound):
            continue
        held.append(name)
        if len(held) == 2 * count:
            held.sort(key=order_of, reverse=newest_first)
            del held[count:]
            bound = order_of(held[-1])
    held.sort(key=order_of, reverse=newest_first)
    return held[:count]


def _is_record(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _is_in(folder: str, key: str) -> bool:
    above, _, name = key.rpartition("/")
    return above == folder and _is_record(name)


def _is_ours(name: str) -> bool:
    return name[_DAY_LENGTH : _DAY_LENGTH + 1] == "T"


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _certain(path: str) -> KeyParts | None:
    """Returns what a path says of a record; the ancestor escaped nothing, so what looks escaped there may not be."""
    parts = parse_key(path)
    if parts is None or parts.model_type not in _TYPES or (not parts.record_id and "%" in path):
        return None
    return parts
