"""Generators of one's own: what is drawn from them moves no global random numbers."""

import numpy as np
import torch


def private_generator(*entropy: int) -> torch.Generator:
    """Returns a new CPU generator whose stream depends on the numbers given, all >= 0, and on nothing else.

    Streams of different numbers are independent, also those of neighbours such as
    ``(seed, 1)`` and ``(seed, 2)``, so every step can have its own and be repeated alone.
    """
    seed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) >> 1)
