"""A choice among samples that is the same whenever, wherever and in whatever library it is made again."""

import numpy as np

from ml.core.errors import ConfigError

# The constants of splitmix64, which gives every 64-bit number another one: no two samples have one rank.
_STEP, _FIRST, _SECOND = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def choose(count: int, max_samples: int | None, *, seed: int = 0) -> list[int]:
    """Returns which of so many samples to look at: a choice without an order of its own, made with no random numbers.

    A smaller choice is a part of every larger one, and samples that are added take few places of those that were there.

    Args:
        count: How many samples there are, 0 or more.
        max_samples: How many to choose, 1 or more; ``None``: all.
        seed: Another one gives another choice.

    Returns:
        At most ``max_samples`` different numbers from 0 to ``count - 1``, ascending.

    Raises:
        ConfigError: ``max_samples`` is less than 1.
    """
    check_max_samples(max_samples)
    if max_samples is None or count <= max_samples:
        return list(range(count))
    chosen = np.argpartition(_ranks(count, seed), max_samples - 1)[:max_samples]
    return sorted(map(int, chosen))


def check_max_samples(max_samples: int | None) -> None:
    """Raises ``ConfigError`` for what is no number of samples."""
    if max_samples is not None and (type(max_samples) is not int or max_samples < 1):
        raise ConfigError(f"max_samples is 1 or more, or None for all samples; got {max_samples!r}.")


def _ranks(count: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    start = np.uint64(seed % 2**64)
    with np.errstate(over="ignore"):  # it is meant to wrap around
        mixed = (np.arange(1, count + 1, dtype=np.uint64) + start * _SECOND) * _STEP
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))
