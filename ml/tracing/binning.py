"""What is looked at of a model's output, in bins: the classes, scores and sizes of its detections, and how many.

The bins of a number are quantiles of what was seen where all was well, so that each of them has about as much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.plain import Vector
from ml.tracing.summary import answered

QUANTITIES: Final = {"detection": ("class", "score", "size", "count"), "classification": ("class", "score")}
"""What is looked at, by task. ``size`` is the square root of a box's share of its image."""

_BINS = 100

BinNumbers = npt.NDArray[np.int64]
"""Of an image the bins of its detections, shape (V, 3): class, score, size."""

Counts = npt.NDArray[np.float32]


class Seen(NamedTuple):
    """What is looked at of an image; each has shape (V,)."""

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.float32]


def seen_of(output: DetectionOutput | ClassificationOutput) -> Seen:
    """Returns what is looked at of what a model said of an image."""
    if isinstance(output, ClassificationOutput):
        return Seen(*answered(output), np.zeros(1, np.float32))
    shown = output.shown()
    with np.errstate(all="ignore"):
        sides = np.maximum(shown.boxes[:, 2:] - shown.boxes[:, :2], 0.0)
        sizes = np.sqrt(sides.prod(axis=1) / max(output.image_size[0] * output.image_size[1], 1))
    return Seen(shown.labels, np.nan_to_num(shown.scores), np.nan_to_num(sizes))


@dataclass(frozen=True, eq=False)
class Bins:
    """Where bins begin.

    Attributes:
        task: ``"detection"`` or ``"classification"``.
        labels: Shape (C,): the classes that were seen, ascending; others share the bin behind them.
        edges: Of ``score``, ``size`` and ``count`` where each bin but the first begins, ascending.
    """

    task: str
    labels: npt.NDArray[np.int64]
    edges: Mapping[str, Vector]

    def num_bins(self, quantity: str) -> int:
        """Returns how many bins there are of ``"class"``, ``"score"``, ``"size"`` or ``"count"``."""
        return len(self.labels) + 1 if quantity == "class" else len(self.edges[quantity]) + 1

    def numbers_of(self, seen: Seen) -> BinNumbers:
        """Returns the bins of an image's detections."""
        at = np.searchsorted(self.labels, seen.labels)
        classes = np.where(np.append(self.labels, 0)[at] == seen.labels, at, len(self.labels))
        scores, sizes = _bin(self.edges["score"], seen.scores), _bin(self.edges["size"], seen.sizes)
        return np.stack([classes, scores, sizes], axis=1).astype(np.int64)

    def counts_of(self, images: Sequence[BinNumbers]) -> dict[str, Counts]:
        """Returns how many are in each bin: of each quantity that is looked at, shape (len(images), bins)."""
        lengths = [len(bins) for bins in images]
        owners = np.repeat(np.arange(len(images)), lengths)
        stacked = np.concatenate([np.zeros((0, 3), np.int64), *images])
        columns = dict(zip(("class", "score", "size"), stacked.T, strict=True))
        found = {}
        for quantity in QUANTITIES[self.task]:
            number = self.num_bins(quantity)
            if quantity == "count":
                rows, bins = np.arange(len(images)), _bin(self.edges["count"], np.array(lengths))
            else:
                rows, bins = owners, columns[quantity]
            flat = np.bincount(rows * number + bins, minlength=len(images) * number)
            found[quantity] = flat.reshape(len(images), number).astype(np.float32)
        return found


def bins_of(images: Sequence[Seen], task: str) -> Bins:
    """Returns bins, by what was seen of some images; at least one."""
    together = Seen(*(np.concatenate(columns) for columns in zip(*images, strict=True)))
    edges = {
        "score": _edges(together.scores),
        "size": _edges(together.sizes),
        "count": _edges(np.array([len(seen.labels) for seen in images])),
    }
    return Bins(task, np.unique(together.labels), edges)


def _edges(values: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Vector:
    if not len(values):
        return np.zeros(0)
    shares = np.arange(1, _BINS) / _BINS
    return np.unique(np.quantile(values.astype(np.float64), shares, method="inverted_cdf"))


def _bin(edges: Vector, values: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    return np.searchsorted(edges, values.astype(np.float64), side="right")
