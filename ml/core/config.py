"""Configuration dataclasses, and the objects that are built from them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Generic, TypeVar, get_origin

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ml.core.errors import ConfigError

ValueT = TypeVar("ValueT")


def conf_field(default: ValueT | Callable[[], ValueT]) -> ValueT:
    """Declares a field of a configuration dataclass.

    Args:
        default: The default, or a function without arguments that makes it.
            A mutable one is copied, so two configurations never share it.

    Returns:
        What ``dataclasses.field`` returns, typed as the field's value.
    """
    make: Callable[[], ValueT] = default if callable(default) else lambda: copy.deepcopy(default)
    return field(default_factory=make)


@dataclass
class BaseConfig:
    """The configuration of an object that is chosen by name.

    Attributes:
        name: The registered name of the object's type.
    """

    name: str = MISSING


def check_types(config: BaseConfig) -> None:
    """Checks a configuration that was made in Python, as one from a file is checked when it is read.

    Raises:
        ConfigError: A value is not of its setting's type.
    """
    try:
        typed = OmegaConf.structured(type(config), flags={"allow_objects": True})
    except OmegaConfBaseException:
        return  # it has a setting that no file can hold, so Python alone makes it, and knows what it does
    for setting in fields(config):
        value = getattr(config, setting.name)
        if isinstance(value, str) and value == MISSING:
            continue
        cure = ""
        try:
            OmegaConf.update(typed, setting.name, value, merge=False)  # an int may stand for a float
            if typed[setting.name] == value:
                continue
            cure = f" Write {typed[setting.name]!r}."
        except OmegaConfBaseException:
            if isinstance(value, str) and get_origin(setting.type) is list:
                cure = f" Write {[value]!r}."
        expected = setting.type.__name__ if type(setting.type) is type else setting.type
        raise ConfigError(f"{setting.name} of '{config.name}' must be of type {expected}, got {value!r}.{cure}")


ConfigT = TypeVar("ConfigT", bound=BaseConfig)


class BaseObject(Generic[ConfigT]):
    """An object that is built from one configuration, and keeps it as ``config``."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config
