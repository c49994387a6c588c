"""Configurations of tasks. Without torch, so that composing a configuration stays quick."""

from dataclasses import dataclass

from ml.core.config import BaseConfig


@dataclass
class BaseTaskConfig(BaseConfig):
    """The configuration of a task.

    Attributes:
        seed: Of what the task draws: its split and its augmentation.
    """

    seed: int = 0


@dataclass
class ClassificationConfig(BaseTaskConfig):
    """Telling classes apart.

    Attributes:
        label_smoothing: Share of the target that is spread over all classes in training, in [0, 1).
        num_logged_images: Images of a batch that are logged with target and guess, >= 0.
    """

    label_smoothing: float = 0.0
    num_logged_images: int = 25


@dataclass
class DigitsConfig(ClassificationConfig):
    """Handwritten digits: 1,797 images of 8 x 8 pixels that come with scikit-learn.

    Attributes:
        num_valid: Images that are held out for validation.
        num_test: Images that are held out for the test.
        max_shift_px: Training images are moved by up to so many pixels, each way, >= 0.
    """

    num_valid: int = 180
    num_test: int = 360
    max_shift_px: int = 1
