"""Tables in versions, in a directory or in a bucket, published by whoever wants to at once.

::

    artifacts = Artifacts("evaluations", run_id="demo")
    data = artifacts.publish("val", {"val_data": table}, type="dataset")
    artifacts.publish(
        "val_pred", {"eval_data": predictions}, type="evaluation", aliases=["epoch_4"], used=[data],
        metrics={"accuracy": 0.93}, best=("accuracy", "max"),
    )
    artifacts.get("val_pred:best").table().to_pandas()

A version never changes, and is visible only when it is whole. The same content is the same version.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ml.core.errors import ConfigError
from ml.evaluation.aliases import LATEST, Aliases, Mode, check_best
from ml.evaluation.blobs import Blobs
from ml.evaluation.catalog import Catalog
from ml.evaluation.layout import check_alias, parse_ref, ref_of
from ml.evaluation.lineage import Lineage
from ml.evaluation.manifest import Manifest, used_of
from ml.evaluation.metadata import clean_metadata, clean_metrics
from ml.evaluation.publishing import Draft, Publisher
from ml.evaluation.references import TableRef
from ml.evaluation.stored import StoredTable
from ml.evaluation.table import Table
from ml.evaluation.uploading import Upload, check_tables
from ml.evaluation.version import Version
from ml.io.store import Refused, Store, StoreConfig, open_store
from ml.io.store_probe import probe_conditional_create

__all__ = ["Artifacts", "Version"]

_NONE: Mapping[str, object] = MappingProxyType({})


class Artifacts:
    """The artifacts of a store: each a name, with versions that are numbered from 0 on.

    A name is any text. A reference to a version is ``"val"`` or ``"val:latest"``, the highest number; ``"val:v3"``; or
    an alias, as ``"val:best"``. The last colon counts: a name that has one itself needs the rest, too.

    Args:
        store: A store, its configuration, the URL of a bucket, or the path of a directory.
        run_id: Of the run that publishes and uses; empty: what is published is of no run.
        wall_clock: Seconds since 1970.
        wait: Returns so many seconds later; called while blobs that nothing names are being removed.

    Attributes:
        store: Where they lie.
        run_id: Of the run.
        wall_clock: Seconds since 1970.

    Raises:
        ConfigError: It is no store.
        WriteError: Its directory cannot be made.
    """

    def __init__(
        self,
        store: Store | StoreConfig | str | Path,
        *,
        run_id: str = "",
        wall_clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        if isinstance(store, Path):
            store = str(store)
        self.store: Store = open_store(store) if isinstance(store, str | StoreConfig) else store
        self.run_id, self.wall_clock = run_id, wall_clock
        self._catalog = Catalog(self.store)
        self._aliases = Aliases(self.store, self._catalog)
        self._lineage = Lineage(self.store, wall_clock=wall_clock)
        self._publisher = Publisher(self.store, self._catalog, wall_clock=wall_clock, wait=wait)
        self._has_probed = self.store.url.startswith("file:")  # a directory creates with hard links
        self._refused: Refused | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store.url!r})"

    def publish(
        self,
        name: str,
        tables: Mapping[str, Table],
        *,
        type: str,
        aliases: Sequence[str] = (),
        metadata: Mapping[str, object] = _NONE,
        metrics: Mapping[str, object] = _NONE,
        used: Sequence[Version] = (),
        best: tuple[str, Mode] | None = None,
    ) -> Version:
        """Publishes tables as the next version of an artifact.

        Where a version of it has the same type, tables and metadata, that is the answer, and nothing is stored but the
        aliases and the run: its time and metrics stay as they were.

        Args:
            name: Of the artifact, any text but the empty one.
            tables: By the names that they have in it. They may be published again, and closed afterwards.
            type: What it is: ``"dataset"``, ``"evaluation"``.
            aliases: Stand for this version from now on; ``"latest"`` may be among them, and moves by itself.
            metadata: Numbers, texts, and mappings and lists of them; secrets are masked.
            metrics: Numbers that the version is told by.
            used: Versions that it was made of, in the same store; those whose rows its columns name are added.
            best: The metric that decides which version is ``best`` from now on, and whether the greatest value of it is
                or the least.

        Raises:
            ConfigError: A name, an alias, ``best`` or ``used`` makes no sense, or a library is missing.
            LogValueError: Metadata or a metric is none, or a table cannot be stored.
            Refused: The store does not know conditional creates, or refuses to write.
            WriteError: The store does not answer, or blobs are being removed there for long. It may be tried again:
                what is visible is whole.
        """
        _check_text("name of an artifact", name)
        _check_text("type of an artifact", type)
        check_tables(name, tables)
        if isinstance(aliases, str):
            raise ConfigError(f"Aliases are a list, got the text {aliases!r}. Write [{aliases!r}].")
        named = [alias for alias in aliases if alias != LATEST]
        for alias in named:
            check_alias(alias)
        self._check_used(used)
        cleaned = clean_metrics(metrics)
        if best is not None:
            check_best(best)
            if best[0] not in cleaned:
                raise ConfigError(f"The best {name!r} is told by {best[0]!r}, but metrics has {list(cleaned)}.")
        upload = Upload(self.store, tables)
        draft = Draft(
            name=name,
            type=type,
            tables=upload.entries,
            metadata=clean_metadata(metadata),
            metrics=cleaned,
            used=used_of(upload.entries.values(), (version.ref for version in used)),
            run_id=self.run_id,
        )
        self._probe()
        manifest = self._publisher.publish(draft, lambda: upload.run(draft.used))
        self._tell(manifest, draft, named, best)
        for table_name, table in tables.items():
            table.published(TableRef(name, manifest.number, table_name))
        return Version(self, manifest)

    def get(self, ref: str) -> Version:
        """Returns a version.

        Args:
            ref: ``"val"``, ``"val:latest"``, ``"val:v3"``, ``"val:best"``.

        Raises:
            ConfigError: There is none; it says what there is.
            FormatError: Its manifest, or the alias, is damaged.
            WriteError: The store does not answer.
        """
        name, selector = parsed = parse_ref(ref)
        number = self._aliases.number(name, selector) if parsed.number is None else parsed.number
        try:
            return Version(self, self._catalog.manifest(name, number))
        except FileNotFoundError:
            raise self._aliases.unknown(name, f"v{number}") from None

    def names(self) -> list[str]:
        """Returns the names of all artifacts, sorted.

        Raises:
            WriteError: The store does not answer.
        """
        return self._catalog.names()

    def versions(self, name: str) -> list[Version]:
        """Returns the versions of an artifact, from the first to the latest; none where there is no such artifact.

        One whose manifest is damaged is left out, with a warning.

        Raises:
            WriteError: The store does not answer.
        """
        return [Version(self, manifest) for manifest in self._catalog.manifests(name)]

    def aliases(self, name: str) -> dict[str, int]:
        """Returns the aliases of an artifact and the versions that they stand for, ``latest`` first.

        Raises:
            WriteError: The store does not answer.
        """
        return self._aliases.of(name)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Has an alias stand for a version from now on.

        Raises:
            ConfigError: It cannot be one, or there is no such version.
            WriteError: It cannot be moved now.
        """
        if number not in self._catalog.numbers(name):
            raise self._aliases.unknown(name, f"v{number}")
        self._aliases.set(name, alias, number)

    def use(self, version: Version) -> None:
        """Keeps that this run uses a version.

        Raises:
            ConfigError: This run has no id, or the version is of another store.
            WriteError: It cannot be kept now.
        """
        self._check_used([version])
        self._lineage.add(version.name, version.number, "used", self.run_id)

    def used_by(self, version: Version) -> list[str]:
        """Returns the ids of the runs that used a version, sorted.

        Raises:
            FormatError: What is kept of one is damaged.
            WriteError: The store does not answer.
        """
        return self._lineage.runs(version.name, version.number, "used")

    def logged_by(self, version: Version) -> list[str]:
        """Returns the ids of the runs that published a version, sorted: several, where they had the same content.

        Raises:
            FormatError: What is kept of one is damaged.
            WriteError: The store does not answer.
        """
        return self._lineage.runs(version.name, version.number, "logged")

    def stored_table(self, table_ref: TableRef) -> StoredTable:
        """Returns a table of a version, of which nothing is read yet.

        Raises:
            ConfigError: There is none, or pyarrow is not installed.
            FormatError: The manifest of the version is damaged.
            WriteError: The store does not answer.
        """
        manifest = self.get(ref_of(table_ref.artifact, table_ref.version)).manifest
        if table_ref.table not in manifest.tables:
            raise ConfigError(f"There is no table {str(table_ref)!r} in {self.store.url}.")
        return self.table_of(manifest, table_ref.table)

    def table_of(self, manifest: Manifest, name: str) -> StoredTable:
        """Returns a table of a manifest, of which nothing is read yet; the store is not asked.

        Raises:
            ConfigError: pyarrow is not installed.
        """
        return StoredTable(
            manifest.tables[name].columns,
            manifest.tables[name].parts,
            Blobs(self.store),
            table_ref=TableRef(manifest.name, manifest.number, name),
            resolve=lambda text: self.stored_table(TableRef.parse(text)),
        )

    def _check_used(self, used: Sequence[Version]) -> None:
        for version in used:
            if not isinstance(version, Version):
                raise ConfigError(f"What is used is a Version, got {version!r:.100}: Artifacts.get({version!r:.100}).")
            if version.store_url != self.store.url:
                raise ConfigError(f"{version.ref} lies in {version.store_url}, and not in {self.store.url}.")

    def _probe(self) -> None:
        if self._refused is not None:
            raise self._refused
        if not self._has_probed:
            try:
                probe_conditional_create(self.store)
            except Refused as error:
                self._refused = error
                raise
            self._has_probed = True

    def _tell(self, manifest: Manifest, draft: Draft, aliases: Sequence[str], best: tuple[str, Mode] | None) -> None:
        """Keeps what is about the version, and not in it."""
        for alias in aliases:
            self._aliases.set(draft.name, alias, manifest.number)
        if best is not None:
            self._aliases.set_best(draft.name, *best)
        if self.run_id:
            self._lineage.add(draft.name, manifest.number, "logged", self.run_id)
            for ref in draft.used:
                name, number = parse_ref(ref).name, parse_ref(ref).number
                if number is not None:
                    self._lineage.add(name, number, "used", self.run_id)


def _check_text(what: str, value: str) -> None:
    if not value:
        raise ConfigError(f"The {what} is some text, got {value!r:.100}.")
