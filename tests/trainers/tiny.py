"""A task and a model that train in milliseconds, and what it takes to run them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.loggers import BaseLoggerConfig, LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.models.base import BaseModel, ModelOutput
from ml.models.config import BaseModelConfig
from ml.tasks.base import Batch
from ml.tasks.classification import ClassificationTask
from ml.tasks.config import ClassificationConfig
from ml.tasks.randomness import private_generator
from ml.trainers.base import Attempt
from ml.trainers.callbacks import Callback
from ml.trainers.config import SupervisedTrainerConfig
from ml.trainers.distributed import World
from ml.trainers.randomness import seed_everything
from ml.trainers.signals import StopSignals
from ml.trainers.supervised import SupervisedTrainer

SIZES: dict[Phase, int] = {"train": 40, "valid": 10, "test": 7}


class TinyTask(ClassificationTask[ClassificationConfig]):
    """Three classes of 2 x 2 images, 5 training steps of 8 samples an epoch."""

    classes = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__(ClassificationConfig("tiny"))

    def dataset(self, phase: Phase) -> Dataset[tuple[Tensor, Tensor]]:
        generator = private_generator(SIZES[phase])
        images = torch.rand(SIZES[phase], 1, 2, 2, generator=generator)
        return TensorDataset(images, torch.randint(3, (SIZES[phase],), generator=generator))

    def augment(self, batch: Batch, state: State) -> Batch:
        generator = private_generator(1, state.num_steps)
        return Batch(batch.inputs + torch.rand(1, generator=generator), batch.targets)


class TinyModel(BaseModel[BaseModelConfig]):
    """One hidden layer and what follows it."""

    def __init__(self, *middle: nn.Module) -> None:
        super().__init__(BaseModelConfig("tiny"))
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), *middle)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> ModelOutput:
        features = self.body(inputs)
        return ModelOutput(self.head(features), features)


class Training:
    """One training in a directory: what it left behind.

    Args:
        plain: A model without running statistics, which draws no random numbers either.

    Attributes:
        entries: What was logged, as ``(phase, step, namespace, key, value)``.
    """

    def __init__(
        self,
        directory: Path,
        config: SupervisedTrainerConfig,
        *,
        callbacks: Sequence[Callback] = (),
        signals: StopSignals | None = None,
        plain: bool = False,
        logger: BaseLoggerConfig | None = None,
    ) -> None:
        seed_everything(config.seed)
        middle = [] if plain else [nn.BatchNorm1d(6), nn.Dropout()]
        self.task, self.model, self.trainer = TinyTask(), TinyModel(*middle), SupervisedTrainer(config)
        memory = MemoryLogger(logger or BaseLoggerConfig("memory"))
        context = RunContext(directory)
        with LoggerGroup([memory], context, on_error="raise") as logs:
            attempt = Attempt(context, logs, World(torch.device("cpu")), signals or StopSignals(), State())
            self.trainer.fit(self.task, self.model, attempt, callbacks)
        self.entries = memory.entries

    def weights(self) -> dict[str, Tensor]:
        """Everything that was trained, and the running statistics."""
        return self.model.state_dict()

    def steps(self, phase: Phase, key: str) -> list[int]:
        """The steps at which a key was written."""
        return [entry.step for entry in self.entries if (entry.phase, entry.key) == (phase, key)]

    def values(self, phase: Phase, key: str) -> list[object]:
        """The values of a key."""
        return [entry.value for entry in self.entries if (entry.phase, entry.key) == (phase, key)]


def tiny_config(**settings: object) -> SupervisedTrainerConfig:
    """The configuration of a short training on the CPU, in which only ``settings`` differ."""
    config = SupervisedTrainerConfig("supervised", max_epochs=3, batch_size=8, device="cpu", warmup_steps=2)
    for key, value in settings.items():
        assert hasattr(config, key)
        setattr(config, key, value)
    return config


class Recorder:
    """A callback that notes what it is told, and stops training at a step in a given way."""

    def __init__(self, *, signal_at: int = 0, stop_at: int = 0, signals: StopSignals | None = None) -> None:
        self.calls: list[str] = []
        self.states: list[State] = []
        self._signal_at, self._stop_at, self._signals = signal_at, stop_at, signals

    def on_start(self, trainer) -> None:
        self.calls.append(f"start {trainer.state.num_steps}")

    def on_step_end(self, trainer, state) -> None:
        self.calls.append(f"step {state.num_steps}")
        self.states.append(state)
        if state.num_steps == self._signal_at:
            self._signals.received = 15
        if state.num_steps == self._stop_at:
            trainer.stop()

    def on_valid_end(self, trainer, state, metrics) -> None:
        self.calls.append(f"valid {sorted(metrics)}")

    def on_close(self, trainer) -> None:
        self.calls.append("close")
