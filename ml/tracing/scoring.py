"""How good an estimated probability is: whether it tells errors from what is right, and whether it is true."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.loggers.strict_json import Json
from ml.tracing.plain import count, listed, mapping, real

_BINS = 10


@dataclass(frozen=True)
class Quality:
    """How good an estimate is on images that nothing was learnt from.

    Attributes:
        auroc: How likely a wrong detection has a higher probability than a right one; ``None``: one kind is missing.
        calibration_error: How far the probability is from the share of wrong ones, on average.
        num_images: In all: to learn from, to calibrate with, to test on.
        num_detections: On the images to test on.
    """

    auroc: float | None
    calibration_error: float | None
    num_images: tuple[int, int, int]
    num_detections: int

    def to_json(self) -> dict[str, Json]:
        """Returns this as plain numbers."""
        return {
            "auroc": self.auroc,
            "calibration_error": self.calibration_error,
            "num_images": list(self.num_images),
            "num_detections": self.num_detections,
        }


def quality_of(data: Json) -> Quality:
    """Returns what ``to_json`` gave.

    Raises:
        LookupError, TypeError, ValueError: It is something else.
    """
    read = mapping(data)
    learnt, calibrated, tested = map(count, listed(read["num_images"]))
    return Quality(
        _real_or_none(read["auroc"]),
        _real_or_none(read["calibration_error"]),
        (learnt, calibrated, tested),
        count(read["num_detections"]),
    )


def auroc(is_wrong: npt.NDArray[np.bool_], probability: npt.NDArray[np.floating]) -> float | None:
    """Returns how likely a wrong one has a higher probability than a right one; equal ones count half.

    Args:
        is_wrong: Shape (N,).
        probability: Shape (N,), finite.

    Returns:
        In [0, 1], the area under the ROC curve; ``None``: all are wrong, or none is.
    """
    wrong = int(is_wrong.sum())
    right = len(is_wrong) - wrong
    if not wrong or not right:
        return None
    _, where, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # from 1, the mean of equal ones
    return float((ranks[where][is_wrong].sum() - wrong * (wrong + 1) / 2) / (wrong * right))


def calibration_error(is_wrong: npt.NDArray[np.bool_], probability: npt.NDArray[np.floating]) -> float | None:
    """Returns the expected calibration error (Naeini et al. 2015), with ten bins of equal width.

    It is the distance between the mean probability in a bin and the share of wrong ones there, on average over all.

    Args:
        is_wrong: Shape (N,).
        probability: Shape (N,), in [0, 1].

    Returns:
        In [0, 1]; ``None``: there are none.
    """
    if not len(is_wrong):
        return None
    bins = np.clip((probability * _BINS).astype(np.int64), 0, _BINS - 1)
    excess = np.bincount(bins, weights=probability - is_wrong, minlength=_BINS)
    return float(np.abs(excess).sum() / len(is_wrong))


def _real_or_none(value: Json) -> float | None:
    return None if value is None else real(value)
