"""What is kept of a layer's output: a few numbers of each input instead of all of it.

::

    features = {"backbone": Reduction("mean"), "neck": Reduction("random_projection", dim=64)}

Everything here is a pure function of one input's tensor: detached, without gradients, and no random number is drawn
but by a generator of its own.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml.core.errors import ConfigError, LogValueError
from ml.tracing.packing import halved
from ml.tracing.record import FeatureArray

Kind = Literal["none", "mean", "max", "std", "roi", "topk", "random_projection"]
FeatureDtype = Literal["float16", "float32"]

MAX_ELEMENTS = 1 << 26
"""Of the matrix of a projection: 256 MiB."""

_SEED = 0x6D6C  # the same matrix in every process, so that the features of all runs can be compared


@dataclass(frozen=True)
class Reduction:
    """How the output of a layer is reduced, for each input of its own.

    Attributes:
        kind: Of an output of shape (C, ...), the first dimension being channels:

            ``"none"``: the output as it is.
            ``"mean"``, ``"max"``, ``"std"``: over everything but the channels, shape (C,); ``std`` is that of the
            population, 0 of a single number.
            ``"roi"``: the mean over the cells that each visible box touches, shape (V, C), by descending score; the
            output has shape (C, H, W) and covers the whole image.
            ``"topk"``: the ``k`` largest values of the whole output, in descending order, shape (k,); fewer, if it
            has fewer.
            ``"random_projection"``: all numbers times a fixed Gaussian matrix, shape (dim,): distances are about as
            they were (Johnson and Lindenstrauss).
        dtype: Of what is kept. What is beyond the range of 16 bits is their largest number.
        k: Of ``"topk"``.
        dim: Of ``"random_projection"``.

    Raises:
        ConfigError: There is no such kind or dtype, or a number is below 1.
    """

    kind: Kind = "mean"
    dtype: FeatureDtype = "float16"
    k: int = 16
    dim: int = 128

    def __post_init__(self) -> None:
        for name, value, known in (("kind", self.kind, Kind), ("dtype", self.dtype, FeatureDtype)):
            if value not in get_args(known):
                raise ConfigError(f"The {name} of a reduction is one of {', '.join(get_args(known))}; got {value!r}.")
        if self.k < 1 or self.dim < 1:
            raise ConfigError(f"k and dim of a reduction are 1 or more, got {self.k!r} and {self.dim!r}.")


def reduced(
    output: Tensor,
    reduction: Reduction,
    *,
    boxes: npt.NDArray[np.float32] | None = None,
    image_size: tuple[int, int] | None = None,
) -> FeatureArray:
    """Returns what is kept of a layer's output for one input.

    Args:
        output: Shape (C, ...) or (); any real dtype, any device. It is not changed.
        reduction: How.
        boxes: Shape (V, 4): those that are visible, in pixels of the image; for ``"roi"``.
        image_size: Height and width of the image that the output covers, in pixels; for ``"roi"``.

    Returns:
        As ``Reduction`` says; an array of its own.

    Raises:
        LogValueError: The output has no such reduction.
    """
    if output.is_complex() or output.is_quantized or output.is_sparse:
        raise LogValueError(f"a feature is a dense tensor of real numbers, got {output.dtype}, {output.layout}")
    with torch.no_grad():
        numbers = output.detach()
        numbers = numbers if numbers.dtype == torch.float64 else numbers.float()
        kept = _reduce(numbers, reduction, boxes, image_size)
    array: npt.NDArray[np.float32] = kept.cpu().numpy()
    if reduction.dtype == "float16":
        return halved(array)
    with np.errstate(over="ignore"):
        return np.array(array, np.float32)


def _reduce(
    output: Tensor, reduction: Reduction, boxes: npt.NDArray[np.float32] | None, image_size: tuple[int, int] | None
) -> Tensor:
    match reduction.kind:
        case "none":
            return output
        case "mean" | "max" | "std":
            return _pooled(_by_channel(output), reduction.kind)
        case "roi":
            if boxes is None or image_size is None:
                raise LogValueError("'roi' needs the boxes of a detector and the size of its image")
            return _of_boxes(output, boxes, image_size)
        case "topk":
            flat = output.reshape(-1)
            return flat.topk(min(reduction.k, len(flat))).values
        case "random_projection":
            flat = output.reshape(-1).cpu().float()
            return flat @ _projection(len(flat), reduction.dim)


def _by_channel(output: Tensor) -> Tensor:
    """Returns an output with shape (C, N)."""
    channels = output.reshape(1, 1) if output.ndim == 0 else output.reshape(output.shape[0], -1)
    if channels.shape[1] == 0:
        raise LogValueError(f"an output of shape {tuple(output.shape)} has nothing to be pooled")
    return channels


def _pooled(channels: Tensor, kind: str) -> Tensor:
    if kind == "mean":
        return channels.mean(1)
    return channels.amax(1) if kind == "max" else channels.std(1, correction=0)


def _of_boxes(output: Tensor, boxes: npt.NDArray[np.float32], image_size: tuple[int, int]) -> Tensor:
    if output.ndim != 3 or 0 in output.shape or min(image_size) < 1:
        raise LogValueError(f"'roi' needs an output of shape (C, H, W), got {tuple(output.shape)}")
    height, width = output.shape[1:]
    pooled = [
        output[:, rows, columns].mean((1, 2))
        for rows, columns in (
            (_cells(y1, y2, height / image_size[0], height), _cells(x1, x2, width / image_size[1], width))
            for x1, y1, x2, y2 in boxes.tolist()
        )
    ]
    return torch.stack(pooled) if pooled else output.new_zeros((0, output.shape[0]))


def _cells(low: float, high: float, scale: float, count: int) -> slice:
    """Returns the cells that a side of a box touches, at least one; of a box that is nowhere, the nearest one."""
    low, high = sorted(number if np.isfinite(number) else 0.0 for number in (low * scale, high * scale))
    first = min(max(int(np.floor(low)), 0), count - 1)
    return slice(first, max(first + 1, min(int(np.ceil(high)), count)))


@lru_cache(maxsize=4)
def _projection(length: int, dim: int) -> Tensor:
    """Returns a matrix of shape (length, dim), that keeps lengths on average."""
    if length * dim > MAX_ELEMENTS:
        raise LogValueError(
            f"a projection of {length} numbers to {dim} takes {4 * length * dim >> 20} MiB", "Pool them instead."
        )
    generator = torch.Generator("cpu").manual_seed(_SEED)
    matrix: Tensor = torch.randn((length, dim), generator=generator, device="cpu")  # whatever device is the default
    return matrix / matrix.new_tensor(dim).sqrt()
