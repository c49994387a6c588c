"""The interface of a task: what is learnt from, how wrong a model is, and what of it is worth seeing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from ml.core.config import BaseObject
from ml.core.state import Phase, State
from ml.loggers import MultiLogger
from ml.models.base import ModelOutput
from ml.tasks.config import BaseTaskConfig

ConfigT = TypeVar("ConfigT", bound=BaseTaskConfig)

Totals: TypeAlias = dict[str, Tensor]
"""Sums over samples. The totals of a whole pass are those of its batches, on all ranks, added key by key."""


class Batch(NamedTuple):
    """B samples.

    Attributes:
        inputs: Shape (B, ...).
        targets: Shape (B, ...).
    """

    inputs: Tensor
    targets: Tensor


class Outcome(NamedTuple):
    """What a model made of a batch.

    Attributes:
        batch: The samples as the model saw them.
        output: What it said.
        loss: Shape (), the mean over the samples.
    """

    batch: Batch
    output: ModelOutput
    loss: Tensor


class BaseTask(BaseObject[ConfigT], Generic[ConfigT], ABC):
    """Data, loss and metrics.

    Attributes:
        logger: Takes what the task logs, in the namespace ``task``.
    """

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self.logger = MultiLogger("task")

    @abstractmethod
    def dataset(self, phase: Phase) -> Dataset[tuple[Tensor, Tensor]]:
        """Returns the samples of a phase, with a length: pairs of an input and a target."""

    @abstractmethod
    def step(self, model: nn.Module, batch: Batch, state: State) -> Outcome:
        """Runs the model on a batch. Draws only from generators of its own, seeded by the step."""

    @abstractmethod
    def log(self, outcomes: Sequence[Outcome], state: State) -> None:
        """Logs one step, lazily: the outcomes of its batches, at least one."""

    @abstractmethod
    def totals(self, outcome: Outcome) -> Totals:
        """Returns the sums that the metrics of a pass are made from, on the device of the outcome."""

    @abstractmethod
    def log_pass(self, totals: Totals, state: State) -> dict[str, float]:
        """Logs a finished validation or test pass, once, and returns its metrics by name."""
