"""What a model's output looks like where all is well: what drift is held against.

::

    epoch, baseline = make_baseline(traces, Selection("fcos", "v1", "val"))
    monitor = DriftMonitor(baseline, logger)

``Evaluator.request_evaluation("drift", name)`` keeps one as a result, and ``Evaluator.baseline(name)`` reads it. Each
detection is kept as the numbers of its bins, so that windows of any size can be drawn: 5,000 images with ten detections
each are half a megabyte of JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, FormatError
from ml.loggers.strict_json import Json, parsing, text
from ml.tracing.binning import QUANTITIES, BinNumbers, Bins, Seen, bins_of, seen_of
from ml.tracing.output import DetectionOutput
from ml.tracing.plain import count, listed, mapping, vector, whole
from ml.tracing.reading import Traces
from ml.tracing.sampling import Sample
from ml.tracing.selection import Selection

FORMAT: Final = 1
METHOD: Final = "drift"

MAX_IMAGES: Final = 5000
"""Of more, so many are chosen at random."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """What is usual.

    Attributes:
        bins: Where they begin.
        images: Of each image, what is in them.
    """

    bins: Bins
    images: tuple[BinNumbers, ...]

    @property
    def task(self) -> str:
        """``"detection"`` or ``"classification"``."""
        return self.bins.task

    def to_json(self) -> dict[str, Json]:
        """Returns this as plain numbers."""
        return {
            "format": FORMAT,
            "task": self.task,
            "labels": self.bins.labels.tolist(),
            "edges": {name: edges.tolist() for name, edges in self.bins.edges.items()},
            "images": [numbers.reshape(-1).tolist() for numbers in self.images],
        }


def make_baseline(traces: Traces, selection: Selection) -> tuple[int | None, Baseline]:
    """Returns of which epoch the chosen inferences are, ``None`` if all were asked for, and what is usual of them.

    Args:
        traces: Where they are.
        selection: Which; their truth need not be known.

    Raises:
        ConfigError: There are none, or a database cannot be read.
        FormatError: One is damaged.
    """
    sample, tasks, epochs = Sample[Seen](MAX_IMAGES), set[str](), set[int]()
    for traced in traces.read(selection):
        output = traced.inference.output
        tasks.add("detection" if isinstance(output, DetectionOutput) else "classification")
        epochs.add(traced.inference.epoch)
        sample.add(traced.id, seen_of(output))
    if len(tasks) != 1:
        raise ConfigError(
            f"A baseline needs inferences of one task, and there are {'none' if not tasks else 'several'} of "
            f"{selection.model_name} {selection.version_name} with the dataset type {selection.dataset_type!r:.80}."
        )
    return None if selection.n_epoch == "all" else epochs.pop(), baseline_of(sample.items(), tasks.pop())


def baseline_of(images: Sequence[Seen], task: str) -> Baseline:
    """Returns what is usual, by what was seen of some images; at least one."""
    bins = bins_of(images, task)
    return Baseline(bins, tuple(bins.numbers_of(seen) for seen in images))


def baseline_from(data: Json) -> Baseline:
    """Returns the baseline that ``to_json`` gave.

    Raises:
        FormatError: It is damaged, or newer software made it.
    """
    with parsing("no baseline"):
        read = mapping(data)
        if read["format"] != FORMAT:
            raise FormatError(f"a baseline of format {read['format']!r:.40}, and this software knows {FORMAT}")
        task, edges = text(read["task"]), mapping(read["edges"])
        if task not in QUANTITIES:
            raise ValueError(f"no task: {task!r:.40}")
        labels = np.array([whole(label) for label in listed(read["labels"])], np.int64)
        bounds = {name: vector(edges[name]) for name in ("score", "size", "count")}
        if any((np.diff(values) <= 0).any() for values in (labels, *bounds.values())):
            raise ValueError("labels and edges ascend")
        limits = np.array([len(labels) + 1, len(bounds["score"]) + 1, len(bounds["size"]) + 1])
        images = tuple(_bins(image, limits) for image in listed(read["images"]))
        if not images:
            raise ValueError("a baseline has an image")
        return Baseline(Bins(task, labels, bounds), images)


def _bins(image: Json, limits: npt.NDArray[np.int64]) -> BinNumbers:
    bins = np.array([count(number) for number in listed(image)], np.int64).reshape(-1, 3)
    if (bins >= limits).any():
        raise ValueError("there is no such bin")
    return bins
