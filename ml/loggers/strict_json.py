"""Strict JSON: how it is written, and what of it is read.

Numbers that JSON lacks are the texts ``NaN``, ``Infinity`` and ``-Infinity``. What is
read may have been written by anybody: whatever is wrong with it is a ``FormatError``.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ml.core.errors import FormatError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_WHOLE = re.compile("-?[0-9]{1,400}")  # no float has more digits


def strict(number: float) -> Json:
    """Returns a number as strict JSON has it: non-finite ones as text."""
    if isinstance(number, int) or math.isfinite(number):  # the latter refuses a whole number that no float can hold
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def encoder(separators: tuple[str, str]) -> Callable[[Json], bytes]:
    """Returns what encodes a value in UTF-8.

    Args:
        separators: What stands between values, and behind a name.
    """
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=separators).encode
    escape = json.JSONEncoder(allow_nan=False, separators=separators).encode

    def encoded(value: Json) -> bytes:
        try:
            return encode(value).encode()
        except UnicodeEncodeError:  # half a surrogate pair, which only an escape can hold
            return escape(value).encode()

    return encoded


@contextmanager
def parsing(what: str, path: str | Path = "") -> Iterator[None]:
    """Makes one error of everything that can go wrong while what somebody wrote is taken for something else.

    Args:
        what: What it turns out to be: ``"no line of a log"``.
        path: The file, for the message.

    Raises:
        FormatError: Something did.
    """
    try:
        yield
    except FormatError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        problem = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"{what}: {problem:.200}", path=path) from error


def loads(data: bytes) -> Any:
    """Returns the value that strict JSON in UTF-8 holds.

    Raises:
        ValueError, RecursionError: It is something else.
    """
    return _decoder.decode(data.decode())


def number(value: object) -> int | float:
    """Returns a number; JSON may have it as text, if it is not finite, or whole and large.

    Raises:
        ValueError, TypeError: It is none.
    """
    if isinstance(value, str):
        if value in _NOT_FINITE:
            return float(value)
        if not _WHOLE.fullmatch(value):
            raise ValueError(f"no number: {value!r:.60}")
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"no number: {value!r:.60}")
    return value


def real(number: float) -> float:
    """Returns a number as a float: a whole one beyond what a float can hold is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def text(value: object) -> str:
    """Returns a text.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r:.60}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
