"""What an estimator of errors is learnt from: images whose truth is known, parted into those for this and for that.

The images are parted at random, by a generator of its own: three of five to learn from, one to calibrate with, one to
say how good the estimate is. All detections of an image are in the same part, those of all its epochs, too.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml.tracing.evidence import Rows, evidence_of
from ml.tracing.judging import Judgement
from ml.tracing.reading import Traced
from ml.tracing.record import FeatureArray


class Example(NamedTuple):
    """What is kept of an image to learn from.

    Attributes:
        evidence: Shape (V, E).
        features: By alias.
        is_wrong: Shape (V,).
    """

    evidence: Rows
    features: Mapping[str, FeatureArray]
    is_wrong: npt.NDArray[np.bool_]


class Parts(NamedTuple):
    """Which images are for what: shape (N,) each."""

    to_learn: npt.NDArray[np.int64]
    to_calibrate: npt.NDArray[np.int64]
    to_test: npt.NDArray[np.int64]


def example_of(traced: Traced, judgement: Judgement) -> Example:
    """Returns what can be learnt from an inference that was judged."""
    inference = traced.inference
    return Example(evidence_of(inference.output), inference.features, judgement.is_wrong)


def parts_of(count: int, seed: int) -> Parts:
    """Returns which of ``count`` images are for what."""
    order = np.random.default_rng(seed).permutation(count)
    learn, test = round(count * 0.6), round(count * 0.8)
    return Parts(order[:learn], order[learn:test], order[test:])


def parts_by_image(names: Sequence[str], seed: int) -> Parts:
    """Returns which of some inferences are for what: those of one image, in several epochs, are in the same part.

    Args:
        names: The input id of each, shape (N,).
        seed: As of ``parts_of``.
    """
    images, image_of = np.unique(np.array(names, object), return_inverse=True)
    parts = parts_of(len(images), seed)
    return Parts(*(np.flatnonzero(np.isin(image_of, part)) for part in parts))


def lacking(examples: Sequence[Example], parts: Parts) -> str | None:
    """Returns why nothing can be learnt from images; ``None``: something can."""
    for purpose, part in (("learn from", parts.to_learn), ("calibrate with", parts.to_calibrate)):
        is_wrong = errors_of(examples, part)
        if not is_wrong.any() or is_wrong.all():
            kind = "right" if len(is_wrong) and is_wrong.all() else "wrong"
            return f"no detection is {kind} on the {len(part)} images to {purpose}"
    return None


def errors_of(examples: Sequence[Example], part: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Returns which detections of some images are wrong, shape (detections,)."""
    return np.concatenate([np.zeros(0, bool), *(examples[index].is_wrong for index in part)])
