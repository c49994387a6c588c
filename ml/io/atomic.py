"""Replaces files whole: a reader, and a crash at any moment, finds the old content or the new one."""

import errno
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ml.io.fileops import OPS, FileOps
from ml.io.files import CREATE, explained, write_whole

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_FILES_AT_ONCE = 8  # open files
_SYNCED_ONE_BY_ONE = 32
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def write_atomically(path: str | Path, data: bytes, *, mode: int = 0o666, ops: FileOps = OPS) -> None:
    """Replaces a file's content, on the disk when this returns; a crash leaves the old or the new one whole.

    Args:
        path: The file; need not exist, its directory must.
        data: The whole new content.
        mode: Permission bits, less the umask.
        ops: The calls to the operating system.

    Raises:
        WriteError: The old content is still there, or the new one is but may not survive a power cut.
    """
    write_all_atomically({Path(path): data}, mode=mode, ops=ops)


def write_all_atomically(contents: Mapping[Path, bytes], *, mode: int = 0o666, ops: FileOps = OPS) -> None:
    """Replaces the content of several files, on the disk when this returns; each is old or new, and whole.

    A few at a time are on their way to the disk before the first of them is waited for, and every directory is
    synced once: a hundred small files take a third of the time that they would take one by one.

    Args:
        contents: The whole new content of each file. It need not exist, its directory must.
        mode: Permission bits of each, less the umask.
        ops: The calls to the operating system.

    Raises:
        WriteError: Some have their old content, or a new one that may not survive a power cut.
    """
    paths = list(contents)
    for start in range(0, len(paths), _FILES_AT_ONCE):
        _write_together({path: contents[path] for path in paths[start : start + _FILES_AT_ONCE]}, mode, ops)
    for directory in dict.fromkeys(path.parent for path in paths):
        with explained("sync", directory):
            ops.sync_directory(directory)


def create_atomically(
    path: str | Path, data: bytes, *, mode: int = 0o666, needs_links: bool = False, ops: FileOps = OPS
) -> None:
    """Makes a file with its whole content, on the disk when this returns; one that is there stays as it is.

    Of several processes that do so at once one makes it. On file systems without hard links the last one does.

    Args:
        path: The file; its directory must exist.
        data: The whole content.
        mode: Permission bits, less the umask.
        needs_links: Whether to fail on file systems without hard links, so that there is never more than one.
        ops: The calls to the operating system.

    Raises:
        WriteError: It is not there, or is but may not survive a power cut.
    """
    path = Path(path)
    file = _Temporary(path, mode, ops)
    try:
        file.write(data)
        file.sync()
        file.put_in_place_if_free(needs_links=needs_links)
    finally:
        file.drop()
    with explained("sync", path.parent):
        ops.sync_directory(path.parent)


def place_atomically(path: str | Path, data: bytes, *, mode: int = 0o666, ops: FileOps = OPS) -> None:
    """Replaces a file's content: whoever reads it, and a process that dies, finds the old or the new one whole.

    For many files, where waiting for the disk each time would cost most of the time: only what ``sync_files`` was
    called for is sure to survive a power cut.

    Args:
        path: The file; need not exist, its directory must.
        data: The whole new content.
        mode: Permission bits, less the umask.
        ops: The calls to the operating system.

    Raises:
        WriteError: The old content is still there.
    """
    file = _Temporary(Path(path), mode, ops)
    try:
        file.write(data)
        file.put_in_place()
    finally:
        file.drop()


def sync_files(paths: Collection[Path], *, ops: FileOps = OPS) -> None:
    """Returns when files, and their names, are on the disk.

    One that was removed meanwhile, or has something else in the place of its directory, is none to wait for. Many are
    synced with all else on their file systems, where the system knows how: one by one each would take milliseconds.

    Raises:
        WriteError: One of them may not survive a power cut.
    """
    directories = dict.fromkeys(path.parent for path in paths)
    if len(paths) > _SYNCED_ONE_BY_ONE and _sync_file_systems(directories, ops):
        return
    for path in paths:
        with explained("sync", path), _unless_gone():
            descriptor = ops.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0)
            try:
                ops.sync(descriptor)
            finally:
                ops.close(descriptor)
    for directory in directories:
        with explained("sync", directory), _unless_gone():
            ops.sync_directory(directory)


def _sync_file_systems(directories: Iterable[Path], ops: FileOps) -> bool:
    """Syncs the file systems that directories lie on; False where that is not known how."""
    synced = set()
    for directory in directories:
        with explained("sync", directory), _unless_gone():
            device = ops.identity(directory)[0]
            if device not in synced:
                if not ops.sync_file_system(directory):
                    return False
                synced.add(device)
    return True


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise


class _Temporary:
    """A file that is on its way to its place."""

    def __init__(self, path: Path, mode: int, ops: FileOps) -> None:
        self._path, self._ops = path, ops
        self._temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # the name alone may be as long as can be
        with explained("write", path):
            self._descriptor: int | None = ops.open(self._temporary, CREATE | os.O_EXCL, mode)
        self._is_in_place = False

    def write(self, data: bytes) -> None:
        with explained("write", self._path):
            assert self._descriptor is not None
            write_whole(self._ops, self._descriptor, data)

    def begin_sync(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # it is only meant to save time
                self._ops.begin_sync(self._descriptor)

    def sync(self) -> None:
        with explained("sync", self._path):
            assert self._descriptor is not None
            self._ops.sync(self._descriptor)

    def put_in_place(self) -> None:
        with explained("write", self._path):
            self._close()
            self._ops.rename(self._temporary, self._path)
            self._is_in_place = True

    def put_in_place_if_free(self, *, needs_links: bool) -> None:
        try:
            self._ops.link(self._temporary, self._path)
        except FileExistsError:
            pass
        except OSError as error:
            if needs_links or error.errno not in NO_LINKS:
                with explained("write", self._path):
                    raise
            self.put_in_place()

    def drop(self) -> None:
        """Removes it, unless it is in its place."""
        with suppress(OSError):
            self._close()
        if not self._is_in_place:
            with suppress(OSError):
                self._ops.unlink(self._temporary)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._ops.close(descriptor)


def _write_together(contents: Mapping[Path, bytes], mode: int, ops: FileOps) -> None:
    files: list[_Temporary] = []
    try:
        for path, data in contents.items():
            files.append(_Temporary(path, mode, ops))
            files[-1].write(data)
        if len(files) > 1:
            for file in files:
                file.begin_sync()
        for file in files:
            file.sync()
        for file in files:
            file.put_in_place()
    except BaseException:
        for file in files:
            file.drop()
        raise
