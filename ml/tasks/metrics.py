"""What a pass amounts to: confusion matrices, their picture, and embeddings that can be seen. Pure functions."""

import colorsys
from collections.abc import Sequence

import torch
from torch import Tensor

from ml.tasks.randomness import private_generator

_DARK_BLUE = (0.03, 0.19, 0.42)
_CONFUSION_SIDE_PX = 256


def confusion_matrix(guesses: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Counts guesses by target.

    Args:
        guesses: Shape (B,), classes in 0 ... K - 1.
        targets: Shape (B,), classes in 0 ... K - 1.
        num_classes: K.

    Returns:
        Shape (K, K), int64: how often row, the target, was taken for column, the guess.
    """
    return torch.bincount(targets * num_classes + guesses, minlength=num_classes**2).view(num_classes, num_classes)


def confusion_image(confusion: Tensor) -> Tensor:
    """Draws a confusion matrix: white is none, dark blue is all samples of the target.

    Args:
        confusion: Shape (K, K), counts.

    Returns:
        Shape (3, K * c, K * c), float32 in [0, 1], with cells of c = max(1, 256 // K) pixels; rows are
        targets, columns guesses, and the row of a class without samples is white.
    """
    share = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    dark = torch.tensor(_DARK_BLUE, device=confusion.device).view(3, 1, 1)
    cell_px = max(1, _CONFUSION_SIDE_PX // len(confusion))
    return (1 - share * (1 - dark)).repeat_interleave(cell_px, dim=1).repeat_interleave(cell_px, dim=2)


def describe_mistakes(confusion: Tensor, classes: Sequence[str], max_pairs: int = 5) -> str:
    """Names what is mistaken for what most often: ``"3 of 180 wrong: 8 as 1 (2), 3 as 5 (1)"``."""
    wrong = confusion - torch.diag(confusion.diagonal())
    counts = [
        (count, target, guess) for target, row in enumerate(wrong.tolist()) for guess, count in enumerate(row) if count
    ]
    worst = sorted(counts, key=lambda entry: (-entry[0], entry[1], entry[2]))[:max_pairs]
    pairs = ", ".join(f"{classes[target]} as {classes[guess]} ({count})" for count, target, guess in worst)
    summary = f"{int(wrong.sum())} of {int(confusion.sum())} wrong"
    return f"{summary}: {pairs}" if pairs else summary


def project(features: Tensor) -> Tensor:
    """Projects features to three dimensions in which nearby stays nearby, the same ones at every step.

    Args:
        features: Shape (B, D).

    Returns:
        Shape (B, 3), float32, around the origin with a standard deviation of about 1.
    """
    directions = torch.randn(features.shape[1], 3, generator=private_generator(features.shape[1])).to(features.device)
    points = (features.float() - features.float().mean(dim=0)) @ directions
    return points / points.square().mean().sqrt().clamp(min=1e-12)


def class_colors(num_classes: int) -> Tensor:
    """Gives every class a hue of its own: shape (K, 3), uint8 RGB."""
    palette = [colorsys.hsv_to_rgb(index / num_classes, 0.75, 0.9) for index in range(num_classes)]
    return (torch.tensor(palette) * 255).to(torch.uint8)
