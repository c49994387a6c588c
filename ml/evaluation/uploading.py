"""Tables on their way into a store: what their manifest says of them, and the blobs that it names."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ml.core.errors import ConfigError, FormatError, LogValueError
from ml.evaluation.blobs import BlobRef, Blobs, MediaFile
from ml.evaluation.catalog import Catalog
from ml.evaluation.layout import parse_ref
from ml.evaluation.manifest import TableEntry
from ml.evaluation.media_lists import LIST_EXT, decode_list, encode_lists
from ml.evaluation.references import TableRef
from ml.evaluation.stored import StoredPart
from ml.evaluation.table import Finished, Table
from ml.io.store import Store

PART_EXT = "parquet"
_READ_AT_ONCE = 2**20


class Upload:
    """Tables that are going to be a version.

    Args:
        store: Where to.
        tables: By the names that they have in the version.

    Attributes:
        entries: What its manifest says of them.

    Raises:
        ConfigError: A library is missing.
        LogValueError: A table cannot be stored.
        WriteError: A table cannot be written to its directory.
    """

    def __init__(self, store: Store, tables: Mapping[str, Table]) -> None:
        self._store = store
        self._finished = {name: table.finish() for name, table in tables.items()}
        self._lists: list[bytes] = []
        self.entries = {name: self._entry(name, finished) for name, finished in self._finished.items()}

    def run(self, used: Iterable[str]) -> None:
        """Keeps every blob in the store; while it runs, none is removed there.

        Args:
            used: Versions of this store whose media are there for sure.

        Raises:
            LogValueError: Media were read from a version that was removed since.
            WriteError: The store does not answer.
        """
        blobs = Blobs(self._store)
        there = self._media_of(blobs, used)
        for finished in self._finished.values():
            for file in finished.media:
                if file.ref not in there:
                    _keep(blobs, file)
            for part in finished.parts:
                blobs.put_file(part.path, PART_EXT)
        for data in self._lists:
            if BlobRef.of(data, LIST_EXT) not in there:
                blobs.put(data, LIST_EXT)

    def _entry(self, name: str, finished: Finished) -> TableEntry:
        media = {file.ref for file in finished.media}
        lists = list(encode_lists(media))
        self._lists += lists
        return TableEntry(
            name=name,
            columns=finished.columns,
            parts=tuple(StoredPart(_ref_of(part.path), part.rows) for part in finished.parts),
            media_lists=tuple(BlobRef.of(data, LIST_EXT) for data in lists),
            media_count=len(media),
            media_bytes=sum(ref.size_bytes for ref in media),
        )

    def _media_of(self, blobs: Blobs, used: Iterable[str]) -> set[BlobRef]:
        """Returns the media of versions that are there, and the lists of them: what they name is not removed."""
        catalog, media = Catalog(self._store), set[BlobRef]()
        for ref in used:
            target = parse_ref(ref)
            if target.number is None:
                continue
            with suppress(FileNotFoundError, FormatError):  # then each file is looked for
                for listed in catalog.manifest(target.name, target.number).media_lists:
                    media.update((listed, *decode_list(blobs.get(listed))))
        return media


def check_tables(name: str, tables: Mapping[str, Table]) -> None:
    """Checks that tables can be told apart by their names, and are not published ones.

    Raises:
        ConfigError: They cannot, or are.
    """
    given: object = tables
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"{name!r:.100} needs tables by name, got {given!r:.100}: as in {{'eval_data': table}}.")
    for table_name, table in tables.items():
        if not table_name or TableRef.parse(f"{name}:v0/{table_name}") != (name, 0, table_name):
            raise ConfigError(f"Table {table_name!r:.100} of {name!r:.100} could be taken for another. Rename it.")
        if not isinstance(table, Table):
            raise ConfigError(
                f"{table_name!r:.100} of {name!r:.100} is a {type(table).__name__}, and a Table is published. Add its "
                "rows to a Table: what is stored already is not stored again."
            )


def _keep(blobs: Blobs, file: MediaFile) -> None:
    """Keeps a file; one that was read from this store is looked for, as its version may have been removed."""
    try:
        if blobs.holds(file):
            blobs.verify(file.ref)
        else:
            blobs.keep(file)
    except FileNotFoundError:
        problem = f"{file.ref.key} was removed since it was read"
        raise LogValueError(problem, "Add the picture or sound itself.") from None


def _ref_of(path: Path) -> BlobRef:
    digest, size_bytes = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while data := file.read(_READ_AT_ONCE):
            digest.update(data)
            size_bytes += len(data)
    return BlobRef(digest.hexdigest(), PART_EXT, size_bytes)
