"""Where whole objects are kept under keys: a directory, or a bucket of S3, Google Cloud or Azure.

``Store`` is the interface. ``open_store`` opens one by its URL: ``ml.io.local_store`` is a directory,
``ml.io.object_store`` the buckets. Every one keeps to the same laws:

- an object appears whole, or not at all;
- of several who create a key at once, with different content, one does (``ml.io.store_probe`` finds a server that
  knows no such thing);
- a call may be made again after a ``WriteError``: what it does twice is what it does once;
- keys are listed in the order of their UTF-8 bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from ml.core.errors import ConfigError, LogValueError, WriteError

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""What the last segment of a key cannot be: so ``ml.io.atomic`` names files that are on their way to their place."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MISTYPED = re.compile(r"(?:s3|gs|az|file):", re.IGNORECASE)


class Refused(WriteError):  # noqa: N818  # it is what the store has done
    """The store takes nothing of the kind until somebody has changed something: credentials, rights, the bucket.

    Trying again soon does not help. The message is free of secrets.
    """


class Entry(NamedTuple):
    """An object that was listed."""

    key: str
    size_bytes: int


class Store(Protocol):
    """Objects under keys, usable from several threads at once.

    A key is 1 to 1024 bytes of UTF-8: segments of 1 to 255 bytes with ``/`` between them, none of them ``.`` or ``..``,
    without control characters. Keys are kept as they are given: ``a%20b`` is not ``a b``. The last segment does not
    match ``TEMPORARY``.

    Every method raises ``LogValueError`` for what is no key, ``WriteError`` where the store cannot be reached or does
    not work now, and ``Refused`` where it does not want to.
    """

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Keeps an object under a key that is free; one that is there stays as it is.

        Returns:
            Whether the key now holds ``data``, byte for byte: made by this call, or by an earlier one whose answer was
            lost. ``False``: it holds something else. Whoever needs to know who was first puts a name in ``data``.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Keeps an object, in the place of the one that is there, if any."""
        ...

    def get(self, key: str, *, max_bytes: int) -> bytes:
        """Returns an object's content.

        Raises:
            FileNotFoundError: There is none under this key.
            FormatError: It has more than ``max_bytes``; it was not read.
        """
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yields what there is, in the order of the keys' UTF-8 bytes, a few thousand at most in memory.

        An object that is made or removed meanwhile may or may not be among them.

        Args:
            prefix: What their keys begin with, as text: ``"a/b"`` for ``a/b``, ``a/bc`` and ``a/b/c``.
            after: Only keys that come after this one.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes an object, if it is there."""
        ...


@dataclass
class StoreConfig:
    """Which store, and how to get in.

    What is ``None`` is looked up: see ``ml.io.credentials`` for S3. Google Cloud and Azure are always found by the
    variables that their own tools read.

    Attributes:
        url: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``, ``file:///directory``, or the
            path of a directory. Without user, password and query.
        endpoint_url: Of a server that speaks S3, if it is not Amazon's.
        region: Of the bucket.
        access_key_id: Of whoever asks.
        secret_access_key: Belongs to it.
        session_token: Belongs to both, where they are temporary.
        timeout_s: For one attempt, until the last byte of its answer.
        deadline_s: No attempt begins so long after the first one.
        allow_http: Whether requests may go to another machine without TLS: whoever is on the way can then read and
            change the objects, and see a session token. To this machine itself they may in any case.
    """

    url: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    deadline_s: float = 120.0
    allow_http: bool = False


def open_store(config: StoreConfig | str, *, attempts: int | None = None) -> Store:
    """Opens a store. Nothing is asked of it yet; credentials are read now.

    Args:
        config: A ``StoreConfig``, or its ``url``.
        attempts: How often each call of a bucket is tried, 1 or more; ``None``: until ``deadline_s``.

    Raises:
        ConfigError: The URL is none, a setting or credentials are incomplete, or a library is missing.
        WriteError: The directory cannot be made.
    """
    if not isinstance(config, StoreConfig):
        config = StoreConfig(str(config))
    if not _SCHEME.match(config.url):
        if scheme := _MISTYPED.match(config.url):
            raise ConfigError(
                f"The URL of a store begins with {scheme[0].lower()}//. For a directory write ./ before it."
            )
        directory = config.url
    elif config.url.lower().startswith("file:"):
        from ml.io.store_url import split_url

        parts = split_url("The URL of a store", config.url)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError("The URL of a directory names another machine. Write file:///directory.")
        directory = unquote(parts.path)
    else:
        from ml.io.object_store import ObjectStore

        return ObjectStore(config, attempts=attempts)
    from ml.io.local_store import LocalStore

    if not directory:
        raise ConfigError("A store needs the path of a directory, or a URL such as s3://bucket/prefix; got ''.")
    return LocalStore(Path(directory))


def check_key(key: str) -> None:
    """Checks that ``key`` is one; see ``Store``.

    Raises:
        LogValueError: It is none.
    """
    problem = _problem_of(key)
    if problem:
        raise LogValueError(f"{key[:200]!r} is no key: {problem}", "Keys look like 'a/b/c.bin'.")


def _problem_of(key: str) -> str:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return "it is no Unicode text"
    if len(encoded) > MAX_KEY_BYTES:
        return f"it has {len(encoded)} bytes, {MAX_KEY_BYTES} are the most"
    if any(character < " " or character == "\x7f" for character in key):
        return "it has control characters"
    segments = key.split("/")
    for segment in segments:
        if segment in ("", ".", ".."):
            return f"its segment {segment!r} is none" if key else "it is empty"
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"one of its segments has more than {MAX_SEGMENT_BYTES} bytes"
    return "its last segment is a name of temporary files" if TEMPORARY.fullmatch(segments[-1]) else ""
