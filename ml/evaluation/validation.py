"""The callback ``tables``: keeps what a trainer's model says of every validation sample, a version a validation.

``scripts/train +callbacks=tables callbacks.tables.max_samples=100`` turns it on, for tasks of classification. In
``<run>/evaluation`` are then ``val``, the samples, and ``run_<run>_pred``, what was predicted, with the aliases
``epoch_<finished epochs>`` where an epoch has ended, ``step_<steps>``, ``latest`` and ``best``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ml.core.config import BaseObject
from ml.core.errors import ConfigError
from ml.core.registry import register_callback
from ml.core.run import RunContext
from ml.core.state import State
from ml.evaluation.aliases import Mode, check_mode
from ml.evaluation.callback import EvalCallback
from ml.evaluation.config import TablesCallbackConfig
from ml.evaluation.sampling import check_max_samples, choose
from ml.evaluation.values import Image
from ml.tasks.base import BaseTask, Batch
from ml.tasks.classification import ClassificationTask

if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "evaluation"

_DATA_COLUMNS = ("index", "image", "label")
_PREDICTION_COLUMNS = ("epoch", "step", "sample", "image", "label", "prediction", "probability")


class Attempt(Protocol):
    """What is known of a trainer's attempt."""

    @property
    def context(self) -> RunContext:
        """Its directory."""


class Trainer(Protocol):
    """What is known of a trainer."""

    attempt: Attempt
    task: "BaseTask[Any]"
    model: nn.Module


@register_callback("tables", TablesCallbackConfig)
class TablesCallback(BaseObject[TablesCallbackConfig]):
    """Evaluates after every nth validation. Every rank does, so that none waits long; the primary one publishes."""

    def __init__(self, config: TablesCallbackConfig) -> None:
        super().__init__(config)
        for name in ("every_n_validations", "batch_size"):
            if getattr(config, name) < 1:
                raise ConfigError(f"callbacks.tables.{name} must be 1 or more, got {getattr(config, name)}.")
        check_max_samples(config.max_samples)
        check_mode(config.best_is)
        self._validations = 0
        self._evaluation: ValidationTables | None = None

    def on_start(self, trainer: Trainer) -> None:
        """Keeps the samples.

        Raises:
            ConfigError: The task is not one of classification, or the store is none.
        """
        task, context, config = trainer.task, trainer.attempt.context, self.config
        if not isinstance(task, ClassificationTask):
            raise ConfigError(
                f"The callback 'tables' knows tasks of classification, not {type(task).__name__}. For another one, "
                "derive a class from ml.evaluation.EvalCallback."
            )
        self._evaluation = ValidationTables(
            task,
            artifacts=config.artifacts or str(context.directory / DIRECTORY),
            run_id=context.directory.name,
            best=None if config.best is None else (config.best, cast(Mode, config.best_is)),
            max_samples=config.max_samples,
            batch_size=config.batch_size,
        )
        self._evaluation.set_model(trainer.model)
        self._evaluation.on_train_begin()

    def on_step_end(self, trainer: Trainer, state: State) -> None:
        """Does nothing."""

    def on_valid_end(self, trainer: Trainer, state: State, metrics: Mapping[str, float]) -> None:
        """Evaluates."""
        self._validations += 1
        if self._evaluation is None or self._validations % self.config.every_n_validations:
            return
        aliases = [f"step_{state.num_steps}"]
        if state.num_epochs and not state.num_epoch_steps:
            aliases.insert(0, f"epoch_{state.num_epochs}")
        self._evaluation.step = state.num_steps
        self._evaluation.evaluate(state.num_epochs, metrics, aliases=aliases)

    def on_close(self, trainer: Trainer) -> None:
        """Removes temporary files."""
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is not None:
            evaluation.close()


class ValidationTables(EvalCallback):
    """The validation set of a task of classification, and what a model says of it.

    Args:
        task: Of which the samples are: images, shape (C, H, W), and classes.
        artifacts: See ``EvalCallback``; so are ``run_id`` and ``best``.
        max_samples: How many samples are kept and predicted; ``None``: all.
        batch_size: How many of them at once.

    Attributes:
        step: The training step of the next evaluation.
    """

    def __init__(
        self,
        task: "ClassificationTask[Any]",
        *,
        artifacts: str,
        run_id: str,
        best: tuple[str, Mode] | None,
        max_samples: int | None,
        batch_size: int,
    ) -> None:
        super().__init__(_DATA_COLUMNS, _PREDICTION_COLUMNS, artifacts=artifacts, run_id=run_id, best=best)
        self.step = 0
        self._task, self._batch_size = task, batch_size
        self._samples: Dataset[tuple[Tensor, Tensor]] = task.dataset("valid")
        self._chosen: Sequence[int] = choose(len(self._samples), max_samples)  # type: ignore[arg-type]

    def add_ground_truth(self, logs: Mapping[str, object] | None = None) -> None:
        """Adds image and class of the samples."""
        for index in self._chosen:
            image, target = self._samples[index]
            self.data_table.add_data(index, Image(image), self._task.classes[int(target)])

    def add_model_predictions(self, epoch: int, logs: Mapping[str, object] | None = None) -> None:
        """Adds the likeliest class and its probability."""
        classes, data = self._task.classes, self.data_table_ref
        predicted = (pair for start in range(0, len(data), self._batch_size) for pair in self._predict(start))
        for sample, (guess, probability) in zip(data.get_index(), predicted, strict=True):
            _, image, label = data.data[sample]
            self.pred_table.add_data(epoch, self.step, sample, image, label, classes[guess], probability)

    def _predict(self, start: int) -> list[tuple[int, float]]:
        """Returns class and probability of the samples of one batch."""
        device = next(self.model.parameters()).device
        pairs = [self._samples[index] for index in self._chosen[start : start + self._batch_size]]
        inputs, targets = (torch.stack(column).to(device) for column in zip(*pairs, strict=True))
        outcome = self._task.step(self.model, Batch(inputs, targets), State(phase="valid"))
        probabilities, guesses = outcome.output.prediction.float().softmax(dim=1).max(dim=1)
        return list(zip(guesses.tolist(), probabilities.tolist(), strict=True))
