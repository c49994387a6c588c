"""A record in a few words: what a model told of an image, boxes and classes alike, who ran it, and when."""

import math
from typing import NamedTuple

from ml.core.errors import FormatError
from ml.predictions.layout import moment_of
from ml.predictions.logged import LoggedPrediction


class Result(NamedTuple):
    """A class that an image, or a box in it, was given.

    Attributes:
        class_name: ``""`` of a box without a class.
        confidence: Of the box, or the probability of the class; as it was logged, so perhaps no number in [0, 1].
    """

    class_name: str
    confidence: float


def results_of(prediction: LoggedPrediction) -> list[Result]:
    """Returns all classes of a classification, then the most probable class of each box, as they were logged."""
    boxes = zip(prediction.labels, prediction.scores.tolist(), strict=True)
    classes = ((one["class_name"], one["probability"]) for one in prediction.classification)
    return [Result(*one) for one in (*classes, *boxes)]


def ranked(results: list[Result]) -> list[Result]:
    """Returns results with the surest first, NaN last, and those that are as sure in their order."""
    return sorted(results, key=lambda one: math.inf if math.isnan(one.confidence) else -one.confidence)


def surest_of(prediction: LoggedPrediction) -> Result | None:
    """Returns the result that the model was surest of; ``None`` where there is none."""
    return next(iter(ranked(results_of(prediction))), None)


def size_of(prediction: LoggedPrediction) -> tuple[int, int] | None:
    """Returns height and width of the picture in pixels, also of one that was left out; ``None``: there is none."""
    try:
        shape = prediction.image_shape
    except FormatError:
        return None
    return None if shape is None else (shape[0], shape[1])


def time_text_of(prediction: LoggedPrediction) -> str:
    """Returns the time stamp of a record: ``2026-01-02 03:04:05.678``, in UTC."""
    return moment_of(prediction.timestamp).replace(tzinfo=None).isoformat(" ", timespec="milliseconds")


def device_text_of(prediction: LoggedPrediction) -> str:
    """Returns who ran the model: ``group/device``."""
    device = prediction.device_details
    return "/".join(filter(None, (device["group_name"], device["device_name"])))


def model_text_of(prediction: LoggedPrediction) -> str:
    """Returns what was run: its name and its version."""
    model = prediction.model
    return " ".join(filter(None, (model["name"], model["version"])))


def summary_of(prediction: LoggedPrediction, *, max_names: int = 3) -> str:
    """Returns in a few words what was predicted.

    ::

        cat                       the surest class of a classification
        3 person, 1 dog, 1 more   the boxes of a detection by class, the most frequent first

    Args:
        prediction: The record.
        max_names: Classes of boxes that are named.

    Returns:
        ``""`` where there is no result; ``"no boxes"`` where a detector found nothing.
    """
    if len(prediction.labels):
        counts: dict[str, int] = {}
        for label in prediction.labels:
            counts[label] = counts.get(label, 0) + 1
        by_count = sorted(counts.items(), key=lambda pair: -pair[1])
        named = [f"{count} {label or '(no class)'}" for label, count in by_count[:max_names]]
        rest = sum(count for _, count in by_count[max_names:])
        return ", ".join([*named, *([f"{rest} more"] if rest else [])])
    if prediction.classification:
        return ranked(results_of(prediction))[0].class_name
    return "no boxes" if prediction.model["type"] == "DETECTION" and not prediction.is_error else ""
