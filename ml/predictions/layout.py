"""Where a record lies: below a directory, or in a bucket.

::

    DETECTION/yolo/1.0.0/factory/camera-3/2026-01-02/2026-01-02T03-04-05.678Z_01KDX0Q2Q6W3H5T9V8N4M2C7BA.bin
    type      model version group device  day        time (UTC)               record id

The names of a user never become a path by themselves: what is not a letter, a digit or one of ``_ - .`` is
percent-encoded, so ``urllib.parse.unquote`` gives it back. Files of the ancestor lie alike, under the local time and
without an id: ``…/2026-01-02/2026-01-02 03:04:05.678.bin``.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import unquote

from ml.io.names import readable_segment

SUFFIX = ".bin"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NAME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})T(?P<time>[0-9]{2}-[0-9]{2}-[0-9]{2}\.[0-9]{3})Z_(?P<id>[0-9A-Z]{26})"
)


class KeyParts(NamedTuple):
    """What the key of a record says.

    Attributes:
        model_type: ``"DETECTION"``, for example; of the ancestor's own files as it wrote them.
        model_name: As it was logged, unless it is so long that its segment was cut.
        model_version: Alike.
        group: Of the device; ``""`` is none.
        device: Its name.
        day: UTC; in the ancestor's files the local day.
        record_id: ``""`` in the ancestor's files.
    """

    model_type: str
    model_name: str
    model_version: str
    group: str
    device: str
    day: date
    record_id: str


def key_of(
    model_type: str,
    model_name: str,
    model_version: str,
    group: str,
    device: str,
    timestamp_ms: int,
    record_id: str,
) -> str:
    """Returns the key of a record: its path with ``/``, relative to wherever records lie.

    Args:
        model_type: The name of its kind.
        model_name: Any text.
        model_version: Any text.
        group: Any text.
        device: Any text.
        timestamp_ms: Unix time in milliseconds. One that no calendar has is filed under its first or last day.
        record_id: Makes it unique.
    """
    moment = moment_of(timestamp_ms)
    segments = (model_type, model_name, model_version, group, device)
    day, time = moment.strftime("%Y-%m-%d"), moment.strftime("%H-%M-%S")
    name = f"{day}T{time}.{moment.microsecond // 1000:03d}Z_{record_id}{SUFFIX}"
    return "/".join((*map(readable_segment, segments), day, name))


def moment_of(timestamp_ms: int) -> datetime:
    """Returns a time stamp as a moment in UTC; before year 1000 and after 9999 the nearest day that has four digits."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC) if timestamp_ms < 0 else datetime.max.replace(tzinfo=UTC)
    return max(moment, datetime(1000, 1, 1, tzinfo=UTC))


def parse_key(key: str) -> KeyParts | None:
    """Returns what a key says; ``None`` if it is none of a record.

    Args:
        key: Relative to wherever records lie, or the end of a longer path.
    """
    segments = key.split("/")[-7:]
    if len(segments) < 7 or not segments[-1].endswith(SUFFIX) or not _DAY.fullmatch(segments[5]):
        return None
    try:
        day = date.fromisoformat(segments[5])
    except ValueError:
        return None
    name = _NAME.fullmatch(segments[6].removesuffix(SUFFIX))
    model_type, model_name, version, group, device = (_name_of(segment) for segment in segments[:5])
    return KeyParts(model_type, model_name, version, group, device, day, name["id"] if name else "")


def _name_of(segment: str) -> str:
    return "" if segment == "%" else unquote(segment, errors="surrogateescape")
