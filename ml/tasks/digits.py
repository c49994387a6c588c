"""Handwritten digits: the 1,797 images that come with scikit-learn, so there is nothing to download."""

import importlib.util
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from ml.core.errors import ConfigError
from ml.core.registry import register_task
from ml.core.state import Phase, State
from ml.tasks.base import Batch
from ml.tasks.classification import ClassificationTask
from ml.tasks.config import DigitsConfig
from ml.tasks.randomness import private_generator


@register_task("digits", DigitsConfig)
class DigitsTask(ClassificationTask[DigitsConfig]):
    """Which digit is written: images of shape (1, 8, 8) with values in [0, 1], classes 0 ... 9.

    The split depends on the seed alone, so validation and test images are never trained on, in no run.
    """

    classes = tuple("0123456789")

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__(config)
        images, digits = _load()
        held_out = config.num_valid + config.num_test
        if min(config.num_valid, config.num_test) < 1 or held_out >= len(images):
            raise ConfigError(
                f"num_valid={config.num_valid} and num_test={config.num_test} must be at least 1 "
                f"and leave some of the {len(images)} images for training."
            )
        order = torch.randperm(len(images), generator=private_generator(config.seed))
        splits: dict[Phase, Tensor] = {
            "valid": order[: config.num_valid],
            "test": order[config.num_valid : held_out],
            "train": order[held_out:],
        }
        self._datasets = {phase: TensorDataset(images[index], digits[index]) for phase, index in splits.items()}

    def dataset(self, phase: Phase) -> Dataset[tuple[Tensor, Tensor]]:
        """Returns the samples of a phase: an image, shape (1, 8, 8), float32, and a digit, shape (), int64."""
        return cast(Dataset[tuple[Tensor, Tensor]], self._datasets[phase])

    def augment(self, batch: Batch, state: State) -> Batch:
        """Moves every image by a few pixels; what comes in at the border is background."""
        generator = private_generator(self.config.seed, state.num_steps)
        return Batch(shift(batch.inputs, self.config.max_shift_px, generator), batch.targets)


def shift(images: Tensor, max_shift_px: int, generator: torch.Generator) -> Tensor:
    """Moves every image by its own number of pixels, drawn from -max_shift_px ... max_shift_px in each direction.

    Args:
        images: Shape (B, C, H, W).
        max_shift_px: >= 0.
        generator: What the shifts are drawn from, on the CPU.

    Returns:
        Shape (B, C, H, W), same dtype; zeros come in at the border.
    """
    batch, _, height, width = images.shape
    padded = functional.pad(images, (max_shift_px,) * 4)
    offsets = torch.randint(2 * max_shift_px + 1, (2, batch), generator=generator).to(images.device)
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = offsets[1, :, None] + torch.arange(width, device=images.device)
    samples = torch.arange(batch, device=images.device)
    # Advanced indices beside a slice put the channels last.
    return padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def _load() -> tuple[Tensor, Tensor]:
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("The task 'digits' needs scikit-learn: install the extra 'demo'.")
    # The file that its load_digits reads: to import that takes longer than to import torch.
    file = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(file, delimiter=",", dtype=np.int64)  # of each the pixels, from 0 to 16, and the digit
    images = torch.tensor(rows[:, :-1], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return images, torch.tensor(rows[:, -1])
