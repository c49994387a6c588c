"""Versions of bytes, for tests of what is done with versions, whatever is in them; and stores that tests look into."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ml.evaluation.blobs import BlobRef, Blobs
from ml.evaluation.catalog import Catalog
from ml.evaluation.columns import Column
from ml.evaluation.manifest import Manifest, TableEntry
from ml.evaluation.media_lists import LIST_EXT, encode_lists
from ml.evaluation.publishing import Draft, Publisher
from ml.evaluation.stored import StoredPart
from ml.io.local_store import LocalStore
from ml.io.store import Entry, Store

NOW_S = 1_700_000_000.0
DAY_S = 86_400.0


class Hooked:
    """A store that tells of every call before it makes it.

    Args:
        store: Does the work.
        hook: Is called with the name of the call and the key or prefix.
    """

    def __init__(self, store: Store, hook: Callable[[str, str], None]) -> None:
        self._store, self._hook = store, hook

    @property
    def url(self) -> str:
        return self._store.url

    def create(self, key: str, data: bytes) -> bool:
        self._hook("create", key)
        return self._store.create(key, data)

    def put(self, key: str, data: bytes) -> None:
        self._hook("put", key)
        self._store.put(key, data)

    def get(self, key: str, *, max_bytes: int) -> bytes:
        self._hook("get", key)
        return self._store.get(key, max_bytes=max_bytes)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        self._hook("list", prefix)
        return self._store.list(prefix, after=after)

    def delete(self, key: str) -> None:
        self._hook("delete", key)
        self._store.delete(key)


class Content:
    """A table of one part and some media, none of which anybody can read.

    Args:
        rows: The content of the part.
        media: The content of the media.
        name: Of the artifact.
        metrics: Of the version.
    """

    def __init__(
        self, rows: bytes, media: Sequence[bytes] = (), *, name: str = "val", metrics: dict[str, float] | None = None
    ) -> None:
        self._rows, self._media = rows, media
        refs = [BlobRef.of(data, "png") for data in media]
        self._lists = list(encode_lists(refs))
        entry = TableEntry(
            "rows",
            (Column("image", "image"),),
            (StoredPart(BlobRef.of(rows, "parquet"), 1),),
            tuple(BlobRef.of(data, LIST_EXT) for data in self._lists),
            len(refs),
            sum(map(len, media)),
        )
        self.draft = Draft(name, "evaluation", {"rows": entry}, {}, metrics or {}, (), "")

    def publish(
        self,
        store: Store,
        clock: Callable[[], float] = lambda: NOW_S,
        wait: Callable[[float], None] = lambda seconds: None,
    ) -> Manifest:
        """Publishes it, as a process of its own would."""
        publisher = Publisher(store, Catalog(store), wall_clock=clock, wait=wait)
        return publisher.publish(self.draft, lambda: self.upload(store))

    def upload(self, store: Store) -> None:
        """Keeps its blobs."""
        blobs = Blobs(store)
        for data in self._media:
            blobs.put(data, "png")
        blobs.put(self._rows, "parquet")
        for data in self._lists:
            blobs.put(data, LIST_EXT)


def local(directory: Path) -> LocalStore:
    """Returns a store in a directory."""
    return LocalStore(directory)


def keys(store: Store, prefix: str = "") -> list[str]:
    """Returns the keys that begin with ``prefix``."""
    return [entry.key for entry in store.list(prefix)]
