"""A version of an artifact, as its readers see it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError
from ml.evaluation.layout import ref_of
from ml.evaluation.manifest import Manifest
from ml.evaluation.stored import StoredTable
from ml.loggers.strict_json import Json

if TYPE_CHECKING:
    from ml.evaluation.artifacts import Artifacts


class Version:
    """A version of an artifact; it never changes, but its aliases move.

    Args:
        artifacts: It is one of.
        manifest: What it holds.
    """

    def __init__(self, artifacts: "Artifacts", manifest: Manifest) -> None:
        self._artifacts, self._manifest = artifacts, manifest

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref} in {self.store_url}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return (self.store_url, self._manifest.publication) == (other.store_url, other._manifest.publication)

    def __hash__(self) -> int:
        return hash(self._manifest.publication)

    @property
    def name(self) -> str:
        """Of the artifact."""
        return self._manifest.name

    @property
    def number(self) -> int:
        """0 or more."""
        return self._manifest.number

    @property
    def ref(self) -> str:
        """What it is found by: ``"val:v3"``."""
        return ref_of(self.name, self.number)

    @property
    def store_url(self) -> str:
        """Where it lies, without credentials."""
        return self._artifacts.store.url

    @property
    def manifest(self) -> Manifest:
        """Everything about it but rows and media."""
        return self._manifest

    @property
    def type(self) -> str:
        """What it is: ``"dataset"``, ``"evaluation"``."""
        return self._manifest.type

    @property
    def digest(self) -> str:
        """Equal where the content is: 64 hexadecimal digits."""
        return self._manifest.digest

    @property
    def created(self) -> datetime:
        """When it was published, in UTC."""
        return datetime.fromtimestamp(self._manifest.created_s, UTC)

    @property
    def metadata(self) -> Mapping[str, Json]:
        """What was said about it."""
        return self._manifest.metadata

    @property
    def metrics(self) -> Mapping[str, float]:
        """Numbers that it is told by, of its first publication."""
        return self._manifest.metrics

    @property
    def used(self) -> tuple[str, ...]:
        """References to the versions that it was made of."""
        return self._manifest.used

    @property
    def aliases(self) -> list[str]:
        """What stands for it now; the store is asked.

        Raises:
            WriteError: The store does not answer.
        """
        found = self._artifacts.aliases(self.name)
        return [alias for alias, number in found.items() if number == self.number]

    @property
    def tables(self) -> list[str]:
        """The names of its tables, in their order."""
        return list(self._manifest.tables)

    def table(self, name: str | None = None) -> StoredTable:
        """Returns a table, of which nothing is read yet.

        Args:
            name: In the version; may be left out where it has one.

        Raises:
            ConfigError: There is none of this name, or there are several.
        """
        if name is None and len(self.tables) == 1:
            name = self.tables[0]
        if name is None or name not in self.tables:
            asked = "Which table of" if name is None else f"There is no table {name!r} in"
            raise ConfigError(f"{asked} {self.ref}? There is {', '.join(map(repr, self.tables))}.")
        return self._artifacts.table_of(self._manifest, name)
