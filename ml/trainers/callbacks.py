"""What may look on while a trainer trains."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ml.core.state import State

if TYPE_CHECKING:
    from ml.trainers.base import BaseTrainer


class Callback(Protocol):
    """Looks on. Chosen by configuration, so that a trainer knows nobody by name.

    What a callback logs with ``trainer.logger`` (in a namespace of its own) belongs to the step that
    called it. An error from a callback ends the training: a callback is part of it.
    """

    def on_start(self, trainer: "BaseTrainer[Any]") -> None:
        """Called once, before the first step, when a checkpoint has been loaded."""

    def on_step_end(self, trainer: "BaseTrainer[Any]", state: State) -> None:
        """Called after each training step, before what it logged is written."""

    def on_valid_end(self, trainer: "BaseTrainer[Any]", state: State, metrics: Mapping[str, float]) -> None:
        """Called after each validation pass, on every rank, with the metrics over all ranks."""

    def on_close(self, trainer: "BaseTrainer[Any]") -> None:
        """Called once at the end, also when training failed."""
