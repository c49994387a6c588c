"""The interface of a trainer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from ml.core.config import BaseObject
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger
from ml.trainers.callbacks import Callback
from ml.trainers.config import BaseTrainerConfig
from ml.trainers.signals import StopSignals

if TYPE_CHECKING:
    from ml.models.base import BaseModel
    from ml.tasks.base import BaseTask
    from ml.trainers.distributed import World

ConfigT = TypeVar("ConfigT", bound=BaseTrainerConfig)


class Attempt(NamedTuple):
    """Where a training happens: one attempt of a run.

    Attributes:
        context: Its directory, rank and clocks.
        logs: Where everything is logged.
        world: This process among the others.
        signals: Whether somebody wants it to stop.
        start: The state to begin with, where there is no checkpoint.
    """

    context: RunContext
    logs: LoggerGroup
    world: "World"
    signals: StopSignals
    start: State


class BaseTrainer(BaseObject[ConfigT], Generic[ConfigT], ABC):
    """Trains a model for a task.

    Attributes:
        logger: Takes what the trainer logs, in the namespace ``trainer``.
        metrics: Of the last validation pass, by name.
        state: Where training stands.
        interrupted_by: The number of the signal that ended training early, or ``None``.
        attempt: Set while training.
        task: Set while training.
        model: Set while training.
    """

    attempt: Attempt
    task: "BaseTask[Any]"
    model: "BaseModel[Any]"

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self.logger = MultiLogger("trainer")
        self.metrics: dict[str, float] = {}
        self.state = State()
        self.interrupted_by: int | None = None
        self._stop_requested = False

    @property
    def objective(self) -> float:
        """The metric ``config.objective`` of the last validation pass; NaN before the first."""
        return self.metrics.get(self.config.objective, math.nan)

    def stop(self) -> None:
        """Asks for training to end after the running step (between two: the next one), as if it were the last."""
        self._stop_requested = True

    @abstractmethod
    def total_steps(self, task: "BaseTask[Any]", world_size: int) -> int:
        """Returns the number of training steps that ``fit`` will have done in the end, with so many ranks.

        Raises:
            ConfigError: The configuration does not fit the task or the ranks.
        """

    @abstractmethod
    def fit(
        self, task: "BaseTask[Any]", model: "BaseModel[Any]", attempt: Attempt, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Trains, validates and tests; continues from the newest checkpoint in the run directory, if there is one.

        Returns early, with a checkpoint, when a signal was received.
        """
