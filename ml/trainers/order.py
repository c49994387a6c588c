"""Which samples a training step sees. A pure function of the seed and the step, so a resume meets the right ones."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from ml.core.errors import ConfigError
from ml.tasks.randomness import private_generator


class TrainingOrder(Sampler[list[int]]):
    """Indices of the samples of each step from a given one on, for ever, a new permutation each epoch.

    A step's samples are the same whatever the number of ranks; each rank gets every ``world_size``-th of
    them. What is left of an epoch after its last whole step is not seen in that epoch.

    Args:
        num_samples: Samples of an epoch.
        batch_size: Samples of a step, over all ranks.
        seed: Of the permutations.
        epoch: The first one.
        step: The first one in it, from 0.
        rank: Of this process, among ``world_size``.
    """

    def __init__(
        self, num_samples: int, batch_size: int, *, seed: int, epoch: int, step: int, rank: int, world_size: int
    ) -> None:
        self._num_samples, self._batch_size, self._seed = num_samples, batch_size, seed
        self._epoch, self._step = epoch, step
        self._rank, self._world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first_step = self._epoch, self._step
        steps = steps_per_epoch(self._num_samples, self._batch_size)
        while True:
            order = torch.randperm(self._num_samples, generator=private_generator(self._seed, epoch)).tolist()
            for step in range(first_step, steps):
                yield order[step * self._batch_size : (step + 1) * self._batch_size][self._rank :: self._world_size]
            epoch, first_step = epoch + 1, 0


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Returns the number of whole steps in an epoch.

    Raises:
        ConfigError: There is none.
    """
    if not 1 <= batch_size <= num_samples:
        raise ConfigError(f"trainer.batch_size={batch_size} must lie in 1 ... {num_samples}, the training samples.")
    return num_samples // batch_size
