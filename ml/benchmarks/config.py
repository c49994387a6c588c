"""Configurations of callbacks. Without psutil, so that composing a configuration needs nothing."""

from dataclasses import dataclass

from ml.core.config import BaseConfig


@dataclass
class SystemCallbackConfig(BaseConfig):
    """What the machine does while a trainer trains.

    Attributes:
        every_n_seconds: Between two readings, above 0. The first comes after a second, if that is sooner.
        gpus: Whether NVIDIA's devices are read too, where there are any.
    """

    every_n_seconds: float = 10.0
    gpus: bool = True
