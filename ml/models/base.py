"""The interface of a model."""

from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor, nn

from ml.core.config import BaseObject
from ml.loggers import MultiLogger
from ml.models.config import BaseModelConfig

ConfigT = TypeVar("ConfigT", bound=BaseModelConfig)


class ModelOutput(NamedTuple):
    """What a model says about a batch of B inputs.

    Attributes:
        prediction: Shape (B, K); for classes, their unnormalised log-probabilities.
        features: Shape (B, D), what the prediction is made from.
    """

    prediction: Tensor
    features: Tensor


class BaseModel(nn.Module, BaseObject[ConfigT], Generic[ConfigT], ABC):
    """A network with a configuration and a logger of its own.

    Attributes:
        logger: Takes what the model logs, in the namespace ``model``.
    """

    def __init__(self, config: ConfigT) -> None:
        nn.Module.__init__(self)
        BaseObject.__init__(self, config)
        self.logger = MultiLogger("model")

    @abstractmethod
    def forward(self, inputs: Tensor) -> ModelOutput:
        """Maps inputs, shape (B, ...), to predictions."""

    def log_histograms(self) -> None:
        """Logs every parameter as ``weight_<name>`` and its gradient as ``grad_<name>``, lazily."""
        for name, parameter in self.named_parameters():
            self.logger.log_histogram(f"weight_{name}", lambda parameter=parameter: parameter)
            if parameter.grad is not None:
                self.logger.log_histogram(f"grad_{name}", lambda parameter=parameter: parameter.grad)
