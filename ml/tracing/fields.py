"""Columns of the user's own: what they are, and the values that a call gives them.

::

    ObjectDetectionLogger(model, "fcos", "v1", additional_fields=[{"name": "camera", "type": "str"}])
    logger(images, camera=["north", "south"])        # one for each input
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast, get_args

import numpy as np

from ml.core.errors import ConfigError, LogValueError
from ml.loggers.strict_json import Json
from ml.tracing.record import FieldValue

FieldType = Literal["str", "int", "float", "bool", "json"]

_EXAMPLE = '[{"name": "camera", "type": "str"}]'
_MAX_NAME_LENGTH = 63  # what PostgreSQL keeps of one
_ARGUMENTS = ("self", "model_input", "input_ids", "dataset_type", "ground_truth", "n_epoch")
_OF_A_TRUTH = ("boxes", "labels")
_OF_POSTGRESQL = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_MAX_DEPTH = 100  # of JSON: what takes a value apart later calls itself once for each level
_INTEGER = 2**63


class FieldSpec(NamedTuple):
    """A column of the user's own.

    Attributes:
        name: An identifier.
        type: Of its values; each may also be missing.
    """

    name: str
    type: FieldType


def field_specs(argument: str, given: Sequence[object] | None) -> tuple[FieldSpec, ...]:
    """Returns the columns that an argument names.

    Args:
        argument: Its name, for messages.
        given: Of each column a ``name`` and a ``type``; ``None``: there are none.

    Raises:
        ConfigError: It is something else, a name is none or there twice, or there is no such type.
    """
    specs: list[FieldSpec] = []
    if not isinstance(given or (), Sequence):
        raise ConfigError(f"{argument} lists a name and a type of each field, as {_EXAMPLE}; got {given!r:.200}.")
    for entry in given or ():
        if not isinstance(entry, Mapping) or set(entry) != {"name", "type"}:
            raise ConfigError(f"{argument} lists a name and a type of each field, as {_EXAMPLE}; got {entry!r:.200}.")
        name, kind = entry["name"], entry["type"]
        if kind not in get_args(FieldType):
            raise ConfigError(
                f"The field {name!r} of {argument} has the type {kind!r}; there are {', '.join(get_args(FieldType))}."
            )
        _check_name(argument, name)
        if argument == "additional_label_fields" and name in _OF_A_TRUTH:
            raise ConfigError(f"A field of {argument} cannot be called {name!r}: that is what a ground truth has.")
        if any(name.lower() == spec.name.lower() for spec in specs):
            raise ConfigError(f"{argument} has {name!r} twice; columns do not tell upper from lower case.")
        specs.append(FieldSpec(name, cast(FieldType, kind)))
    return tuple(specs)


def check_names(specs: Sequence[FieldSpec], given: Mapping[str, object]) -> None:
    """Refuses arguments that are no fields.

    Raises:
        ConfigError: There is no such field; the message lists them.
    """
    names = [spec.name for spec in specs]
    for name in given:
        if name not in names:
            there = f"The fields are {', '.join(names)}" if names else "There are no additional_fields"
            raise ConfigError(f"{name!r} is no argument of this call, and no field. {there}.")


def columns_of(
    specs: Sequence[FieldSpec], given: Mapping[str, object], count: int, failed: Callable[[Exception], None]
) -> list[dict[str, FieldValue]]:
    """Returns the values of each input.

    Args:
        specs: The fields.
        given: By name one value for each input; of each ``None`` is none.
        count: How many inputs there are.
        failed: Is told of a value of another type, which alone is left out.

    Raises:
        ConfigError: There is another number of values.
    """
    rows: list[dict[str, FieldValue]] = [{} for _ in range(count)]
    for spec in specs:
        if given.get(spec.name) is None:
            continue
        try:
            values = _listed(given[spec.name])
        except Exception as error:  # a tensor that cannot be read: no deployment ends by it
            failed(error)
            continue
        if values is None or len(values) != count:
            got = _shown(given[spec.name]) if values is None else str(len(values))
            raise ConfigError(
                f"The field {spec.name!r} takes a list of one value for each of {count} inputs, got {got}."
            )
        for row, value in zip(rows, values, strict=True):
            try:
                if value is not None:
                    row[spec.name] = value_of(spec, value)
            except Exception as error:  # whatever it is that was given: no deployment ends by it
                failed(error)
    return rows


def value_of(spec: FieldSpec, value: object) -> FieldValue:
    """Returns a value as its column keeps it: a number of NumPy's or torch's as one of Python's.

    Raises:
        LogValueError: It is of another type.
    """
    if spec.type == "json":
        return _json(spec, value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    match spec.type, value:
        case ("str", str()) | ("bool", bool()) | ("float", float()):
            return cast(FieldValue, value)
        case ("int" | "float", int()) if not isinstance(value, bool):
            if abs(value) < _INTEGER:
                return float(value) if spec.type == "float" else operator.index(value)
    raise LogValueError(f"the field {spec.name!r} takes a {spec.type}, got {_shown(value)}")


def _check_name(argument: str, name: object) -> None:
    if not isinstance(name, str) or not name.isascii() or not name.isidentifier() or len(name) > _MAX_NAME_LENGTH:
        raise ConfigError(
            f"A field of {argument} is named by up to {_MAX_NAME_LENGTH} letters, digits and _, got {name!r:.80}."
        )
    if name.lower() in _OF_POSTGRESQL:
        raise ConfigError(f"A field of {argument} cannot be called {name!r}: PostgreSQL has it in every table.")
    if name in _ARGUMENTS:
        raise ConfigError(f"A field of {argument} cannot be called {name!r}: it is an argument of the call.")


def _listed(value: object) -> Sequence[object] | None:
    if hasattr(value, "tolist"):  # arrays and tensors
        value = value.tolist()
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def _json(spec: FieldSpec, value: object) -> Json:
    def plain(item: object) -> object:
        if isinstance(item, np.ndarray | np.generic) or hasattr(item, "tolist"):
            return item.tolist()
        raise TypeError(f"a {type(item).__name__} is no JSON")

    try:
        kept = cast(Json, json.loads(json.dumps(value, default=plain), parse_constant=_refuse))
        _check_depth(kept)
        return kept
    except (TypeError, ValueError, RecursionError) as error:
        raise LogValueError(f"the field {spec.name!r} takes JSON, got {_shown(value)} ({error})") from None


def _check_depth(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(_MAX_DEPTH):
        level = [item for part in level for item in _items(part)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} times")


def _items(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _shown(value: object) -> str:
    """Returns what an error says of a value, whatever it does when it is asked."""
    try:
        return f"{value!r:.80}"
    except Exception:  # a whole number of thousands of digits, for one
        return f"a {type(value).__name__} that cannot be shown"


def _refuse(constant: str) -> float:
    raise ValueError(f"JSON has no {constant}")
