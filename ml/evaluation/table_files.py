"""The media files of a table that grows: where each lies, and which there are."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from ml.evaluation.blobs import BlobRef, Blobs, MediaFile
from ml.evaluation.rows import ReadableTable
from ml.evaluation.spill import Spill
from ml.evaluation.unpacking import MEDIA_KINDS, refs_of

_SEEN_FILES: Final = 65_536


class TableFiles:
    """Where the media files of a table lie: with it, or in the stores that its values were read from.

    Args:
        spill: The files that lie with it.
        stores: The others, by URL; more may come.
    """

    def __init__(self, spill: Spill, stores: Mapping[str, Blobs]) -> None:
        self._spill, self._stores = spill, stores

    def get(self, ref: BlobRef) -> bytes:
        """See ``BlobSource``."""
        if self._spill.has(ref) or not self._stores:
            return self._spill.get(ref)
        *others, last = self._stores.values()
        for blobs in others:
            with suppress(FileNotFoundError):
                return blobs.get(ref)
        return last.get(ref)

    def file(self, ref: BlobRef) -> MediaFile:
        """Returns a file, and where it lies as far as that is known without asking."""
        if self._spill.has(ref):
            return MediaFile(ref, self._spill)
        return MediaFile(ref, next(iter(self._stores.values())) if len(self._stores) == 1 else self)


class TableMedia:
    """The files that a table names, as often as one asks; rows that are added later do not count.

    Args:
        table: It.
        files: Where they lie.
    """

    def __init__(self, table: ReadableTable, files: TableFiles) -> None:
        self._table, self._files, self._rows = table, files, len(table)

    def __iter__(self) -> Iterator[MediaFile]:
        seen: dict[BlobRef, None] = {}
        for group in self._table.groups():
            for index, column in enumerate(self._table.columns):
                if column.kind not in MEDIA_KINDS or group.start >= self._rows:
                    continue
                for cell in group.column(index)[: self._rows - group.start]:
                    for ref in refs_of(column.kind, cell):
                        if ref not in seen:
                            seen[ref] = None
                            if len(seen) > _SEEN_FILES:
                                del seen[next(iter(seen))]
                            yield self._files.file(ref)
