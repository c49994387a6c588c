"""How a version comes to be: its blobs first, its manifest last, under the next number that is free.

Whoever creates a manifest has its number, so two publishers never get the same one, without a server. A publisher that
loses the race for a number reads the winner's manifest: where it holds the same content that is its version too,
otherwise the number after is the next to try. What a killed publisher leaves is blobs that no manifest names, and a
mark (``ml.evaluation.markers``); a collection removes both.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from ml.core.errors import FormatError, LogValueError, WriteError
from ml.evaluation.catalog import Catalog
from ml.evaluation.layout import MAX_VERSIONS, manifest_key
from ml.evaluation.manifest import LATEST_S, MAX_MANIFEST_BYTES, Manifest, TableEntry, digest_of
from ml.evaluation.markers import COLLECTING_GRACE_S, Mark, Marker, living
from ml.io.store import Store
from ml.loggers.strict_json import Json

WAITS = 60
WAIT_S = 1.0
"""A publication waits so often, and each time so long, for a collection to end."""

_ATTEMPTS = 3

Upload = Callable[[], None]
"""Keeps every blob of the version in the store, those too that were kept before."""


@dataclass(frozen=True)
class Draft:
    """A version that has no number yet; see ``Manifest`` for what is in it."""

    name: str
    type: str
    tables: Mapping[str, TableEntry]
    metadata: Mapping[str, Json]
    metrics: Mapping[str, float]
    used: tuple[str, ...]
    run_id: str

    @property
    def digest(self) -> str:
        """Equal where the content is."""
        return digest_of(self.type, self.tables, self.metadata)

    def numbered(self, number: int, created_s: float, publication: str) -> Manifest:
        """Returns the manifest that it becomes."""
        return Manifest(
            name=self.name,
            number=number,
            type=self.type,
            tables=self.tables,
            metadata=self.metadata,
            metrics=self.metrics,
            used=self.used,
            run_id=self.run_id,
            created_s=created_s,
            publication=publication,
        )


class Publisher:
    """Makes versions in a store where others do so too.

    Args:
        store: Keeps to the laws of ``ml.io.store``: of those who create a key, one does.
        catalog: Of the same store.
        wall_clock: Seconds since 1970.
        wait: Returns so many seconds later.
    """

    def __init__(
        self, store: Store, catalog: Catalog, *, wall_clock: Callable[[], float], wait: Callable[[float], None]
    ) -> None:
        self._store, self._catalog, self._wall_clock, self._wait = store, catalog, wall_clock, wait

    def publish(self, draft: Draft, upload: Upload) -> Manifest:
        """Makes a version, unless there is one with the same content: then that is the answer.

        Args:
            draft: The version.
            upload: Called once or more, before anybody can see the version.

        Raises:
            LogValueError: There is too much metadata, or there are too many versions.
            WriteError: The store does not answer, or a collection is under way for long. It may be tried again.
            FormatError: A manifest of this artifact is damaged.
            ConfigError: See ``Catalog.manifest``.
        """
        digest, publication = draft.digest, secrets.token_hex(16)
        published = self._published(draft.name, digest, self._catalog.numbers(draft.name))
        if published is not None:
            return published
        for _ in range(_ATTEMPTS):
            marker = self._mark(draft)
            try:
                upload()
                if not marker.is_there():
                    continue  # it was taken for dead, and its blobs may be gone
                manifest = self._claim(draft, digest, publication)
                if marker.is_there():
                    return manifest
                # It was taken for dead at the last moment: the collection may not have seen the manifest. It is ours,
                # and found again, once the blobs are there in any case.
            finally:
                with suppress(WriteError):  # it is dead by its age some day; what was published is published
                    marker.remove()
        raise WriteError(
            f"Cannot publish {draft.name!r}: collections in {self._store.url} took it for dead {_ATTEMPTS} times. Let "
            "'mlog artifacts gc' have a --grace that is longer than a publication takes, and try again."
        )

    def _mark(self, draft: Draft) -> Marker:
        """Leaves a mark, when no collection is under way."""
        what = f"{draft.name!r}, of run {draft.run_id!r}" if draft.run_id else repr(draft.name)
        busy: Mark | None = None
        for _ in range(WAITS):
            marker = Marker(self._store, "pending", what, wall_clock=self._wall_clock)
            with ExitStack() as unless_free:
                unless_free.callback(marker.remove)
                marker.set()
                now_s = self._wall_clock()
                busy = living(self._store, "collecting", now_s=now_s, grace_s=COLLECTING_GRACE_S)
                if busy is None:
                    unless_free.pop_all()
                    return marker
            self._wait(WAIT_S)
        assert busy is not None, "there was a reason to wait"
        raise WriteError(
            f"Cannot publish {draft.name!r}: a collection of blobs is under way in {self._store.url}. Try again. If it "
            f"was killed, it is taken for dead an hour after its last word; or remove {busy.key}."
        )

    def _published(self, name: str, digest: str, numbers: Iterable[int]) -> Manifest | None:
        """Returns the version with some content; it is read again, as another one may have its number by now."""
        for known in self._catalog.facts(name, numbers):
            if known.digest == digest:
                self._catalog.forget(name, known.number)
                for there in self._catalog.manifests(name, [known.number]):
                    if there.digest == digest:
                        return there
        return None

    def _claim(self, draft: Draft, digest: str, publication: str) -> Manifest:
        """Creates the manifest under the first number after all others, unless others have created its like."""
        # Listed once: what is created after that is met at its number.
        numbers = self._catalog.numbers(draft.name)
        published = self._published(draft.name, digest, numbers)
        if published is not None:
            return published
        created_s = min(max(0.0, self._wall_clock()), LATEST_S)  # a clock that is wrong costs no version
        for number in range(max(numbers, default=-1) + 1, MAX_VERSIONS):
            manifest = draft.numbered(number, created_s, publication)
            data = manifest.to_bytes()
            if len(data) > MAX_MANIFEST_BYTES:
                raise LogValueError(
                    f"the manifest of {draft.name!r} would have {len(data)} bytes, {MAX_MANIFEST_BYTES} are the most",
                    "Keep large metadata in a table.",
                )
            if self._store.create(manifest_key(draft.name, number), data):
                return manifest
            with suppress(FormatError):  # a damaged one has the number all the same
                winner = self._catalog.manifest(draft.name, number)
                if winner.digest == digest:
                    return winner
        raise LogValueError(f"{draft.name!r} has {MAX_VERSIONS} versions", "Choose another name.")
