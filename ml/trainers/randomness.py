"""The global random numbers: seeded once, saved as plain tensors, and put back."""

import random

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seeds ``random``, ``numpy`` and ``torch`` (CPU and CUDA); 0 <= seed < 2^32."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def get_random_states(device: torch.device) -> dict[str, Tensor]:
    """Returns the states of all global generators, as CPU tensors whose shapes never change.

    Tensors, so that a checkpoint holds nothing that could run code, and ranks can gather them.
    """
    version, numbers, spare = random.getstate()
    numpy_state = np.random.get_state(legacy=True)
    assert isinstance(numpy_state, tuple)
    _, keys, position, has_spare, numpy_spare = numpy_state
    states = {
        "python": torch.tensor([version, *numbers], dtype=torch.int64),
        # No spare normal is NaN: drawing one never gives that.
        "python_spare": torch.tensor(float("nan") if spare is None else spare, dtype=torch.float64),
        "numpy": torch.tensor([*np.asarray(keys).tolist(), position, has_spare], dtype=torch.int64),
        "numpy_spare": torch.tensor(numpy_spare, dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Puts the global generators into states that ``get_random_states`` returned."""
    version, *numbers = states["python"].tolist()
    spare = states["python_spare"].item()
    random.setstate((version, tuple(numbers), None if spare != spare else spare))
    *keys, position, has_spare = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_spare, states["numpy_spare"].item()))
    torch.set_rng_state(states["torch"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
