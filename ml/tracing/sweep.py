"""What other score thresholds would show: found out of the candidates that were kept, without asking the model again.

Greedy suppression and greedy matching both go from the surest candidate down. What is below a threshold never changes
what is above it, so both are done once, with all candidates, and every threshold is a cut through what comes out::

    precision(t) = found above t / shown above t        recall(t) = found above t / truths

Scores are counted in hundredths. What was suppressed then, at the IoU with which the model ran, is suppressed now.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ml.detection.boxes import Detections
from ml.detection.matching import match
from ml.detection.nms import nms
from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
from ml.tracing.record import Truth
from ml.tracing.summary import answered

BINS: Final = 100

_NEAR = 5  # bins

Histogram = npt.NDArray[np.int64]


class Cut(NamedTuple):
    """What a threshold would show.

    Attributes:
        threshold: What is shown has this score or a higher one.
        shown_per_image: How many on average.
        precision: The part of what is shown that finds a truth; NaN where nothing is shown or no truth is known.
        recall: The part of the truths that are found; NaN where there are none.
    """

    threshold: float
    shown_per_image: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, eq=False)
class Swept:
    """What came out. Histograms have shape (BINS,), by score.

    Attributes:
        num_images: How many were looked at.
        num_labelled: Of those, whose truth is known.
        num_truths: How many there are to find.
        iou_thresh: Above which the model suppressed, in the last image; ``None``: it did not.
        lowest_shown: The lowest score that was shown; ``None``: nothing was.
        floor: Below it not all candidates of each image were kept.
        candidates: All that were kept.
        surviving: Those that nothing surer suppresses.
        near: How many of these, an image, were not shown, and miss ``lowest_shown`` by 0.05 at most.
        labelled: Those of ``surviving`` on images whose truth is known.
        found: Those of ``labelled`` that find a truth.
        now: What was shown, and what of it finds a truth, on images whose truth is known.
    """

    num_images: int
    num_labelled: int
    num_truths: int
    iou_thresh: float | None
    lowest_shown: float | None
    floor: float
    candidates: Histogram
    surviving: Histogram
    near: float
    labelled: Histogram
    found: Histogram
    now: tuple[int, int]

    def cut(self, place: int) -> Cut:
        """Returns what the threshold ``place / BINS`` would show."""
        shown, found = int(self.labelled[place:].sum()), int(self.found[place:].sum())
        return Cut(
            place / BINS,
            float(self.surviving[place:].sum()) / max(self.num_images, 1),
            found / shown if shown else np.nan,
            found / self.num_truths if self.num_truths else np.nan,
        )

    @property
    def first_place(self) -> int:
        """The first ``place`` of a cut through candidates that were all kept."""
        return max(1, math.ceil(self.floor * BINS))

    def as_shown(self) -> Cut | None:
        """Returns what was shown as a cut; ``None``: no truth is known."""
        shown, found = self.now
        if not self.num_labelled or self.lowest_shown is None:
            return None
        precision = found / shown if shown else np.nan
        recall = found / self.num_truths if self.num_truths else np.nan
        return Cut(self.lowest_shown, shown / self.num_labelled, precision, recall)


class Sweep:
    """Takes what a model said of images, one after the other.

    Args:
        foreground_iou: From which on a detection finds a truth.
    """

    def __init__(self, foreground_iou: float = 0.5) -> None:
        self._foreground_iou = foreground_iou
        self._iou_thresh: float | None = None
        self._images = self._labelled = self._truths = 0
        self._histograms = np.zeros((5, BINS), np.int64)  # candidates, surviving, not shown, labelled, found
        self._lowest, self._floor, self._now = np.inf, 0.0, np.zeros(2, np.int64)

    def add(
        self,
        output: DetectionOutput | ClassificationOutput,
        truth: Truth | int | None,
        num_candidates: int,
        setting: NmsConfig,
    ) -> None:
        """Takes what a model said of an image.

        Args:
            output: What is visible is decided.
            truth: ``None``: it is not known.
            num_candidates: How many candidates there were before some were left out.
            setting: With what a detector ran.
        """
        if isinstance(output, ClassificationOutput):
            self._add_answer(output, truth)
            return
        if num_candidates > len(output) > 0:
            self._floor = max(self._floor, float(np.nan_to_num(output.scores).min()))
        self._iou_thresh = setting.iou_thresh
        self._add(output, truth if isinstance(truth, Truth) else None)

    def swept(self) -> Swept:
        """Returns what came out of all that was added."""
        candidates, surviving, hidden, labelled, found = self._histograms.copy()
        lowest = None if np.isinf(self._lowest) else float(self._lowest)
        place = 0 if lowest is None else int(_bins(np.array([lowest]))[0])
        return Swept(
            num_images=self._images,
            num_labelled=self._labelled,
            num_truths=self._truths,
            iou_thresh=self._iou_thresh,
            lowest_shown=lowest,
            floor=self._floor,
            candidates=candidates,
            surviving=surviving,
            near=0.0 if lowest is None else float(hidden[max(place - _NEAR, 0) : place + 1].sum()) / self._images,
            labelled=labelled,
            found=found,
            now=(int(self._now[0]), int(self._now[1])),
        )

    def _add(self, output: DetectionOutput, truth: Truth | None) -> None:
        assert output.visible is not None, "it was decided"
        bins = _bins(output.scores)
        is_surviving = output.visible | (bins > 0)
        if self._iou_thresh is not None:
            sure = np.flatnonzero(bins > 0)  # below, there may be very many
            kept = nms(output.boxes[sure], output.scores[sure], output.labels[sure], iou_threshold=self._iou_thresh)
            is_surviving = output.visible.copy()
            is_surviving[sure[kept]] = True
        self._count(0, bins)
        self._count(1, bins[is_surviving])
        self._count(2, bins[is_surviving & ~output.visible])
        self._images += 1
        if output.visible.any():
            self._lowest = min(self._lowest, float(np.nan_to_num(output.scores[output.visible]).min()))
        if truth is None:
            return
        self._labelled, self._truths = self._labelled + 1, self._truths + len(truth.labels)
        self._count(3, bins[is_surviving])
        survivors, shown = output.chosen(np.flatnonzero(is_surviving)), output.shown()
        self._count(4, _bins(survivors.scores)[self._finding(survivors, truth)])
        self._now += len(shown), len(self._finding(shown, truth))

    def _finding(self, output: DetectionOutput, truth: Truth) -> npt.NDArray[np.int64]:
        detections = Detections(output.boxes, output.labels, output.scores)
        taken: npt.NDArray[np.int64] = match(detections, truth, iou_threshold=self._foreground_iou).pairs[:, 0]
        return taken

    def _add_answer(self, output: ClassificationOutput, truth: Truth | int | None) -> None:
        labels, scores = answered(output)
        bins = _bins(scores)
        for row in (0, 1):
            self._count(row, bins)
        self._images += 1
        self._lowest = min(self._lowest, float(np.nan_to_num(scores).min()))
        if isinstance(truth, int):
            is_right = labels == truth
            self._labelled, self._truths = self._labelled + 1, self._truths + 1
            self._count(3, bins)
            self._count(4, bins[is_right])
            self._now += 1, int(is_right.sum())

    def _count(self, row: int, bins: npt.NDArray[np.int64]) -> None:
        self._histograms[row] += np.bincount(bins, minlength=BINS)


def _bins(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    return np.clip(np.nan_to_num(scores.astype(np.float64)) * BINS + 1e-9, 0, BINS - 1).astype(np.int64)
