"""Which versions a store holds: its manifests, each read once, since none ever changes."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.layout import ARTIFACTS, manifest_key, manifest_place, manifest_prefix, ref_of
from ml.evaluation.manifest import MAX_MANIFEST_BYTES, Manifest
from ml.io.store import Store

_log = logging.getLogger("ml")

_MAX_KEPT = 4096
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # a name that is in keys as it is
_BEHIND_SLASH = "0"  # the character that comes after "/"


class Facts(NamedTuple):
    """What tells a version from the others of its artifact: little, so that it is known of every one.

    Attributes:
        number: Of the version.
        digest: Of its content.
        metrics: That it was published with.
    """

    number: int
    digest: str
    metrics: Mapping[str, float]


class Catalog:
    """The versions of a store. What comes while it is asked may or may not be among them.

    Args:
        store: Holds the manifests.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[tuple[str, int], Manifest] = {}
        self._facts: dict[tuple[str, int], Facts] = {}

    def names(self) -> list[str]:
        """Returns the names of all artifacts, sorted.

        One whose name is in damaged manifests alone is left out, with a warning.

        Raises:
            WriteError: The store does not answer.
        """
        names, after = [], ""
        while entry := next(self._store.list(ARTIFACTS, after=after), None):
            place = manifest_place(entry.key)
            after = entry.key
            name = None if place is None else self._name_in(place.segment, entry.key)
            if place is not None and name is not None:
                names.append(name)
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
        key = manifest_key(name, number)
        manifest = self._read(key)
        if manifest.number != number:
            raise FormatError(f"it is the manifest of v{manifest.number}", path=key)
        if manifest.name != name:
            raise ConfigError(
                f"{self._store.url} ignores capitals, and holds an artifact {manifest.name!r}: {name!r} needs a name "
                "that differs in more."
            )
        while len(self._kept) >= _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[name, number] = manifest
        return manifest

    def forget(self, name: str, number: int) -> None:
        """Has a manifest be read anew: versions that are removed are no versions any more, and give their number."""
        self._kept.pop((name, number), None)
        self._facts.pop((name, number), None)

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

    def facts(self, name: str, numbers: Iterable[int] | None = None) -> Iterator[Facts]:
        """Yields what tells the versions of an artifact apart; of each the manifest is read once at most.

        Args:
            name: Of the artifact.
            numbers: Of the versions; by default those that are there now.

        Raises:
            ConfigError, WriteError: As ``manifest`` says.
        """
        for number in self.numbers(name) if numbers is None else numbers:
            known = self._facts.get((name, number))
            if known is not None:
                yield known
                continue
            for manifest in self.manifests(name, [number]):
                facts = self._facts[name, number] = Facts(number, manifest.digest, manifest.metrics)
                yield facts

    def _name_in(self, segment: str, key: str) -> str | None:
        """Returns the name of an artifact by its segment, or as a manifest says; ``None``: it does not."""
        if _PLAIN.fullmatch(segment):
            return segment
        try:
            return self._read(key).name
        except FormatError as error:
            _log.warning("A name is looked for in the next version: %s", error)
        except FileNotFoundError:
            pass  # it was removed meanwhile
        return None

    def _read(self, key: str) -> Manifest:
        return Manifest.from_bytes(self._store.get(key, max_bytes=MAX_MANIFEST_BYTES), key)
