"""What users say about a version, as strict JSON without secrets."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, SupportsFloat, cast

from ml.core.errors import LogValueError
from ml.core.redact import MASK, Redactor, is_secret
from ml.loggers.strict_json import Json, real, strict
from ml.loggers.tensors import is_tensor

if TYPE_CHECKING:
    from torch import Tensor

_DEEPEST = 32


def clean_metadata(metadata: Mapping[str, object]) -> dict[str, Json]:
    """Returns a copy of metadata, made of what JSON has; secrets are masked.

    Args:
        metadata: Numbers, texts, ``None``, and mappings and lists of these, 32 deep at most. NumPy's numbers and arrays
            and torch's tensors become Python's. Numbers that JSON lacks become ``"NaN"``, ``"Infinity"``.

    Raises:
        LogValueError: It holds something else.
    """
    cleaned = _cleaned(metadata, Redactor(), "metadata", 0)
    if not isinstance(cleaned, dict):
        raise LogValueError(f"metadata is a mapping, got {metadata!r:.100}")
    return cleaned


def clean_metrics(metrics: Mapping[str, object]) -> dict[str, float]:
    """Returns the metrics as floats; what is no number cannot be one.

    Raises:
        LogValueError: One of them is no number.
    """
    _check_names(metrics, "metrics")
    return {str(name): _metric(str(name), value) for name, value in metrics.items()}


def _check_names(mapping: Mapping[str, object], where: str) -> None:
    """Refuses keys of which JSON would keep only one: 1 and "1"."""
    if len({str(key) for key in mapping}) < len(mapping):
        raise LogValueError(f"{where:.200} has keys that are the same as texts: {list(mapping)!r:.100}", "Rename one.")


def _metric(name: str, value: object) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError("a text")
        # torch warns of a loss that is still part of a graph
        return float(cast("Tensor", value).detach() if is_tensor(value) else cast(SupportsFloat, value))
    except OverflowError:
        return real(cast(float, value))
    except Exception as error:  # whatever a tensor of several numbers raises
        raise LogValueError(f"the metric {name!r} is {value!r:.60}", "Give one number.") from error


def _cleaned(value: object, redactor: Redactor, where: str, depth: int) -> Json:
    if depth > _DEEPEST:
        raise LogValueError(f"{where:.200} lies deeper than {_DEEPEST}", "Give less of it.")
    if isinstance(value, str):
        return redactor.redact_text(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return strict(float(value))
    if isinstance(value, Mapping):
        _check_names(value, where)
        return {
            str(key): MASK if is_secret(str(key), item) and not isinstance(item, Mapping | list | tuple)
            else _cleaned(item, redactor, f"{where}[{key!r}]", depth + 1)
            for key, item in value.items()
        }  # fmt: skip
    if isinstance(value, list | tuple):
        return [_cleaned(item, redactor, f"{where}[{position}]", depth + 1) for position, item in enumerate(value)]
    if hasattr(value, "tolist"):
        return _cleaned(value.tolist(), redactor, where, depth + 1)
    raise LogValueError(f"{where:.200} is a {type(value).__name__}", "Give numbers, texts, lists and mappings.")
