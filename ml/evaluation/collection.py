"""Removes blobs that no version names, and never one that a publication counts on."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ml.core.errors import ConfigError, FormatError, WriteError
from ml.evaluation.blobs import BlobRef, Blobs
from ml.evaluation.layout import ARTIFACTS, BLOBS, manifest_place
from ml.evaluation.manifest import MAX_MANIFEST_BYTES, Manifest
from ml.evaluation.markers import COLLECTING_GRACE_S, PENDING_GRACE_S, Marker, marks
from ml.evaluation.media_lists import decode_list
from ml.io.store import Entry, Store

if TYPE_CHECKING:
    from ml.evaluation.artifacts import Artifacts

_GOES_ON_S = COLLECTING_GRACE_S / 12
_GIVES_UP_S = COLLECTING_GRACE_S / 2


class Collected(NamedTuple):
    """What a collection removed, or would have.

    Attributes:
        blobs: How many blobs that no version names.
        size_bytes: What they held together.
        marks: How many marks of publications and collections that died.
        kept: How many blobs are left.
    """

    blobs: int
    size_bytes: int
    marks: int
    kept: int


def gc(artifacts: "Artifacts", *, grace_s: float = PENDING_GRACE_S, dry_run: bool = False) -> Collected:
    """Removes what nothing names: blobs, and marks whose owners died.

    Others may read meanwhile. Who publishes waits; where a publication is under way, nothing is removed. The store must
    list what was made a moment ago, as directories, S3, Google Cloud and Azure do: of a manifest that is not listed it
    is not known what it names.

    Args:
        artifacts: Of the store.
        grace_s: A publication that began longer ago is taken for dead.
        dry_run: Whether to remove nothing, and only tell.

    Raises:
        ConfigError: A publication is under way: it is named.
        FormatError: A manifest or a list of media is damaged, so what it names is not known. No blob was removed.
        WriteError: The store does not answer, or it took too long; some of it may be removed.
    """
    store, wall_clock = artifacts.store, artifacts.wall_clock
    if dry_run:
        return _collect(store, _dead_marks(store, "", wall_clock(), grace_s), lambda: None, lambda key: None)
    marker = Marker(store, "collecting", "a collection", wall_clock=wall_clock)
    marker.set()
    try:
        # Before any manifest is looked at: whoever was taken for dead by mistake then sees it.
        dead = _dead_marks(store, marker.key, wall_clock(), grace_s)
        for key in dead:
            store.delete(key)
        return _collect(store, dead, lambda: _go_on(marker), store.delete)
    finally:
        marker.remove()


def _dead_marks(store: Store, own: str, now_s: float, grace_s: float) -> list[str]:
    dead = []
    for mark in marks(store, "pending"):
        if mark.is_alive(now_s, grace_s):
            raise ConfigError(
                f"A publication is under way in {store.url}: {mark.what}, for {now_s - mark.time_s:.0f} s. Try "
                f"again when it has ended. If it was killed, remove {mark.key}, or give a grace shorter than that."
            )
        dead.append(mark.key)
    others = (mark for mark in marks(store, "collecting") if mark.key != own)
    return [*dead, *(mark.key for mark in others if not mark.is_alive(now_s, COLLECTING_GRACE_S))]


def _collect(store: Store, dead: list[str], go_on: Callable[[], None], remove: Callable[[str], None]) -> Collected:
    named = _named_blobs(store, go_on)
    blobs = size_bytes = kept = 0
    for entry in store.list(BLOBS):
        if entry.key in named or not is_blob(entry):
            kept += 1
            continue
        go_on()
        remove(entry.key)
        blobs += 1
        size_bytes += entry.size_bytes
    return Collected(blobs, size_bytes, len(dead), kept)


def _named_blobs(store: Store, go_on: Callable[[], None]) -> set[str]:
    """Returns the keys of all blobs that versions name."""
    named, blobs = set[str](), Blobs(store)
    for entry in store.list(ARTIFACTS):
        if manifest_place(entry.key) is None:
            continue
        go_on()
        manifest = Manifest.from_bytes(store.get(entry.key, max_bytes=MAX_MANIFEST_BYTES), entry.key)
        named.update(part.ref.key for part in manifest.parts)
        for ref in manifest.media_lists:
            if ref.key not in named:
                named.update(media.key for media in _media(blobs, ref, entry.key))
                named.add(ref.key)
    return named


def _media(blobs: Blobs, ref: BlobRef, manifest: str) -> Iterator[BlobRef]:
    try:
        return decode_list(blobs.get(ref))
    except FileNotFoundError:
        raise FormatError(
            f"{ref.key}, which lists its media, is missing, so nobody knows which blobs are not needed", path=manifest
        ) from None


def _go_on(marker: Marker) -> None:
    """Has others know that the collection is not dead, before they can take it for that."""
    if marker.age_s > _GOES_ON_S:
        if marker.age_s > _GIVES_UP_S or not marker.is_there():
            raise WriteError("The collection stood still for too long: others may publish by now. Start it again.")
        marker.set()


def is_blob(entry: Entry) -> bool:
    """Whether what lies in the place of blobs is one, by its key."""
    try:
        BlobRef.from_key(entry.key, entry.size_bytes)
    except FormatError:
        return False
    return True
