"""Which versions a store holds: its manifests, each read once, since none ever changes."""

import logging
import re
from collections.abc import Iterable, Iterator

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.layout import ARTIFACTS, manifest_key, manifest_place, manifest_prefix, ref_of
from ml.evaluation.manifest import MAX_MANIFEST_BYTES, Manifest
from ml.io.store import Store

_log = logging.getLogger("ml")

_MAX_KEPT = 4096
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # a name that is in keys as it is
_BEHIND_SLASH = "0"  # the character that comes after "/"


class Catalog:
    """The versions of a store. What comes while it is asked may or may not be among them.

    Args:
        store: Holds the manifests.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[tuple[str, int], Manifest] = {}

    def names(self) -> list[str]:
        """Returns the names of all artifacts, sorted.

        Raises:
            FormatError: A manifest is none.
            WriteError: The store does not answer.
        """
        names, after = [], ""
        while entry := next(self._store.list(ARTIFACTS, after=after), None):
            place = manifest_place(entry.key)
            after = entry.key
            if place is not None:
                is_plain = _PLAIN.fullmatch(place.segment) is not None
                names.append(place.segment if is_plain else self._read(entry.key).name)
                after = f"{ARTIFACTS}{place.segment}{_BEHIND_SLASH}"
        return sorted(names)

    def numbers(self, name: str) -> list[int]:
        """Returns the numbers of an artifact's versions, in order; none for an artifact that is not there.

        Raises:
            WriteError: The store does not answer.
        """
        entries = self._store.list(manifest_prefix(name))
        return [place.number for entry in entries if (place := manifest_place(entry.key)) is not None]

    def manifest(self, name: str, number: int) -> Manifest:
        """Returns the manifest of a version.

        Raises:
            FileNotFoundError: There is no such version.
            FormatError: It is damaged.
            ConfigError: It is of an artifact whose name differs in capitals alone, where the store ignores those.
            WriteError: The store does not answer.
        """
        kept = self._kept.get((name, number))
        if kept is not None:
            return kept
        manifest = self._read(manifest_key(name, number))
        if manifest.name != name:
            raise ConfigError(
                f"{self._store.url} ignores capitals, and holds an artifact {manifest.name!r}: {name!r} needs a name "
                "that differs in more."
            )
        while len(self._kept) >= _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[name, number] = manifest
        return manifest

    def manifests(self, name: str, numbers: Iterable[int] | None = None) -> Iterator[Manifest]:
        """Yields the manifests of an artifact's versions, in the order of their numbers.

        One that is damaged is left out, with a warning: it is of no use, and no reason to lose the others.

        Args:
            name: Of the artifact.
            numbers: Of the versions; by default those that are there now.

        Raises:
            ConfigError, WriteError: As ``manifest`` says.
        """
        for number in self.numbers(name) if numbers is None else numbers:
            try:
                yield self.manifest(name, number)
            except FormatError as error:
                _log.warning("%s is left out: %s", ref_of(name, number), error)
            except FileNotFoundError:
                continue  # it was removed meanwhile

    def _read(self, key: str) -> Manifest:
        return Manifest.from_bytes(self._store.get(key, max_bytes=MAX_MANIFEST_BYTES), key)
