"""What a model's output looks like where all is well: what drift is held against.

::

    epoch, baseline = make_baseline(traces, Selection("fcos", "v1", "val"))
    monitor = DriftMonitor(baseline, logger)

``Evaluator.request_evaluation("drift", name)`` keeps one as a result, and ``Evaluator.baseline(name)`` reads it. Each
detection is kept as the numbers of its bins, so that windows of any size can be drawn: 5,000 images with ten detections
each are half a megabyte of JSON.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, FormatError
from ml.loggers.strict_json import Json, parsing, text
from ml.tracing.binning import QUANTITIES, BinNumbers, Bins, Seen, bins_of, seen_of
from ml.tracing.overview import dataset_types_text
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
        ConfigError: There is no such version, there are none of it, or a database cannot be read.
        FormatError: One is damaged.
    """
    sample, tasks, epochs = Sample[Seen](MAX_IMAGES), set[str](), set[int]()
    for traced in traces.read(selection):
        output = traced.inference.output
        tasks.add(output.task)
        epochs.add(traced.inference.epoch)
        sample.add(traced.id, seen_of(output))
    if not tasks:
        raise ConfigError(
            f"There can be no baseline: of {selection.model_name} {selection.version_name} there are no inferences "
            f"with the dataset type {selection.dataset_type!r:.80} and n_epoch={selection.n_epoch!r}. "
            f"{dataset_types_text(traces.overview().of(selection))} Another dataset_type is an option."
        )
    task = the_task(tasks, selection)
    return None if selection.n_epoch == "all" else epochs.pop(), baseline_of(sample.items(), task)


def the_task(tasks: Collection[str], selection: Selection) -> str:
    """Returns the task of the chosen inferences, of which there is at least one.

    Raises:
        FormatError: There are several: no tracer writes that.
    """
    if len(tasks) > 1:
        raise FormatError(f"{selection.model_name} {selection.version_name} has inferences of several tasks")
    return next(iter(tasks))


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
