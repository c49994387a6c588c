"""From a task's samples to batches on a device: this rank's share, in an order that a resume meets again."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader

from ml.core.state import Phase, State
from ml.tasks.base import BaseTask, Batch
from ml.tasks.randomness import private_generator
from ml.trainers.config import SupervisedTrainerConfig
from ml.trainers.distributed import World
from ml.trainers.order import TrainingOrder


def num_samples(task: BaseTask[Any], phase: Phase) -> int:
    """Returns how many samples a phase has, over all ranks."""
    return len(cast(Sized, task.dataset(phase)))


def training_batches(
    task: BaseTask[Any], config: SupervisedTrainerConfig, world: World, state: State
) -> Iterator[Batch]:
    """Yields this rank's share of each training step after ``state``, for ever."""
    order = TrainingOrder(
        num_samples(task, "train"),
        config.batch_size,
        seed=config.seed,
        epoch=state.num_epochs,
        step=state.num_epoch_steps,
        rank=world.rank,
        world_size=world.size,
    )
    return _load(task, "train", order, config, world, state)


def evaluation_batches(
    task: BaseTask[Any], phase: Phase, config: SupervisedTrainerConfig, world: World, state: State
) -> Iterator[Batch]:
    """Yields this rank's share of a validation or test pass; every sample is seen once, on one rank."""
    mine = range(world.rank, num_samples(task, phase), world.size)
    size = config.valid_batch_size
    order = [list(mine[start : start + size]) for start in range(0, len(mine), size)]
    return _load(task, phase, order, config, world, state)


def _load(
    task: BaseTask[Any],
    phase: Phase,
    order: Iterable[list[int]],
    config: SupervisedTrainerConfig,
    world: World,
    state: State,
) -> Iterator[Batch]:
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        task.dataset(phase),
        batch_sampler=order,
        num_workers=config.num_workers,
        pin_memory=world.device.type == "cuda",
        # A loader without a generator of its own draws from the global one, at every start.
        generator=private_generator(config.seed, world.rank, state.num_steps),
    )
    for inputs, targets in loader:
        yield Batch(inputs.to(world.device, non_blocking=True), targets.to(world.device, non_blocking=True))
