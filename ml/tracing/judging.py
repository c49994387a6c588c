"""What is wrong with each detection: the six types of error of TIDE, by which truth a detection overlaps and how much.

Detections take truths of their own class as COCO has it (``ml.detection.matching``), the surest first, where the IoU
is at least 0.5, the foreground threshold; who takes one is *correct*. Of a detection that took none, with *own* the
highest IoU with a truth of its class and *other* that with a truth of another class, the first of these that holds is
its type::

    localisation     0.1 <= own < 0.5      the right class, and not the right place
    classification   other >= 0.5          the right place, and another class
    duplicate        own >= 0.5            a surer one has taken that truth
    background       own, other < 0.1      there is nothing
    both             what is left: own < 0.1 <= other < 0.5

A truth that nobody took, and that no error of localisation or classification is nearest to, is *missed*. The order, and
that "both" covers no truth, are those of TIDE (Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object
Detection Errors", section 2.2); an IoU that equals a threshold is above it here, where TIDE leaves it to two types. A
box that is empty or holds a NaN overlaps nothing. A classifier's answer is correct, or an error of classification.

The vocabulary of older tools, in which ``CLS{t}->{y}`` says that truth ``t`` was called ``y``, reads here so:

    Aligned, CLS{t}->{t}      correct
    Aligned, CLS{t}->{y}      classification
    Matched, CLS{t}->{t}      localisation
    Matched, CLS{t}->{y}      both
    Separated Preds           localisation of each part, as long as none of them reaches 0.5
    Separated GTs             localisation, or correct; of the truths in one box those not nearest to it are missed
    Duplicate                 duplicate
    Overlap-No-pair           localisation of the own class, both of another
    No pair                   background
    Undefined                 background: the box is none
    NP, an unmatched truth    missed, unless it is covered by an error of localisation or classification
    CLS{t}->{y}               of a classifier: correct where y is t, else classification
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, LogValueError
from ml.detection.boxes import Detections
from ml.detection.iou import iou
from ml.detection.matching import match
from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.reading import Traced
from ml.tracing.record import Truth

Verdict = Literal["correct", "classification", "localisation", "both", "duplicate", "background"]

VERDICTS: Final[tuple[Verdict, ...]] = (
    "correct",
    "classification",
    "localisation",
    "both",
    "duplicate",
    "background",
)
MISSED: Final = "missed"

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "detection": (*VERDICTS, MISSED),
    "classification": ("correct", "classification"),
}
"""What there is to count, by task."""

_COVERING: Final = ("classification", "localisation")


class Thresholds(NamedTuple):
    """From which IoU on a detection is on a truth, and below which it is on none.

    Attributes:
        foreground: In (0, 1].
        background: Above 0, and below ``foreground``.
    """

    foreground: float = 0.5
    background: float = 0.1

    def checked(self) -> "Thresholds":
        """Returns this.

        Raises:
            ConfigError: A number is out of its range.
        """
        if not 0 < self.background < self.foreground <= 1:
            raise ConfigError(
                "An IoU of the background is above 0 and below that of the foreground, which is at most 1; got "
                f"{self.background!r} and {self.foreground!r}."
            )
        return self


class Judgement(NamedTuple):
    """What is wrong with the detections of an image.

    Attributes:
        verdicts: Of each visible detection, by descending score; a classifier has one.
        truths: Shape (V,): the truth that each took, or by which it is judged; -1 for the background.
        ious: Shape (V,), in [0, 1]: with that truth; with the nearest one for the background. 1 for a classifier.
        missed: Shape (M,): truths that were missed, ascending.
        covered: Shape (K,): truths that nobody took, but that an error is nearest to, ascending.
    """

    verdicts: tuple[Verdict, ...]
    truths: npt.NDArray[np.int64]
    ious: npt.NDArray[np.float64]
    missed: npt.NDArray[np.int64]
    covered: npt.NDArray[np.int64]

    @property
    def is_wrong(self) -> npt.NDArray[np.bool_]:
        """Which of the visible detections are wrong, shape (V,)."""
        return np.array([verdict != "correct" for verdict in self.verdicts], bool)


def judge(traced: Traced, thresholds: Thresholds | None = None) -> Judgement:
    """Returns what is wrong with an inference whose truth is known.

    Args:
        traced: Of a detector, or of a classifier.
        thresholds: Of the IoU; ``None``: 0.5 and 0.1.

    Raises:
        LogValueError: Its truth is not known, or that of another task.
    """
    output, truth = traced.inference.output, traced.inference.truth
    if isinstance(output, DetectionOutput) and isinstance(truth, Truth):
        return judge_detections(output, truth, thresholds or Thresholds())
    if isinstance(output, ClassificationOutput) and isinstance(truth, int):
        is_right = int(output.logits.argmax()) == truth
        none = np.zeros(0, np.int64)
        return Judgement(("correct" if is_right else "classification",), np.zeros(1, np.int64), np.ones(1), none, none)
    raise LogValueError(
        f"the truth of the inference {traced.id} is {'not known' if truth is None else 'that of another task'}",
        "Only what was traced with its ground truth can be judged.",
    )


def judge_detections(output: DetectionOutput, truth: Truth, thresholds: Thresholds) -> Judgement:
    """Returns what is wrong with the visible detections of an image.

    Args:
        output: What is visible is decided.
        truth: What is on the image.
        thresholds: Of the IoU.
    """
    shown = output.shown()
    found = match(Detections(shown.boxes, shown.labels, shown.scores), truth, iou_threshold=thresholds.foreground)
    overlaps = iou(shown.boxes, truth.xyxy)
    is_own = shown.labels[:, None] == truth.labels[None, :]
    own, nearest_own = _highest(np.where(is_own, overlaps, 0.0))
    other, nearest_other = _highest(np.where(is_own, 0.0, overlaps))
    low, high = thresholds.background, thresholds.foreground
    conditions: dict[Verdict, npt.NDArray[np.bool_]] = {
        "localisation": (low <= own) & (own < high),
        "classification": other >= high,
        "duplicate": own >= high,
        "background": (own < low) & (other < low),
    }
    verdicts = np.select(list(conditions.values()), list(conditions), "both").astype(object)
    by_own = np.isin(verdicts, ("localisation", "duplicate"))
    judged_by, ious = np.where(by_own, nearest_own, nearest_other), np.where(by_own, own, other)
    is_nowhere = verdicts == "background"
    judged_by[is_nowhere], ious[is_nowhere] = -1, np.maximum(own, other)[is_nowhere]
    takers, taken = found.pairs.T
    verdicts[takers], judged_by[takers], ious[takers] = "correct", taken, found.ious
    covered = np.intersect1d(found.unmatched_truth, judged_by[np.isin(verdicts, _COVERING)])
    missed = np.setdiff1d(found.unmatched_truth, covered)
    return Judgement(tuple(verdicts.tolist()), judged_by, ious, missed, covered)


def _highest(overlaps: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Returns of each row the highest number and where it is, the first of equal ones; 0 and -1 where there is none."""
    if not overlaps.shape[1]:
        return np.zeros(len(overlaps)), np.full(len(overlaps), -1, np.int64)
    return overlaps.max(axis=1), overlaps.argmax(axis=1)
