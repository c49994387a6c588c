"""Configurations of models. Without torch, so that composing a configuration stays quick."""

from dataclasses import dataclass

from ml.core.config import BaseConfig


@dataclass
class BaseModelConfig(BaseConfig):
    """The configuration of a model."""


@dataclass
class CnnConfig(BaseModelConfig):
    """A small convolutional network.

    Attributes:
        in_channels: Channels of an image.
        num_classes: Classes to tell apart.
        width: Channels after the first convolution; later layers have twice and four times as many.
        dropout: Share of the features that is dropped in training, in [0, 1).
    """

    in_channels: int = 1
    num_classes: int = 10
    width: int = 32
    dropout: float = 0.2
