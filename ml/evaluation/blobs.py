"""Files in a store under the hash of what they hold, so that each is kept once: pictures, sound, parts of tables.

::

    blobs/3f/3f0a...c2.png
"""

import hashlib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from ml.core.errors import FormatError, LogValueError, WriteError
from ml.io.store import Store

MAX_BLOB_BYTES: Final = 256 * 2**20
"""What one file may hold, written or read."""

_KNOWN: Final = 16_384
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXT = re.compile(r"[a-z0-9]{1,8}")
_KEY = re.compile(r"blobs/(?P<start>[0-9a-f]{2})/(?P<sha256>(?P=start)[0-9a-f]{62})\.(?P<ext>[a-z0-9]{1,8})")


class BlobRef(NamedTuple):
    """A file by what it holds.

    Attributes:
        sha256: Of its content, 64 small hexadecimal digits.
        ext: What its name ends in, without the dot: ``"png"``.
        size_bytes: Of its content.
    """

    sha256: str
    ext: str
    size_bytes: int

    @property
    def key(self) -> str:
        """Where it lies in a store."""
        return f"blobs/{self.sha256[:2]}/{self.sha256}.{self.ext}"

    @staticmethod
    def of(data: bytes, ext: str) -> "BlobRef":
        """Returns how a file is found that holds ``data``."""
        return BlobRef(hashlib.sha256(data).hexdigest(), ext, len(data))

    @staticmethod
    def from_key(key: str, size_bytes: int) -> "BlobRef":
        """Returns which file lies under a key, by the key alone.

        Raises:
            FormatError: The key is not of a blob.
        """
        match = _KEY.fullmatch(key)
        if match is None:
            raise FormatError(f"{key[:200]!r} is no key of a blob")
        return BlobRef(match["sha256"], match["ext"], size_bytes)

    @staticmethod
    def read(sha256: object, ext: object, size_bytes: object) -> "BlobRef":
        """Returns a file that somebody's data names.

        Raises:
            FormatError: It cannot be the name of one: its key could lead anywhere.
        """
        if not (isinstance(sha256, str) and isinstance(ext, str) and _SHA256.fullmatch(sha256) and _EXT.fullmatch(ext)):
            raise FormatError(f"there is no blob {sha256!r:.100}, {ext!r:.20}")
        if isinstance(size_bytes, bool) or not isinstance(size_bytes, int) or not 0 <= size_bytes <= MAX_BLOB_BYTES:
            raise FormatError(f"a blob has 0 to {MAX_BLOB_BYTES} bytes, not {size_bytes!r:.50}")
        return BlobRef(sha256, ext, size_bytes)

    def checked(self) -> "BlobRef":
        """Returns itself.

        Raises:
            FormatError: It cannot be the name of a file; see ``read``.
        """
        return BlobRef.read(*self)


class BlobSource(Protocol):
    """Where files can be read."""

    def get(self, ref: BlobRef) -> bytes:
        """Returns what a file holds.

        Raises:
            FileNotFoundError: It is not there.
            FormatError: What is there is damaged.
            WriteError: Nothing can be read there now.
        """
        ...


class MediaFile(NamedTuple):
    """A file, and where it can be read."""

    ref: BlobRef
    source: BlobSource

    @staticmethod
    def held(data: bytes, ext: str) -> "MediaFile":
        """Returns one that is held in memory.

        Raises:
            LogValueError: It has more than ``MAX_BLOB_BYTES``.
        """
        refuse_large(len(data))
        return MediaFile(BlobRef.of(data, ext), _Held(data))

    def read(self) -> bytes:
        """Returns what it holds.

        Raises:
            FileNotFoundError, FormatError, WriteError: See ``BlobSource.get``.
        """
        return self.source.get(self.ref)


class Blobs:
    """The files of a store.

    It remembers what it has put or seen there, within bounds, and does not ask for it again. A garbage collection would
    go unnoticed, so every publication makes a ``Blobs`` of its own.

    Args:
        store: A directory or a bucket.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[BlobRef, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def store(self) -> Store:
        """Where they lie."""
        return self._store

    @property
    def url(self) -> str:
        """Of the store, without credentials."""
        return self._store.url

    def put(self, data: bytes, ext: str) -> BlobRef:
        """Keeps a file, unless it is there.

        Args:
            data: What it holds.
            ext: 1 to 8 of ``a`` to ``z`` and ``0`` to ``9``.

        Raises:
            LogValueError: It has more than ``MAX_BLOB_BYTES``.
            WriteError: It cannot be kept now, or something else lies in its place.
        """
        refuse_large(len(data))
        ref = BlobRef.of(data, ext).checked()
        if ref not in self._known:
            if not self._store.create(ref.key, data):
                raise WriteError(
                    f"{ref.key} in {self.url} does not hold what its name says, so it is damaged. "
                    "Remove it, and try again; 'mlog artifacts fsck' finds what else is."
                )
            self._remember(ref)
        return ref

    def put_file(self, path: Path, ext: str) -> BlobRef:
        """Keeps what a file on disk holds, unless it is there.

        Raises:
            OSError: The file cannot be read.
            LogValueError, WriteError: As ``put`` says.
        """
        refuse_large(path.stat().st_size)
        return self.put(path.read_bytes(), ext)

    def keep(self, file: MediaFile) -> BlobRef:
        """Keeps a file that lies elsewhere; one that was read from this store is not looked at again.

        Raises:
            FileNotFoundError, FormatError: It cannot be read where it lies.
            WriteError: It cannot be kept now.
        """
        if file.ref in self._known or self.holds(file):
            return file.ref
        return self.put(file.read(), file.ref.ext)

    def holds(self, file: MediaFile) -> bool:
        """Whether a file was read from this store, where versions are never changed."""
        return isinstance(file.source, Blobs) and file.source.url == self.url

    def get(self, ref: BlobRef) -> bytes:
        """Returns what a file holds.

        Raises:
            FileNotFoundError: It is not there.
            FormatError: It is there, and holds something else.
            WriteError: The store cannot be reached.
        """
        ref.checked()
        data = self._store.get(ref.key, max_bytes=ref.size_bytes)
        if BlobRef.of(data, ref.ext) != ref:
            raise FormatError(f"it has {len(data)} bytes that do not give its name: it is damaged", path=ref.key)
        return data

    def verify(self, ref: BlobRef) -> None:
        """Returns if a file is there and whole; it is read to its end.

        Raises:
            FileNotFoundError, FormatError, WriteError: As ``get`` says.
        """
        self.get(ref)

    def _remember(self, ref: BlobRef) -> None:
        self._known[ref] = None
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)


class _Held:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get(self, ref: BlobRef) -> bytes:
        return self._data


def refuse_large(size_bytes: int) -> None:
    """Raises ``LogValueError`` for a file of more than ``MAX_BLOB_BYTES``."""
    if size_bytes > MAX_BLOB_BYTES:
        problem = f"a file of {size_bytes / 2**20:.0f} MiB is more than {MAX_BLOB_BYTES // 2**20} MiB"
        raise LogValueError(problem, "Store a smaller one, or a part of it.")
