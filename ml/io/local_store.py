"""A directory as a store: the object ``a/b`` is the file ``a/b`` below it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ml.core.errors import ConfigError, FormatError, LogValueError, WriteError
from ml.io.atomic import NO_LINKS, create_atomically, write_atomically
from ml.io.fileops import OPS, FileOps
from ml.io.files import make_directories
from ml.io.store import Entry, Refused, check_key

_OTHER_KEY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP)
_READ_AT_ONCE = 1 << 20
_NO_RIGHT = (errno.EACCES, errno.EROFS)


class LocalStore:
    """Objects as files below a directory; see ``ml.io.store.Store`` for the laws.

    What a call has kept is on the disk when it returns. Keys never lead out of the directory: one that leads through a
    symbolic link is refused, and links are not listed. Other than in a bucket, ``a`` and ``a/b`` cannot both be there
    (``LogValueError``), and where the file system ignores case, ``a`` and ``A`` are one.

    ``create`` needs a file system with hard links, as those of every disk are. Without them a file could only be made
    first and written then, or put in its place over another one: a reader would find half of it, or two would win.

    Args:
        directory: Made where it is missing.
        ops: The calls to the operating system.

    Raises:
        ConfigError: It is no directory.
        WriteError: It cannot be made.
    """

    def __init__(self, directory: Path, *, ops: FileOps = OPS) -> None:
        if directory.exists() and not directory.is_dir():
            raise ConfigError(f"{directory} is no directory. Name another one for the store.")
        make_directories(directory, ops=ops)
        self._root = Path(os.path.realpath(directory))
        self._ops = ops

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._root)!r})"

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def create(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with _explained("write", key, path):
            if not os.path.lexists(path):
                make_directories(path.parent, ops=self._ops)
                create_atomically(path, data, needs_links=True, ops=self._ops)
            return self._holds(path, data)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _explained("write", key, path):
            make_directories(path.parent, ops=self._ops)
            write_atomically(path, data, ops=self._ops)

    def get(self, key: str, *, max_bytes: int) -> bytes:
        path = self._path(key)
        try:
            with _explained("read", key, path):
                return self._read(path, max_bytes)
        except FileNotFoundError:
            raise FileNotFoundError(f"There is no {key!r} in {self.url}.") from None

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        parent = prefix.rpartition("/")[0]
        if parent:
            self._path(f"{parent}/x")
        for key in self._walk(f"{parent}/" if parent else "", prefix.encode(), after.encode()):
            with suppress(FileNotFoundError, NotADirectoryError):  # it was removed meanwhile
                yield Entry(key, os.lstat(self._root / key).st_size)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _explained("remove", key, path), suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(os.lstat(path).st_mode):
                self._ops.unlink(path)
                self._ops.sync_directory(path.parent)

    def _path(self, key: str) -> Path:
        check_key(key)
        path = self._root / key
        parent = os.path.realpath(path.parent)
        if parent != str(path.parent):
            raise LogValueError(f"{key!r} leads through a symbolic link, to {parent}", "Remove the link.")
        return path

    def _holds(self, path: Path, data: bytes) -> bool:
        try:
            return self._read(path, len(data)) == data
        except FormatError:
            return False
        except FileNotFoundError:
            if os.path.lexists(path):
                raise LogValueError(f"{path} is there and no file", "Choose another key.") from None
            raise WriteError(f"{path} was removed while it was made. Try again.") from None

    def _read(self, path: Path, max_bytes: int) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise FileNotFoundError(errno.ENOENT, "no regular file", str(path)) from None
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))
            if status.st_size > max_bytes:
                raise FormatError(f"it has {status.st_size} bytes, {max_bytes} are the most", path=path)
            return b"".join(iter(lambda: os.read(descriptor, _READ_AT_ONCE), b""))
        finally:
            os.close(descriptor)

    def _walk(self, top: str, prefix: bytes, after: bytes) -> Iterator[str]:
        """Yields the keys below ``top``, which is empty or ends in ``/``; one directory of each depth is in memory."""
        names: list[tuple[bytes, str, bool]] = []
        try:
            with _explained("list", top, self._root / top), os.scandir(self._root / top) as found:
                for entry in found:
                    is_directory = entry.is_dir(follow_symlinks=False)
                    if is_directory or entry.is_file(follow_symlinks=False):
                        key = f"{top}{entry.name}"
                        with suppress(LogValueError):  # one that is no key, such as a temporary file's, is not ours
                            check_key(key)
                            key += "/" if is_directory else ""
                            names.append((key.encode(), key, is_directory))
        except (FileNotFoundError, NotADirectoryError, LogValueError):
            return  # nothing is there, or no longer
        for encoded, key, is_directory in sorted(names):
            if is_directory:
                # All keys below begin with it: they come before ``after`` if it does, and ``after`` is not below too.
                is_meant = encoded.startswith(prefix) or prefix.startswith(encoded)
                if is_meant and (encoded > after or after.startswith(encoded)):
                    yield from self._walk(key, prefix, after)
            elif encoded.startswith(prefix) and encoded > after:
                yield key


@contextmanager
def _explained(action: str, key: str, path: Path) -> Iterator[None]:
    """Tells by whose fault a call failed: the key's, the directory's, or the disk's for now."""
    try:
        yield
    except (OSError, WriteError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, FileNotFoundError) or not isinstance(cause, OSError):
            raise
        message = f"Cannot {action} {key!r} at {path}: {cause.strerror or cause}."
        if cause.errno in _OTHER_KEY:
            raise LogValueError(message[:-1], "A file cannot be a directory too: choose another key.") from cause
        if cause.errno in NO_LINKS:
            raise Refused(
                f"{message} The file system has no hard links, without which two could create one key, or this user "
                "may not write there. Name another directory."
            ) from cause
        if cause.errno in _NO_RIGHT:
            raise Refused(f"{message} Give this user the right, or name another directory.") from cause
        raise WriteError(message) from cause
