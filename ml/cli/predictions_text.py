"""A record in words and as JSON, as the words of ``mlog predictions`` print it."""

from collections.abc import Mapping

from ml.loggers.strict_json import Json, strict
from ml.predictions.layout import moment_of
from ml.predictions.logged import LoggedPrediction


def time_of(prediction: LoggedPrediction) -> str:
    """Returns the time stamp of a record: ``2026-01-02 03:04:05.678``, in UTC."""
    return moment_of(prediction.timestamp).replace(tzinfo=None).isoformat(" ", timespec="milliseconds")


def device_of(prediction: LoggedPrediction) -> str:
    """Returns who ran the model: ``group/device``."""
    device = prediction.device_details
    return "/".join(filter(None, (device["group_name"], device["device_name"])))


def as_json(prediction: LoggedPrediction) -> dict[str, Json]:
    """Returns everything but the pictures, as strict JSON."""
    return {name: _strict(value) for name, value in prediction.as_dict().items()}


def _strict(value: object) -> Json:
    if isinstance(value, float):
        return strict(value)
    if isinstance(value, Mapping):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return value if value is None or isinstance(value, int | str) else str(value)
