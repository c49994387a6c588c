"""Telling classes apart: cross-entropy, accuracy, and what they look like."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.core.state import State
from ml.tasks.base import BaseTask, Batch, Outcome, Totals
from ml.tasks.config import ClassificationConfig
from ml.tasks.metrics import class_colors, confusion_image, confusion_matrix, describe_mistakes, project

ConfigT = TypeVar("ConfigT", bound=ClassificationConfig)


class ClassificationTask(BaseTask[ConfigT]):
    """A task with one right class a sample; the data are up to the derived class.

    Attributes:
        classes: What each class is called.
    """

    classes: Sequence[str]

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self._colors = class_colors(len(self.classes))

    def augment(self, batch: Batch, state: State) -> Batch:
        """Changes training samples so that there seem to be more of them; here, not at all."""
        return batch

    def step(self, model: nn.Module, batch: Batch, state: State) -> Outcome:
        """Runs the model; in training on the augmented batch, with smoothed labels."""
        smoothing = 0.0
        if state.phase == "train":
            batch, smoothing = self.augment(batch, state), self.config.label_smoothing
        output = model(batch.inputs)
        # The sum over classes loses too much in half precision.
        loss = functional.cross_entropy(output.prediction.float(), batch.targets, label_smoothing=smoothing)
        return Outcome(batch, output, loss)

    def log(self, outcomes: Sequence[Outcome], state: State) -> None:
        """Logs images with target and guess, embeddings and confidence; in training also loss and accuracy.

        In validation and test those two are the business of ``log_pass``: a batch on one rank is not the mean.
        """
        first = outcomes[0]
        if state.phase == "train":
            self.logger.log_scalar("loss", lambda: torch.stack([outcome.loss.detach() for outcome in outcomes]).mean())
            self.logger.log_scalar("accuracy", lambda: torch.cat([_is_right(outcome) for outcome in outcomes]).mean())
        self.logger.log_labeled_images("samples", lambda: self._labeled(first))
        self.logger.log_histogram("confidence", lambda: first.output.prediction.float().softmax(dim=1).amax(dim=1))
        self.logger.log_point_cloud(
            "embeddings",
            lambda: project(first.output.features),
            colors=lambda: self._colors_of(first.batch.targets),
        )

    def _colors_of(self, targets: Tensor) -> Tensor:
        # Moved to the device once: a copy every time would wait for it.
        self._colors = self._colors.to(targets.device)
        return self._colors[targets]

    def totals(self, outcome: Outcome) -> Totals:
        """Returns ``loss``, the sum over samples, and ``confusion``, shape (K, K): rows targets, columns guesses."""
        guesses, targets = outcome.output.prediction.argmax(dim=1), outcome.batch.targets
        return {
            "loss": outcome.loss.double() * len(targets),
            "confusion": confusion_matrix(guesses, targets, len(self.classes)),
        }

    def log_pass(self, totals: Totals, state: State) -> dict[str, float]:
        """Logs loss and accuracy of the pass, its confusion matrix as a picture, and its worst mistakes as text."""
        confusion = totals["confusion"].cpu()
        count = confusion.sum().item()
        metrics = {"loss": totals["loss"].item() / count, "accuracy": confusion.trace().item() / count}
        self.logger.log_scalars(metrics)
        self.logger.log_image("confusion", lambda: confusion_image(confusion))
        self.logger.log_string("mistakes", lambda: describe_mistakes(confusion, self.classes))
        return metrics

    def _labeled(self, outcome: Outcome) -> tuple[Tensor, list[str]]:
        shown = slice(self.config.num_logged_images)
        guesses = outcome.output.prediction[shown].argmax(dim=1).tolist()
        targets = outcome.batch.targets[shown].tolist()
        texts = [
            self.classes[target] if guess == target else f"{self.classes[target]}, not {self.classes[guess]}"
            for target, guess in zip(targets, guesses, strict=True)
        ]
        return outcome.batch.inputs[shown], texts


def _is_right(outcome: Outcome) -> Tensor:
    return (outcome.output.prediction.argmax(dim=1) == outcome.batch.targets).float()
