"""Configurations of trainers. Without torch, so that composing a configuration stays quick."""

from dataclasses import dataclass

from ml.core.config import BaseConfig
from ml.core.errors import ConfigError

PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("cosine", "constant")
_POSITIVE = (
    "max_epochs",
    "max_steps",
    "batch_size",
    "accumulate",
    "valid_batch_size",
    "num_threads",
    "clip_grad_norm",
    "valid_every_n_steps",
    "checkpoint_every_n_steps",
    "keep_checkpoints",
)
_NOT_NEGATIVE = ("seed", "num_workers", "learning_rate", "weight_decay", "warmup_steps", "log_histograms_every")


@dataclass
class BaseTrainerConfig(BaseConfig):
    """What every trainer can be told.

    Attributes:
        seed: Of the global random numbers, and of the order of the samples; >= 0.
        max_epochs: Passes over the training samples; it ends here or at ``max_steps``, whichever comes first.
        max_steps: Training steps in all.
        device: ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
        resume: A run directory to continue, or ``auto``: the newest unfinished run of the same name, else a new one.
        objective: The metric of the last validation pass that a sweep is told.
    """

    seed: int = 0
    max_epochs: int = 40
    max_steps: int | None = None
    device: str = "auto"
    resume: str | None = None
    objective: str = "accuracy"


@dataclass
class SupervisedTrainerConfig(BaseTrainerConfig):
    """Gradient descent on labelled samples.

    Attributes:
        batch_size: Samples of a training step, over all ranks and accumulated batches.
        accumulate: Batches that a step's samples are split into, so that less memory is needed.
        valid_batch_size: Samples that one rank evaluates at once.
        num_workers: Processes that load samples, on each rank; 0 loads in this one.
        num_threads: Threads that torch computes with on the CPU; by default what torch chooses.
        learning_rate: Its highest value.
        weight_decay: Of AdamW; parameters with fewer than two dimensions have none.
        schedule: ``cosine``, down to zero at the last step, or ``constant``.
        warmup_steps: Steps in which the learning rate rises from zero.
        clip_grad_norm: Longer gradients are cut to this length.
        precision: ``float32``, or mixed: ``bfloat16``, ``float16``.
        compile: Compiles the model with ``torch.compile``.
        valid_every_n_steps: Training steps between two validation passes; by default an epoch. The last step is
            always followed by one.
        checkpoint_every_n_steps: Training steps between two checkpoints; by default one follows each validation
            pass. The last step always has one.
        keep_checkpoints: How many are kept, the newest.
        log_histograms_every: Steps between two histograms of all weights and gradients; 0 for none.
    """

    batch_size: int = 64
    accumulate: int = 1
    valid_batch_size: int = 256
    num_workers: int = 0
    num_threads: int | None = None
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup_steps: int = 50
    clip_grad_norm: float | None = 1.0
    precision: str = "float32"
    compile: bool = False
    valid_every_n_steps: int | None = None
    checkpoint_every_n_steps: int | None = None
    keep_checkpoints: int = 3
    log_histograms_every: int = 500


def check_supervised(config: SupervisedTrainerConfig) -> None:
    """Finds values that have no meaning.

    Raises:
        ConfigError: There is one; the message has the key and what is valid.
    """
    if config.precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {config.precision!r}.")
    if config.schedule not in SCHEDULES:
        raise ConfigError(f"trainer.schedule must be one of {', '.join(SCHEDULES)}, got {config.schedule!r}.")
    for key in _POSITIVE:
        amount = getattr(config, key)
        if amount is not None and not amount > 0:
            raise ConfigError(f"trainer.{key} must be above 0, got {amount!r}.")
    for key in _NOT_NEGATIVE:
        if not getattr(config, key) >= 0:
            raise ConfigError(f"trainer.{key} must be 0 or more, got {getattr(config, key)!r}.")
