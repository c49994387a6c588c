"""A disk that loses power: after any call, with what was synced, and any part of what was not.

A ``PowerCut`` records what the files of this package ask of the disk while a run
goes on undisturbed. Afterwards it lays out what a machine would find that lost
its power after the first call, the second, and so on::

    with PowerCut(tmp_path / "run") as disk:
        ...                                             # log
        if logs.flush():
            disk.note("step 3")
        ...
    for call in disk.calls():
        noted = disk.crash(call, tmp_path / str(call))  # the directory, as it is found; and what was noted by then

It knows no mercy: the name of a new file is lost unless its directory was synced,
which some file systems do of their own accord.
"""

import errno
import os
from collections.abc import Container, Mapping
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from ml.testing.disk import TestDisk

_DIRECTORY = 0  # what a name stands for that is a directory's; files are numbered from 1


class _Write(NamedTuple):
    file: int
    offset: int
    data: bytes


class _Cut(NamedTuple):
    file: int
    size_bytes: int


class _Rename(NamedTuple):
    """Names that changed together: what each stands for now, ``None`` for nothing."""

    directory: Path
    names: dict[Path, int | None]


class _Sync(NamedTuple):
    """All that was done to ``subject``, a file or a directory, in the first ``calls`` is on the disk."""

    subject: int | Path
    calls: int


class _Lost(NamedTuple):
    """What was done to ``file`` between its last sync and the first ``calls`` was given up when a sync failed."""

    file: int
    calls: int


class _Note(NamedTuple):
    text: str


