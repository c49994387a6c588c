"""Which records are meant: by what their keys say, which needs no file to be opened, and by what is in them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from ml.predictions.kinds import VisionModelType
from ml.predictions.layout import KeyParts, moment_of
from ml.predictions.logged import LoggedPrediction
from ml.predictions.results import ranked, results_of

_CUT = "~"  # stands in a segment of a key that holds no more than the start of a long name


@dataclass(frozen=True)
class Filters:
    """What a record must have. By default every one does.

    A glob is one of ``fnmatch``, with regard to case: ``*``, ``?``, ``[abc]``.

    Attributes:
        model: Glob of the model's name.
        version: Glob of its version.
        group: Glob of the device's group.
        device: Glob of the device's name.
        model_type: What the model tells; ``None``: anything.
        since: The earliest time stamp, in UTC where it has no zone.
        until: The time stamp that is too late.
        class_name: Glob of a class that was predicted: of the image, or the most probable one of a box.
        min_confidence: What the surest result has at least; of ``class_name``, where one is asked for.
        max_confidence: What it has at most.
        is_error: Whether the record must tell of an error.
    """

    model: str = "*"
    version: str = "*"
    group: str = "*"
    device: str = "*"
    model_type: VisionModelType | None = None
    since: datetime | None = None
    until: datetime | None = None
    class_name: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    is_error: bool = False


def could_match(filters: Filters, parts: KeyParts) -> bool:
    """Returns whether a record of this key may be meant. Times are not looked at, nor names that a key has cut.

    Args:
        filters: What is asked for.
        parts: What the key says.
    """
    globs = (filters.model, filters.version, filters.group, filters.device)
    names = (parts.model_name, parts.model_version, parts.group, parts.device)
    if filters.model_type is not None and parts.model_type != filters.model_type.name:
        return False
    return all(_CUT in name or fnmatchcase(name, glob) for name, glob in zip(names, globs, strict=True))


def matches(filters: Filters, prediction: LoggedPrediction) -> bool:
    """Returns whether a record is meant. No picture is decoded.

    Args:
        filters: What is asked for.
        prediction: The record.
    """
    model, device, time = prediction.model, prediction.device_details, moment_of(prediction.timestamp)
    return (
        fnmatchcase(model["name"], filters.model)
        and fnmatchcase(model["version"], filters.version)
        and fnmatchcase(device["group_name"], filters.group)
        and fnmatchcase(device["device_name"], filters.device)
        and (filters.model_type is None or model["type"] == filters.model_type.name)
        and (filters.since is None or time >= in_utc(filters.since))
        and (filters.until is None or time < in_utc(filters.until))
        and (prediction.is_error or not filters.is_error)
        and _has_result(filters, prediction)
    )


def in_utc(time: datetime) -> datetime:
    """Returns a time in UTC; one without a zone is meant so."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _has_result(filters: Filters, prediction: LoggedPrediction) -> bool:
    least, most, glob = filters.min_confidence, filters.max_confidence, filters.class_name
    if least is None and most is None and glob is None:
        return True
    results = ranked([one for one in results_of(prediction) if glob is None or fnmatchcase(one.class_name, glob)])
    if not results:
        return False
    surest = results[0].confidence
    return (least is None or surest >= least) and (most is None or surest <= most)
