"""The configuration of the callback ``tables``. Without torch, so that composing a configuration needs nothing."""

from dataclasses import dataclass

from ml.core.config import BaseConfig


@dataclass
class TablesCallbackConfig(BaseConfig):
    """What a trainer's model predicts of the validation set, sample by sample.

    Attributes:
        artifacts: Where the tables go, a directory or the URL of a bucket; ``None``: ``evaluation`` in that of the run.
        every_n_validations: Validations between two evaluations, 1 or more.
        max_samples: How many samples to predict, always the same ones; ``None``: all.
        batch_size: How many of them at once.
        best: The metric of a validation that tells which version is ``best``; ``None``: there is no best one.
        best_is: ``max`` or ``min``: whether the greatest or the least value of it is the best.
    """

    artifacts: str | None = None
    every_n_validations: int = 1
    max_samples: int | None = 1000
    batch_size: int = 256
    best: str | None = "accuracy"
    best_is: str = "max"
