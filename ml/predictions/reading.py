"""Reads records back, from a directory or an object store, one at a time and in the order of their time.

::

    predictions = open_predictions("babylog")
    for key, record in predictions.select(Filters(model="yolo*", class_name="person", min_confidence=0.9)):
        print(record.time, record.labels, record.boxes)
    predictions.damaged        # records that were left out

Both layouts are read, ours and the ancestor's. What a key rules out is never opened, and no picture is decoded unless
it is asked for, so a directory of a million records can be walked through with the memory of one.
"""

import logging
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from ml.core.errors import FormatError
from ml.predictions.codecs import MAX_PIXELS
from ml.predictions.filters import Filters, could_match, in_utc, matches
from ml.predictions.layout import SUFFIX
from ml.predictions.listing import DirectoryListing, Listing, StoreListing, day_of, keys_in_order, order_of
from ml.predictions.logged import LoggedPrediction

if TYPE_CHECKING:
    from ml.io.store import Store

_log = logging.getLogger("ml")

_ALL = Filters()
_BEHIND_ALL = ":"  # comes after every digit
_DAY_LENGTH, _TIME_LENGTH = len("2026-01-02"), len("2026-01-02T03-04-05.678")


class Found(NamedTuple):
    """A record, and where it lies.

    Attributes:
        key: Relative to what was opened.
        record: What was logged.
    """

    key: str
    record: LoggedPrediction


def open_predictions(source: "str | Path | Store", *, max_pixels: int = MAX_PIXELS) -> "Predictions":
    """Opens records for reading; nothing is read yet.

    Args:
        source: A directory, the URL of a bucket or of a prefix in it, or what ``ml.io.store.open_store`` returned.
        max_pixels: Height times width of the largest picture that is decoded.

    Raises:
        ConfigError: The URL is none, or its library is not installed.
        FileNotFoundError, NotADirectoryError: There is no such directory.
    """
    if isinstance(source, str) and source.startswith("file://"):
        source = unquote(urlsplit(source).path)
    if isinstance(source, str) and "://" in source:
        from ml.io.store import open_store

        source = open_store(source)
    if not isinstance(source, str | Path):
        return Predictions(StoreListing(source, max_pixels=max_pixels))
    directory = Path(source)
    if not directory.is_dir():
        is_there = directory.exists()
        raise (NotADirectoryError if is_there else FileNotFoundError)(
            f"{directory} is no directory." if is_there else f"There is no directory {directory}."
        )
    return Predictions(DirectoryListing(directory, max_pixels=max_pixels))


class Predictions:
    """Records that lie somewhere. Nothing is kept: a second loop reads them again, and finds those that came since.

    Attributes:
        damaged: Records that were left out so far, each with a warning, because they could not be read.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self.damaged = 0

    @property
    def source(self) -> str:
        """What was opened: a directory, or a URL."""
        return self._listing.source

    def __iter__(self) -> Iterator[Found]:
        """Yields all records."""
        return self.select()

    def select(self, filters: Filters = _ALL, *, newest_first: bool = False) -> Iterator[Found]:
        """Yields records in the order of their time: that in their names, which of the ancestor's files is local time.

        One that is damaged is left out, with a warning; one that vanishes meanwhile is left out.

        Args:
            filters: Which are meant.
            newest_first: Whether the last come first.

        Raises:
            OSError: A directory cannot be listed.
            WriteError: An object store does not answer.
        """
        for key in self.keys(filters, newest_first=newest_first):
            try:
                record = self._listing.read(key)
                is_meant = matches(filters, record)
            except FileNotFoundError:
                continue
            except (FormatError, OSError) as error:
                self.damaged += 1
                reason = error.message if isinstance(error, FormatError) else error.strerror or str(error)
                _log.warning("The record %s is left out: %s.", key, reason)
                continue
            if is_meant:
                yield Found(key, record)

    def keys(self, filters: Filters = _ALL, *, newest_first: bool = False) -> Iterator[str]:
        """Yields the keys of records that may be meant, as far as a key can tell; no record is opened."""
        since, until = _name_of(filters.since, ""), _name_of(filters.until, _BEHIND_ALL)
        earliest, latest = _day_number(since[:_DAY_LENGTH]), _day_number(until[:_DAY_LENGTH])
        settled = set[str]()  # folders of which every record may be meant, but for its time

        def is_wanted(folder: str) -> bool:
            parts = self._listing.parts(f"{folder}/{SUFFIX}")
            if parts is not None:
                settled.add(folder)
                if not could_match(filters, parts):
                    return False
            day = _day_number(day_of(folder))
            # One more on either side: the ancestor's days are local ones.
            return day is None or ((earliest is None or day >= earliest - 1) and (latest is None or day <= latest + 1))

        for key in keys_in_order(self._listing, is_wanted, newest_first=newest_first):
            if since or until != _BEHIND_ALL or key.rpartition("/")[0] not in settled:
                parts = self._listing.parts(key)
                if parts is not None and not could_match(filters, parts):
                    continue
                if parts is not None and parts.record_id and not since <= order_of(key)[:_TIME_LENGTH] <= until:
                    continue
            yield key

    def read(self, key: str) -> LoggedPrediction:
        """Returns the record of a key.

        Raises:
            FormatError: It is damaged.
            FileNotFoundError: There is none.
            OSError, WriteError: It cannot be read.
        """
        return self._listing.read(key)


def _name_of(time: datetime | None, default: str) -> str:
    """Returns how the name of a file of that time begins."""
    if time is None:
        return default
    return in_utc(time).isoformat(timespec="milliseconds").replace(":", "-")[:_TIME_LENGTH]


def _day_number(day: str) -> int | None:
    """Returns a number that grows by 1 from day to day; ``None`` of what is no day."""
    try:
        return date.fromisoformat(day).toordinal()
    except ValueError:
        return None
