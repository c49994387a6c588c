"""Whether estimated probabilities of errors are true: of those about as high, so many are wrong."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BINS: Final = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities in bins of equal width; each has shape (BINS,).

    Attributes:
        counts: How many there are.
        labelled: Those of detections of which is known whether they are wrong.
        probabilities: The sum of these.
        wrong: How many of these are wrong.
        total: The sum of all: how many errors are expected.
    """

    counts: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.int64]
    total: float

    @property
    def num_estimated(self) -> int:
        """How many were estimated."""
        return int(self.counts.sum())

    @property
    def num_labelled(self) -> int:
        """Of how many is known whether they are wrong."""
        return int(self.labelled.sum())

    @property
    def calibration_error(self) -> float | None:
        """The expected calibration error (Naeini et al. 2015); ``None``: nothing is known."""
        if not self.num_labelled:
            return None
        return float(np.abs(self.probabilities - self.wrong).sum() / self.num_labelled)


class ReliabilityTally:
    """Counts probabilities."""

    def __init__(self) -> None:
        self._counts, self._labelled, self._wrong = (np.zeros(BINS, np.int64) for _ in range(3))
        self._probabilities, self._total = np.zeros(BINS), 0.0

    def add(self, probabilities: npt.NDArray[np.floating], is_wrong: npt.NDArray[np.bool_] | None) -> None:
        """Counts those of an image.

        Args:
            probabilities: Shape (V,), in [0, 1]; a NaN is none.
            is_wrong: Shape (V,); ``None``: nobody knows.
        """
        is_there = np.isfinite(probabilities)
        there = probabilities[is_there].astype(np.float64)
        bins = np.clip(there * BINS, 0, BINS - 1).astype(np.int64)
        self._counts += np.bincount(bins, minlength=BINS)
        self._total += float(there.sum())
        if is_wrong is not None:
            self._labelled += np.bincount(bins, minlength=BINS)
            self._probabilities += np.bincount(bins, weights=there, minlength=BINS)
            self._wrong += np.bincount(bins[is_wrong[is_there]], minlength=BINS)

    def reliability(self) -> Reliability:
        """Returns what was counted."""
        return Reliability(
            self._counts.copy(), self._labelled.copy(), self._probabilities.copy(), self._wrong.copy(), self._total
        )
