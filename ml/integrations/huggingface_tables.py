"""Evaluates in a ``transformers.Trainer``: ``Trainer(..., callbacks=[HuggingFaceTables(evaluation)])``.

``evaluation`` is an ``ml.evaluation.EvalCallback``; epochs are counted from 0. When it evaluates, the trainer says:

====================  ===================================================================================
``eval_strategy``     then
====================  ===================================================================================
``"no"``              at the end of every epoch, without metrics
``"epoch"``           after the trainer's own evaluation, with its metrics: ``eval_loss``, ``eval_accuracy``
``"steps"``           likewise; inside an epoch under the alias ``step_<global step>``
====================  ===================================================================================

``trainer.evaluate()`` outside of a training gives a version with the alias ``test``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml.core.errors import missing
from ml.evaluation.callback import EvalCallback

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing("HuggingFaceTables", "the package transformers", "transformers", error) from error

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NO_METRICS: Mapping[str, object] = {}
_WHOLE = 1e-6  # a trainer adds up fractions of an epoch


class HuggingFaceTables(TrainerCallback):
    """Calls an ``EvalCallback`` at the trainer's events. What it does, and what ends training, is said there.

    Args:
        evaluation: What evaluates. Every rank calls it, and the one of rank 0 publishes.
    """

    def __init__(self, evaluation: EvalCallback) -> None:
        self.evaluation = evaluation
        self._is_training = False

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Begins with the ground truth."""
        self._is_training = True
        self.evaluation.set_model(kwargs.get("model"))
        self.evaluation.on_train_begin()

    def on_epoch_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Notes which epoch it is."""
        self.evaluation.on_epoch_begin(int((state.epoch or 0) + _WHOLE))

    def on_step_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Evaluates, if batches are evaluated."""
        self.evaluation.on_train_batch_end(state.global_step - 1)

    def on_epoch_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Evaluates, unless the trainer's own evaluations say when: the one of this epoch is still to come."""
        if args.eval_strategy == "no":
            self.evaluation.on_epoch_end(_epoch_of(state))

    def on_evaluate(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        metrics: Mapping[str, object] = _NO_METRICS,
        **kwargs: object,
    ) -> None:
        """Evaluates with the metrics that the trainer has found."""
        if not self._is_training:
            self.evaluation.set_model(kwargs.get("model"))
            self.evaluation.on_test_end(metrics)
        elif abs((state.epoch or 0) - round(state.epoch or 0)) < _WHOLE:
            self.evaluation.on_epoch_end(_epoch_of(state), metrics)
        else:
            self.evaluation.evaluate(_epoch_of(state), metrics, aliases=[f"step_{state.global_step}"])

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """What is evaluated from now on is no part of a training."""
        self._is_training = False
        self.evaluation.on_train_end()


def _epoch_of(state: "TrainerState") -> int:
    """Returns the epoch that is under way or has just ended, counted from 0."""
    epochs = state.epoch or 0.0
    return max(0, round(epochs) - 1 if abs(epochs - round(epochs)) < _WHOLE else int(epochs))
