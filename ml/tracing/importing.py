"""Unpacks an archive of traces that may be from anybody into a directory, whole or not at all.

It is for reading what was exported or uploaded elsewhere, with any tool that knows Parquet::

    traces = import_traces("fcos_v1_all_latest.zip", "fcos")
    detections = pandas.read_parquet(traces.tables["detections"])

Nothing of it enters a database. What an archive may do is bounded before it is unpacked (``ml.io.zip_reader``); then
it has to be what its manifest says, name by name and byte by byte, and every table a Parquet file of as many rows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml.core.errors import ConfigError, FormatError
from ml.io.staging import staged
from ml.io.zip_reader import ZipLimits, ZipReader
from ml.loggers.strict_json import Json, loads, parsing, text
from ml.tracing.archive import FORMAT, MANIFEST, README, VERSION, require_pyarrow

MAX_MANIFEST_BYTES: Final = 2**22
LIMITS: Final = ZipLimits(entries=64)
"""An archive has a handful of entries, whatever it holds."""

_MAX_GROUP_BYTES: Final = 2**30
_MAX_GROUPS: Final = 2**20
_MAX_THRIFT: Final = 2**26
_TABLE = re.compile(r"[a-z][a-z_]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_README_BYTES: Final = 2**16


@dataclass(frozen=True)
class ImportedTraces:
    """Traces in a directory.

    Attributes:
        directory: Holds the files, and the manifest.
        model_name: Whose inferences they are.
        version_name: Of it.
        tables: The Parquet file of each table, by its name.
        rows: How many rows each has.
        manifest: All that it says.
    """

    directory: Path
    model_name: str
    version_name: str
    tables: Mapping[str, Path]
    rows: Mapping[str, int]
    manifest: Mapping[str, Json]


@dataclass(frozen=True)
class _Entry:
    """What a manifest says of a file; ``rows`` is ``None`` for one that is no table."""

    name: str
    size_bytes: int
    sha256: str
    rows: int | None = None


def import_traces(path: str | Path, into: str | Path, *, limits: ZipLimits = LIMITS) -> ImportedTraces:
    """Unpacks an archive that ``export`` made, or that was uploaded.

    Args:
        path: The archive.
        into: A directory that is not there yet, or is empty. If this raises, it is as it was.
        limits: What is unpacked at most.

    Raises:
        FileNotFoundError: There is no such archive.
        FormatError: It is none, it is damaged, or it holds what could do harm; the message says what.
        ConfigError: ``into`` holds something, or pyarrow is not installed.
        WriteError: It cannot be written now.
    """
    require_pyarrow()
    path, into = Path(path), Path(into)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ConfigError(f"{into} holds something already. Name a directory that is empty or not there.")
    with ZipReader(path, limits=limits) as archive:
        data = archive.read(MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
        with parsing("no manifest of traces", path):
            manifest, entries = _parsed(data)
        _check_names(archive, entries, path)
        with staged(into) as staging:
            for entry in entries:
                if archive.extract(entry.name, staging / entry.name) != entry.sha256:
                    raise FormatError(f"{entry.name!r} is not what the manifest says: its checksum differs", path=path)
                if entry.rows is not None:
                    _check_table(staging / entry.name, entry, path)
            archive.extract(MANIFEST, staging / MANIFEST)
    tables = {entry.name.removesuffix(".parquet"): entry for entry in entries if entry.rows is not None}
    identity = manifest["identity"]
    assert isinstance(identity, dict), "it was parsed"
    return ImportedTraces(
        directory=into,
        model_name=str(identity["model_name"]),
        version_name=str(identity["version_name"]),
        tables={name: into / entry.name for name, entry in tables.items()},
        rows={name: entry.rows or 0 for name, entry in tables.items()},
        manifest=manifest,
    )


def _parsed(data: bytes) -> tuple[dict[str, Json], list[_Entry]]:
    manifest = loads(data)
    if manifest["format"] != FORMAT or manifest["version"] != VERSION:
        raise ValueError(
            f"it is of format {manifest['format']!r:.40} {manifest['version']!r:.20}, not {FORMAT} {VERSION}"
        )
    text(manifest["identity"]["model_name"])
    text(manifest["identity"]["version_name"])
    entries = []
    for name, said in manifest["tables"].items():
        if not _TABLE.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is no name of a table")
        entries.append(_entry(f"{name}.parquet", said, rows=_count(said["rows"])))
    for name, said in manifest["files"].items():
        if name != README or _count(said["size_bytes"]) > _README_BYTES:
            raise ValueError(f"{name[:80]!r} has no place in it")
        entries.append(_entry(name, said))
    return manifest, entries


def _entry(name: str, said: Mapping[str, object], *, rows: int | None = None) -> _Entry:
    sha256 = text(said["sha256"])
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is no SHA-256")
    return _Entry(name, _count(said["size_bytes"]), sha256, rows)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.40} is no number of rows or bytes")
    return value


def _check_names(archive: ZipReader, entries: list[_Entry], path: Path) -> None:
    there = {name: entry.size_bytes for name, entry in archive.entries.items() if name != MANIFEST}
    said = {entry.name: entry.size_bytes for entry in entries}
    for name in sorted(there.keys() ^ said.keys()):
        problem = "the manifest knows nothing of it" if name in there else "it is not there"
        raise FormatError(f"{name[:200]!r} is refused: {problem}", path=path)
    for name, size_bytes in said.items():
        if there[name] != size_bytes:
            raise FormatError(f"{name!r} has {there[name]} bytes, the manifest says {size_bytes}", path=path)


def _check_table(file: Path, entry: _Entry, path: Path) -> None:
    """Checks what the footer says. Its values are not unpacked: who reads them does that, group by group."""
    import pyarrow.parquet as pq

    problem: object = ""
    try:
        with pq.ParquetFile(
            file, thrift_string_size_limit=_MAX_THRIFT, thrift_container_size_limit=_MAX_THRIFT
        ) as table:
            metadata = table.metadata
            if metadata.num_rows != entry.rows:
                problem = f"it has {metadata.num_rows} rows, the manifest says {entry.rows}"
            elif not 0 <= metadata.num_row_groups <= _MAX_GROUPS:
                problem = f"it has {metadata.num_row_groups} groups of rows"
            else:
                sizes = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
                problem = "" if all(0 <= size <= _MAX_GROUP_BYTES for size in sizes) else "a group of rows is too large"
    except Exception as error:  # pyarrow raises many types
        problem = error
    if problem:
        raise FormatError(f"{entry.name!r} cannot be read: {problem!s:.300}", path=path)
