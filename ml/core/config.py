"""Configuration dataclasses, and the objects that are built from them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from omegaconf import MISSING

ValueT = TypeVar("ValueT")


def conf_field(default: ValueT | Callable[[], ValueT], *, help: str = "") -> ValueT:
    """Declares a field of a configuration dataclass.

    Args:
        default: The default, or a function without arguments that makes it.
            A mutable one is copied, so two configurations never share it.
        help: What the field means, kept as its metadata.

    Returns:
        What ``dataclasses.field`` returns, typed as the field's value.
    """
    make: Callable[[], ValueT] = default if callable(default) else lambda: copy.deepcopy(default)
    return field(default_factory=make, metadata={"help": help})


@dataclass
class BaseConfig:
    """The configuration of an object that is chosen by name.

    Attributes:
        name: The registered name of the object's type.
    """

    name: str = MISSING


ConfigT = TypeVar("ConfigT", bound=BaseConfig)


class BaseObject(Generic[ConfigT]):
    """An object that is built from one configuration, and keeps it as ``config``."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config