class PowerCut(TestDisk):
    """While entered, records the calls of this package's files below a directory. What is there already is on the disk.

    Args:
        root: The directory.
        failing_syncs: Which syncs of files fail with an input/output error, numbered from 1. As in Linux, what such a
            sync should have brought to the disk is found by nobody after the cut, and the next sync succeeds.
    """

    def __init__(self, root: Path, failing_syncs: Container[int] = ()) -> None:
        super().__init__()
        self._root, self._failing_syncs = root, failing_syncs
        self._syncs = count(1)
        self._calls: list[_Write | _Cut | _Rename | _Sync | _Lost | _Note] = []
        self._names: dict[Path, int] = {}
        self._sizes: dict[int, int] = {}
        self._files: dict[int, int] = {}  # by descriptor
        self._before: list[_Write | _Rename] = []

    def __enter__(self) -> "PowerCut":
        for path in sorted(self._root.rglob("*")):
            self._set({path: _DIRECTORY if path.is_dir() else self._new_file()})
            if path.is_file():
                data = path.read_bytes()
                self._before.append(_Write(self._names[path], 0, data))
                self._sizes[self._names[path]] = len(data)
        self._before += [_Rename(path.parent, {path: file}) for path, file in self._names.items()]
        self._calls.clear()
        return super().__enter__()

    def note(self, text: str) -> None:
        """Remembers what has been promised by now."""
        self._calls.append(_Note(text))

    def calls(self) -> range:
        """Returns the numbers of the calls after which the power can be cut; 0 is before the first."""
        return range(len(self._calls) + 1)

    def crash(self, call: int, into: Path, chance: Random | None = None) -> list[str]:
        """Lays out what is found of the directory when the power is cut after some calls.

        Args:
            call: How many of the recorded calls were made before.
            into: A directory that is not there yet, to which the content of the root is copied.
            chance: Decides of each change that was not synced whether it is found, and of a write, whether
                whole, in part, or as zeros. Without it nothing is found that was not synced.

        Returns:
            What was noted by then.
        """
        calls = self._calls[:call]
        synced: dict[int | Path, int] = {}
        lost: set[tuple[int, int]] = set()
        for entry in calls:
            if isinstance(entry, _Sync):
                synced[entry.subject] = max(entry.calls, synced.get(entry.subject, 0))
            elif isinstance(entry, _Lost):
                lost.update((entry.file, number) for number in range(synced.get(entry.file, 0), entry.calls))
        contents: dict[int, bytearray] = {}
        names: dict[Path, int | None] = {}
        for number, entry in enumerate([*self._before, *calls], start=-len(self._before)):
            if isinstance(entry, _Write | _Cut):
                if (entry.file, number) in lost:
                    continue
                if number < synced.get(entry.file, 0):
                    _apply(contents, entry)
                elif chance is not None:
                    _apply(contents, _spoilt(entry, chance))
            elif isinstance(entry, _Rename):
                is_synced = number < synced.get(entry.directory, 0)
                if is_synced or (chance is not None and chance.random() < 0.5):
                    names.update(entry.names)
        self._lay_out(names, contents, into)
        return [entry.text for entry in calls if isinstance(entry, _Note)]

    def _lay_out(self, names: dict[Path, int | None], contents: dict[int, bytearray], into: Path) -> None:
        into.mkdir(parents=True)
        for path in sorted(names):
            target = into / path.relative_to(self._root)
            if names[path] == _DIRECTORY and target.parent.is_dir():
                target.mkdir()
            elif (file := names[path]) and target.parent.is_dir():
                target.write_bytes(contents.get(file, b""))

    # the calls

    def open(self, path: Path, flags: int, mode: int) -> int:
        descriptor = super().open(path, flags, mode)
        if self._is_below(path):
            if path not in self._names:
                self._set({path: self._new_file()})
            self._files[descriptor] = self._names[path]
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        size_bytes = super().write(descriptor, data)
        if (file := self._files.get(descriptor)) is not None:
            self._calls.append(_Write(file, self._sizes[file], bytes(data[:size_bytes])))
            self._sizes[file] += size_bytes
        return size_bytes

    def sync(self, descriptor: int) -> None:
        calls, file = len(self._calls), self._files.get(descriptor)
        if file is not None and next(self._syncs) in self._failing_syncs:
            self._calls.append(_Lost(file, calls))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if file is not None:
            self._calls.append(_Sync(file, calls))

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        super().truncate(descriptor, size_bytes)
        if (file := self._files.get(descriptor)) is not None:
            self._calls.append(_Cut(file, size_bytes))
            self._sizes[file] = size_bytes

    def close(self, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        super().close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        if self._is_below(target):
            self._set({target: self._names[source], source: None})

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        if self._is_below(target):
            self._set({target: self._names[source]})

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        if self._is_below(path):
            self._set({path: None})

    def make_directory(self, path: Path) -> None:
        super().make_directory(path)
        if self._is_below(path):
            self._set({path: _DIRECTORY})

    def remove_directory(self, path: Path) -> None:
        super().remove_directory(path)
        if self._is_below(path):
            self._set({path: None})

    def sync_directory(self, directory: Path) -> None:
        self._calls.append(_Sync(directory, len(self._calls)))

    def _is_below(self, path: Path) -> bool:
        return self._root in path.parents

    def _new_file(self) -> int:
        file = len(self._sizes) + 1
        self._sizes[file] = 0
        return file

    def _set(self, names: Mapping[Path, int | None]) -> None:
        """Notes what names stand for from now on. All are in one directory."""
        for path, file in names.items():
            if file is None:
                self._names.pop(path, None)
            else:
                self._names[path] = file
        self._calls.append(_Rename(next(iter(names)).parent, dict(names)))


def _apply(contents: dict[int, bytearray], change: _Write | _Cut | None) -> None:
    if change is None:
        return
    content = contents.setdefault(change.file, bytearray())
    if isinstance(change, _Cut):
        del content[change.size_bytes :]
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _spoilt(change: _Write | _Cut, chance: Random) -> _Write | _Cut | None:
    """Returns what is found of a change that was not synced."""
    fate = chance.choice(("lost", "whole", "torn", "zeros"))
    if fate == "lost" or (isinstance(change, _Cut) and fate != "whole"):
        return None
    if isinstance(change, _Write) and fate == "torn":
        return change._replace(data=change.data[: chance.randrange(len(change.data) + 1)])
    if isinstance(change, _Write) and fate == "zeros":
        return change._replace(data=bytes(len(change.data)))
    return change
