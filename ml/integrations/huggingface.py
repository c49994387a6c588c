"""Logs what a ``transformers.Trainer`` logs: ``Trainer(..., callbacks=[HuggingFaceCallback(run)])``.

Keys and steps are those of ``trainer.state.log_history``: ``loss``, ``grad_norm``, ``eval_loss``, at the global step. A
text ``checkpoint`` says where each checkpoint lies; the training arguments and the model's configuration are
settings of the run, ``args.learning_rate`` and ``model_config.hidden_size``.

Several processes: make the ``TrainingArguments`` first, which join them, then the run; or give the callback what
starts the run, ``HuggingFaceCallback(partial(ml.start_run, "runs/demo"))``.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml.core.errors import missing
from ml.integrations.feeding import Feed, RunSource
from ml.session import Run

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing("HuggingFaceCallback", "the package transformers", "transformers", error) from error

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NO_METRICS: Mapping[str, object] = {}


class HuggingFaceCallback(TrainerCallback):
    """Feeds a run with what the trainer logs, which has thinned it already: every value is written.

    ``None`` and what else is no number or text is reported once a key, and counted as failed; training goes on.
    The end of training ends the last step and waits until all is durable. A training that an exception ends
    is completed by ``run.close``, which the end of the process calls too.

    Args:
        run: The run, which stays open; or what starts one: see ``Feed``.

    Raises:
        ConfigError: It is neither.
    """

    def __init__(self, run: RunSource) -> None:
        self._feed = Feed(run)

    @property
    def run(self) -> Run:
        """The run; it is started if it was not yet."""
        return self._feed.run

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Records the arguments, and the model's configuration if it has one."""
        settings: dict[str, object] = {"args": args.to_dict()}  # type: ignore[no-untyped-call]
        model_config = getattr(kwargs.get("model"), "config", None)
        if model_config is not None:
            settings["model_config"] = model_config if isinstance(model_config, dict) else model_config.to_dict()
        self.run.log_config(settings)

    def on_log(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        logs: Mapping[str, object] = _NO_METRICS,
        **kwargs: object,
    ) -> None:
        """Logs metrics of training, and of an evaluation."""
        self._feed.log(state.global_step, logs, epochs=state.epoch)

    def on_predict(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        metrics: Mapping[str, object] = _NO_METRICS,
        **kwargs: object,
    ) -> None:
        """Logs the metrics of a prediction, which the trainer does not log by itself."""
        self._feed.log(state.global_step, metrics, epochs=state.epoch)
        self._feed.end_step()

    def on_evaluate(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Its metrics came with ``on_log``: they are written now, since outside of a training nothing follows."""
        self._feed.end_step()

    def on_save(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Notes the checkpoint, and the metric that ``metric_for_best_model`` names if this step has it."""
        path = os.path.join(args.output_dir or ".", f"checkpoint-{state.global_step}")
        self._feed.note_checkpoint(state.global_step, path, _score(args, state))

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: object
    ) -> None:
        """Ends the last step."""
        self._feed.end()


def _score(args: "TrainingArguments", state: "TrainerState") -> tuple[str, object] | None:
    name = args.metric_for_best_model
    if not name:
        return None
    key = name if name.startswith("eval_") else f"eval_{name}"
    of_step = (entry for entry in reversed(state.log_history) if entry.get("step") == state.global_step)
    return next(((key, entry[key]) for entry in of_step if key in entry), None)
