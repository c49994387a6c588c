"""What a configuration holds, as plain Python: without types, objects and interpolations."""

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from numbers import Integral, Real
from typing import cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ml.core.secret_names import MISSING

Plain = bool | int | float | str | list["Plain"] | dict[str | int | float | bool, "Plain"] | None
"""What a configuration holds, without interpolations, types or objects."""

_MAX_DEPTH = 64
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_ESCAPED = re.compile(r"(\\+)\$\{")


def plain_mapping(config: object) -> dict[str | int | float | bool, Plain]:
    """Returns a configuration as plain Python; its interpolations stay text, missing values are ``???``.

    Args:
        config: A mapping, a DictConfig, or an object with attributes. ``None`` stands for an empty one,
            and what is none of these becomes ``{"config": text}``.
    """
    plain = _plain({} if config is None else config, ())
    if not isinstance(plain, dict):
        plain = _plain(vars(config), ()) if hasattr(config, "__dict__") else {"config": plain}
    assert isinstance(plain, dict)
    return plain


def _plain(node: object, above: tuple[int, ...]) -> Plain:
    if id(node) in above or len(above) > _MAX_DEPTH:
        return "..."  # a circle, or nearly one, as other libraries' settings may have it
    above = (*above, id(node))
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=False)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        node = {field.name: getattr(node, field.name, MISSING) for field in dataclasses.fields(node)}
    if isinstance(node, Mapping):
        return {
            key if isinstance(key, bool | int | float) else _in_utf_8(str(_leaf(key))): _plain(value, above)
            for key, value in node.items()
        }
    if isinstance(node, set | frozenset):
        node = sorted(node, key=str)
    if isinstance(node, list | tuple):
        return [_plain(value, above) for value in node]
    value = _leaf(node)
    if not isinstance(value, str):
        return value
    text = _in_utf_8(value)
    return text if _is_valid(text) else escaped(text)


def _in_utf_8(text: str) -> str:
    """Returns a text that every file can hold: names of files may have bytes that no character stands for."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _leaf(value: object) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    try:
        return str(value)
    except Exception:  # whatever a library hands over as a setting
        return f"<{type(value).__name__}>"


def _is_valid(text: str) -> bool:
    if "${" not in text:
        return True
    try:
        OmegaConf.create({"text": text})
    except OmegaConfBaseException:
        return False
    return True


def escaped(text: str) -> str:
    """Returns text that a configuration takes for text, whatever interpolation it looks like."""
    return _INTERPOLATION.sub(r"\1\1\\${", text)


def unescaped(text: str) -> str:
    """Returns the text that ``escaped`` made ``text`` of; an interpolation stays what it is."""
    return _ESCAPED.sub(lambda match: "\\" * ((len(match[1]) - 1) // 2) + "${", text)


def resolved_mapping(plain: dict[str | int | float | bool, Plain]) -> Plain:
    """Returns what ``plain_mapping`` returned with its interpolations resolved, as far as they can be."""
    # Mostly there is none, and a tokenizer's settings may have a hundred thousand entries.
    return resolved(DictConfig(plain), ()) if _has_interpolation(plain) else plain


def _has_interpolation(node: Plain) -> bool:
    if isinstance(node, dict):
        return any(map(_has_interpolation, node.values()))
    if isinstance(node, list):
        return any(map(_has_interpolation, node))
    return isinstance(node, str) and "${" in node


def resolved(node: DictConfig | ListConfig, above: tuple[int, ...]) -> Plain:
    """Returns a configuration with its interpolations resolved, as far as they can be."""
    raw = cast(Plain, OmegaConf.to_container(node, resolve=False))

    def value_of(key: object, text: Plain) -> Plain:
        try:
            value = node[key]  # type: ignore[index]
        except Exception:  # missing, or an interpolation; what a resolver raises is anything
            return text
        if not isinstance(value, DictConfig | ListConfig):
            return _leaf(value)
        return text if id(value) in above else resolved(value, (*above, id(value)))  # a circle stays text

    if isinstance(raw, dict):
        return {key: value_of(key, text) for key, text in raw.items()}
    assert isinstance(raw, list)
    return [value_of(index, text) for index, text in enumerate(raw)]
