"""A record as strict JSON, as the words of ``mlog predictions`` print it."""

from collections.abc import Mapping

from ml.loggers.strict_json import Json, strict
from ml.predictions.logged import LoggedPrediction


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
