"""Which records a word of ``mlog predictions`` is about, of its arguments."""

import argparse
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

from ml.cli.store_choice import is_directory, opened_bucket
from ml.core.errors import ConfigError
from ml.predictions.filters import Filters, in_utc
from ml.predictions.kinds import VisionModelType
from ml.predictions.reading import Found, Predictions, open_predictions

MAX_PIXELS = 2**26
"""Height times width of a picture that is drawn: what is looked at by hand may be large."""


def opened(source: str, arguments: argparse.Namespace) -> Predictions:
    """Opens the records of a directory or a URL.

    Raises:
        ConfigError: The URL is none, or its library is not installed.
        FileNotFoundError, NotADirectoryError: There is no such directory.
    """
    place = source if is_directory(source) else opened_bucket(source, arguments)
    return open_predictions(place, max_pixels=MAX_PIXELS)


def chosen(predictions: Predictions, arguments: argparse.Namespace) -> Iterator[Found]:
    """Returns the records that the arguments choose, in the order that they ask for, however many there are.

    Raises:
        ConfigError: A time is none, or a number makes no sense.
    """
    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigError(f"--limit is 1 or more, got {arguments.limit}.")
    return predictions.select(filters_of(arguments), newest_first=arguments.newest)


def limited(found: Iterator[Found], arguments: argparse.Namespace) -> Iterator[Found]:
    """Returns as many records as the arguments ask for."""
    return islice(found, arguments.limit)


def filters_of(arguments: argparse.Namespace) -> Filters:
    """Returns what the arguments ask for.

    Raises:
        ConfigError: A time is none, or ``--day`` was given beside another.
    """
    since, until = _time("--since", arguments.since), _time("--until", arguments.until)
    if arguments.day is not None:
        if since or until:
            raise ConfigError("--day says since and until when; give it alone.")
        since, until = _day(arguments.day)
    return Filters(
        model=arguments.model,
        version=arguments.version,
        group=arguments.group,
        device=arguments.device,
        model_type=None if arguments.type is None else VisionModelType[arguments.type.upper()],
        since=since,
        until=until,
        class_name=arguments.class_name,
        min_confidence=arguments.min_confidence,
        max_confidence=arguments.max_confidence,
        is_error=arguments.errors,
    )


def _day(text: str) -> tuple[datetime, datetime]:
    try:
        start = datetime.combine(date.fromisoformat(text), time(), UTC)
        return start, start + timedelta(days=1)
    except (ValueError, OverflowError):
        raise ConfigError(f"--day is a day such as 2026-01-02, got {text!r}.") from None


def _time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise ConfigError(f"{name} is a time in UTC such as 2026-01-02 or 2026-01-02T03:04:05, got {text!r}.") from None
