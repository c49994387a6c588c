"""Checks what ``log`` was given, on the thread of the caller, and copies what the caller may change later.

Numbers may be Python's or numpy's. What a reader of the record would not understand is a ``LogValueError`` here, which
costs this prediction alone.
"""

import math
from collections.abc import Iterable, Mapping
from enum import IntEnum
from numbers import Integral
from typing import TypeVar

import numpy as np

from ml.core.errors import LogValueError
from ml.predictions.census import check_counts
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.record import Box, Class

_INT64 = 2**63
_FIRST_SECOND, _LAST_SECOND = 10**9, 10**10  # 2001 to 2286; as milliseconds a few weeks of 1970, where nothing was seen
_BOX_FIELDS = ("x", "y", "width", "height", "confidence")
_CLASSES_FIX = "Pass {class name: probability}."
_BOX_FIX = "Pass x, y, width, height in pixels, confidence, and classification={class name: probability}."

KindT = TypeVar("KindT", bound=IntEnum)


def checked_type(value: object) -> VisionModelType:
    """Returns the kind of a model.

    Raises:
        LogValueError: It is none, nor the number of one.
    """
    return _kind("model_type", value, VisionModelType)


def checked_device(value: object) -> InferenceDevice | None:
    """Returns what a model ran on; ``None`` if that was not said.

    Raises:
        LogValueError: It is no such device, nor the number of one.
    """
    return None if value is None else _kind("inference_device", value, InferenceDevice)


def checked_text(name: str, value: object) -> str:
    """Returns an argument that is a text; ``None`` is the empty one.

    Raises:
        LogValueError: It is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LogValueError(f"{name} is a text, got {value!r}", f"Pass str({name}).")
    return value


def checked_timestamp_ms(value: object) -> int | None:
    """Returns a time stamp in whole milliseconds since 1970; ``None`` if none was given.

    Raises:
        LogValueError: It is no finite number, beyond 64 bits, or the seconds of a time of today.
    """
    if value is None:
        return None
    fix = "Pass int(time.time() * 1000)."
    if isinstance(value, Integral) and not isinstance(value, bool):
        number: float = int(value)
    else:
        number = _number("timestamp", value, fix)
    if not -_INT64 <= number < _INT64:  # false for NaN
        raise LogValueError(f"timestamp is in milliseconds since 1970, got {_short(value)}", fix)
    if _FIRST_SECOND <= number < _LAST_SECOND:
        raise LogValueError(f"timestamp is in milliseconds since 1970, got {_short(value)}, which are seconds", fix)
    return round(number)


def checked_latency_ms(value: object) -> float | None:
    """Returns a latency in milliseconds; ``None`` if none was given, or one that nobody measured: NaN, for example.

    Raises:
        LogValueError: It is no number.
    """
    if value is None:
        return None
    number = _number("latency", value, "Pass milliseconds.")
    return number if math.isfinite(number) else None


def checked_classes(value: object, name: str = "classification") -> tuple[Class, ...]:
    """Returns classes with their probabilities, in the order in which they were given.

    Args:
        value: A mapping of name to probability, or what ``LoggedPrediction.classification`` gives; ``None`` is none.
        name: What it is called.

    Raises:
        LogValueError: It is something else.
    """
    if value is None:
        return ()
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[object, object]] = value.items()
    else:
        items = _items(name, value, _CLASSES_FIX)
        if not all(isinstance(item, Mapping) and item.keys() == {"class_name", "probability"} for item in items):
            raise LogValueError(f"{name} holds class_name and probability, got {_short(value)}", _CLASSES_FIX)
        pairs = [(item["class_name"], item["probability"]) for item in items if isinstance(item, Mapping)]
    return tuple([_class(label, probability, name) for label, probability in pairs])


def checked_boxes(value: object) -> tuple[Box, ...]:
    """Returns the boxes of a detection.

    Args:
        value: A sequence of mappings with ``x``, ``y`` (of the top left corner), ``width``, ``height`` in pixels,
            ``confidence``, and ``classification``, which may be left out; ``None`` is no box.

    Raises:
        LogValueError: It is something else.
    """
    if value is None:
        return ()
    items = _items("detection", value, _BOX_FIX)
    if problem := check_counts(len(items), 0):  # before each is looked at
        raise LogValueError(problem, "Log the most confident ones.")
    return tuple([_box(item, index) for index, item in enumerate(items)])


def best_confidence(classes: Iterable[Class], boxes: Iterable[Box]) -> float | None:
    """Returns the confidence of the best result; ``None`` where there is none. NaN counts for 0."""
    found = [*(one.probability for one in classes), *(box.confidence for box in boxes)]
    return max((0.0 if math.isnan(value) else value for value in found), default=None)


def _box(item: object, index: int) -> Box:
    if type(item) is not dict and not isinstance(item, Mapping):
        raise LogValueError(f"detection[{index}] is a mapping, got {_short(item)}", _BOX_FIX)
    try:
        numbers = [item[key] for key in _BOX_FIELDS]
    except KeyError as error:
        raise LogValueError(f"detection[{index}] has no {error.args[0]!r}", _BOX_FIX) from None
    classes = item.get("classification")
    if len(item) != len(_BOX_FIELDS) + ("classification" in item):
        unknown = next(key for key in item if key not in _BOX_FIELDS and key != "classification")
        raise LogValueError(f"detection[{index}] has an unknown key {unknown!r}", _BOX_FIX)
    x, y, width, height, confidence = (
        number if type(number) is float else _number(f"detection[{index}][{key!r}]", number, _BOX_FIX)
        for key, number in zip(_BOX_FIELDS, numbers, strict=True)
    )
    checked = checked_classes(classes, f"detection[{index}]['classification']") if classes else ()
    return Box(x, y, width, height, confidence, checked)


def _class(label: object, probability: object, name: str) -> Class:
    if type(label) is not str:
        label = _class_name(name, label)
    if type(probability) is not float:
        probability = _number(f"{name}[{label!r}]", probability, _CLASSES_FIX)
    return Class(label, probability)


def _kind(name: str, value: object, kind: type[KindT]) -> KindT:
    if isinstance(value, Integral) and not isinstance(value, bool):
        for member in kind:
            if member == int(value):
                return member
    known = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
    meant = str(value).upper() if isinstance(value, str) else ""
    likely = next((member for member in kind if meant.startswith(member.name)), None)  # "cuda:0" is CUDA
    fix = f"Pass one of them; see {kind.__module__}." if likely is None else f"Pass {kind.__name__}.{likely.name}."
    raise LogValueError(f"{name} is one of {known}, got {_short(value)}", fix)


def _number(name: str, value: object, fix: str) -> float:
    """Returns a number of Python's, numpy's, or of any library that makes floats of arrays with one element."""
    try:
        if type(value) is int or (not isinstance(value, str | bytes | bytearray | bool | np.bool_)):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise LogValueError(f"{name} is a number, got {_short(value)}", fix)


def _items(name: str, value: object, fix: str) -> list[object]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise LogValueError(f"{name} is a sequence, got {_short(value)}", fix)
    return list(value)


def _class_name(name: str, label: object) -> str:
    if isinstance(label, str):
        return str(label)
    if isinstance(label, Integral) and not isinstance(label, bool):
        return str(int(label))
    raise LogValueError(f"a class in {name} has a text for a name, got {_short(label)}", _CLASSES_FIX)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
