"""The manifest of a version: what it holds, where it came from, and the digest that tells equal content.

It is strict JSON. The digest is of the type, the tables and the metadata alone: who publishes the same content a day
later, in another run, with another loss, publishes nothing new.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from ml.core.errors import FormatError
from ml.evaluation.blobs import BlobRef
from ml.evaluation.columns import Column, checked
from ml.evaluation.layout import parse_ref, ref_of
from ml.evaluation.references import TableRef
from ml.evaluation.stored import StoredPart
from ml.loggers.strict_json import Json, encoder, loads, number, parsing, strict, text

MAX_MANIFEST_BYTES: Final = 2**24
LATEST_S: Final = 253_370_764_799
"""The last second of the year 9998: no version is from a later one."""

_FORMAT = 1
_MAX_COUNT = 2**53  # a sum of as many as a manifest can name is a length that Python has
_encode = encoder((",", ":"))


@dataclass(frozen=True)
class TableEntry:
    """A table of a version.

    Attributes:
        name: Of the table, within the version.
        columns: From left to right.
        parts: Hold its rows, one after another.
        media_lists: Blobs that list its media; see ``ml.evaluation.media_lists``.
        media_count: How many different media there are.
        media_bytes: What they hold together.
    """

    name: str
    columns: tuple[Column, ...]
    parts: tuple[StoredPart, ...]
    media_lists: tuple[BlobRef, ...] = ()
    media_count: int = 0
    media_bytes: int = 0

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(part.rows for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """What its rows and its media hold."""
        return sum(part.ref.size_bytes for part in self.parts) + self.media_bytes


@dataclass(frozen=True)
class Manifest:
    """Everything about a version but its rows and media.

    Attributes:
        name: Of the artifact.
        number: Of the version, from 0 on.
        type: What it is: ``"dataset"``, ``"evaluation"``.
        tables: By name, in its order.
        metadata: Strict JSON.
        metrics: Numbers of the evaluation, such as its loss.
        used: References to the versions that it was made of: ``"val:v3"``.
        run_id: Of the run that made it; empty: of none.
        created_s: When, in seconds since 1970.
        publication: A random name of the publication: no two write the same manifest.
    """

    name: str
    number: int
    type: str
    tables: Mapping[str, TableEntry]
    metadata: Mapping[str, Json]
    metrics: Mapping[str, float]
    used: tuple[str, ...]
    run_id: str
    created_s: float
    publication: str

    @cached_property
    def digest(self) -> str:
        """What is equal where the content is; see ``digest_of``."""
        return digest_of(self.type, self.tables, self.metadata)

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        """The files that hold the rows of its tables."""
        return tuple(part for table in self.tables.values() for part in table.parts)

    @property
    def media_lists(self) -> tuple[BlobRef, ...]:
        """The blobs that list the media of its tables."""
        return tuple(blob for table in self.tables.values() for blob in table.media_lists)

    def to_bytes(self) -> bytes:
        """Returns it as JSON."""
        value: Json = {
            "format": _FORMAT,
            "name": self.name,
            "version": self.number,
            "type": self.type,
            "digest": self.digest,
            "created": self.created_s,
            "run": self.run_id,
            "publication": self.publication,
            "used": list(self.used),
            "metrics": {key: strict(value) for key, value in self.metrics.items()},
            "metadata": dict(self.metadata),
            "tables": {name: _table_to_json(table) for name, table in self.tables.items()},
        }
        return _encode(value)

    @staticmethod
    def from_bytes(data: bytes, key: str = "") -> "Manifest":
        """Returns what ``to_bytes`` made.

        Args:
            data: The JSON.
            key: Where it lies, for the message.

        Raises:
            FormatError: It is no manifest, one of a newer format, or its content does not give its digest.
        """
        with parsing("no manifest of a version", key):
            value = loads(data)
            if value["format"] != _FORMAT:
                raise FormatError(f"its format is {value['format']!r:.20}: read it with a newer release", path=key)
            manifest = Manifest(
                name=text(value["name"]),
                number=_count(value["version"]),
                type=text(value["type"]),
                tables={text(name): _table_from_json(name, table) for name, table in value["tables"].items()},
                metadata=dict(value["metadata"]),
                metrics={text(name): float(number(metric)) for name, metric in value["metrics"].items()},
                used=tuple(_ref(ref) for ref in value["used"]),
                run_id=text(value["run"]),
                created_s=_time(value["created"]),
                publication=text(value["publication"]),
            )
            if value["digest"] != manifest.digest:
                raise FormatError(
                    f"its digest is {value['digest']!r:.80}, its content's {manifest.digest}: it was changed", path=key
                )
        return manifest


def digest_of(type: str, tables: Mapping[str, TableEntry], metadata: Mapping[str, Json]) -> str:
    """Returns the SHA-256, in hexadecimal digits, of what makes the content of a version.

    Neither the order of the tables nor that of the metadata counts; the order of columns and rows does.
    """
    content: Json = {
        "type": type,
        "metadata": _in_order(dict(metadata)),
        "tables": {
            name: {
                "columns": [dict(column.to_json()) for column in table.columns],
                "parts": [[part.ref.sha256, part.rows] for part in table.parts],
            }
            for name, table in sorted(tables.items())
        },
    }
    return hashlib.sha256(_encode(content)).hexdigest()


def _in_order(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _table_to_json(table: TableEntry) -> Json:
    return {
        "columns": [dict(column.to_json()) for column in table.columns],
        "parts": [{**_blob_to_json(part.ref), "rows": part.rows} for part in table.parts],
        "media_lists": [_blob_to_json(blob) for blob in table.media_lists],
        "media_count": table.media_count,
        "media_bytes": table.media_bytes,
    }


def _table_from_json(name: str, value: Mapping[str, Any]) -> TableEntry:
    return TableEntry(
        name=name,
        columns=checked(Column.from_json(column) for column in _listed(value["columns"])),
        parts=tuple(StoredPart(_blob_from_json(part), _count(part["rows"])) for part in _listed(value["parts"])),
        media_lists=tuple(_blob_from_json(blob) for blob in _listed(value["media_lists"])),
        media_count=_count(value["media_count"]),
        media_bytes=_count(value["media_bytes"]),
    )


def _blob_to_json(blob: BlobRef) -> dict[str, Json]:
    return {"sha256": blob.sha256, "ext": blob.ext, "size_bytes": blob.size_bytes}


def _blob_from_json(value: Mapping[str, Any]) -> BlobRef:
    return BlobRef(value["sha256"], value["ext"], value["size_bytes"]).checked()


def _listed(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"no list: {value!r:.60}")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise ValueError(f"no count: {value!r:.60}")
    return value


def _time(value: object) -> float:
    seconds = float(number(value))
    if not 0 <= seconds <= LATEST_S:
        raise ValueError(f"no time: {value!r:.60}")
    return seconds


def _ref(value: object) -> str:
    ref = text(value)
    if parse_ref(ref).number is None:
        raise ValueError(f"no reference to a version: {ref!r:.100}")
    return ref


def used_of(tables: Iterable[TableEntry], used: Iterable[str]) -> tuple[str, ...]:
    """Returns the versions that a version refers to: those that are named, and those whose rows its columns name."""
    columns = (column for table in tables for column in table.columns if column.references)
    tables_named = (TableRef.parse(column.references) for column in columns)
    return tuple(dict.fromkeys((*used, *(ref_of(table.artifact, table.version) for table in tables_named))))
