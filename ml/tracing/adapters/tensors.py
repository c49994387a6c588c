"""What every adapter does with a model's tensors: how many candidates are looked at, and how they become arrays."""

from collections.abc import Mapping

import numpy.typing as npt
import torch
from torch import Tensor

KEPT = 1_000
"""So many pairs of a candidate and a class are kept of an image, the surest, and all visible ones."""


def array_of(tensor: Tensor, dtype: torch.dtype | None = None) -> npt.NDArray:  # type: ignore[type-arg]
    """Returns a tensor as an array, in its own precision as far as numpy has it."""
    if dtype is None and tensor.dtype == torch.bfloat16:
        dtype = torch.float32
    return tensor.detach().to("cpu", dtype or tensor.dtype).numpy()


def described(value: object) -> str:
    """Returns what a value is, for a message."""
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    return f"{type(value).__name__}{f' of shape {tuple(value.shape)}' if isinstance(value, Tensor) else ''}"
