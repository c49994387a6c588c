"""Publishes a table as far as its reading needs it: blobs in a directory, and what its manifest would say."""

from collections.abc import Callable
from pathlib import Path

from ml.evaluation.blobs import Blobs
from ml.evaluation.references import TableRef
from ml.evaluation.stored import StoredPart, StoredTable
from ml.evaluation.table import Table
from ml.io.local_store import LocalStore


def publish(
    table: Table, store: Path, *, artifact: str = "val", resolve: Callable[[str], StoredTable] | None = None
) -> StoredTable:
    """Returns a table as it is read again from a store."""
    blobs = Blobs(LocalStore(store))
    finished = table.finish()
    for file in finished.media:
        blobs.keep(file)
    parts = [StoredPart(blobs.put_file(part.path, "parquet"), part.rows) for part in finished.parts]
    table_ref = TableRef(artifact, 0, table.name)
    table.published(table_ref)
    return StoredTable(finished.columns, parts, Blobs(LocalStore(store)), table_ref=table_ref, resolve=resolve)


def files_of(store: Path, ext: str) -> list[Path]:
    """Returns the blobs of one kind."""
    return sorted((store / "blobs").rglob(f"*.{ext}"))
