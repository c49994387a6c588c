"""The parts of a record as plain data: what ``LoggedPrediction`` gives to its readers."""

import math
from collections.abc import Iterable
from typing import Protocol, TypedDict, TypeVar

from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.messages import ClassMessage


class ModelDict(TypedDict):
    """What was run; ``type`` is a name of ``VisionModelType``, or the number of one that is not known."""

    type: str
    name: str
    version: str


class StatsDict(TypedDict):
    """How the run went; latencies are in ms, ``None`` where there is none."""

    latency: int | None
    latency_ms: float | None
    inference_device: str
    error_message: str


class DeviceDict(TypedDict):
    """Who ran the model."""

    device_name: str
    group_name: str


class ClassDict(TypedDict):
    """A class, and how probable it is."""

    class_name: str
    probability: float


class BoxDict(TypedDict):
    """A box, in pixels, from its top left corner."""

    x: float
    y: float
    width: float
    height: float
    confidence: float
    classification: list[ClassDict]


class _Probable(Protocol):
    @property
    def class_name(self) -> str: ...
    @property
    def probability(self) -> float: ...


ProbableT = TypeVar("ProbableT", bound=_Probable)


def class_dicts(classes: Iterable[ClassMessage]) -> list[ClassDict]:
    """Returns classes in their order."""
    return [{"class_name": one.class_name, "probability": one.probability} for one in classes]


def most_probable(classes: Iterable[ProbableT]) -> ProbableT | None:
    """Returns the class that is most probable, the first of equals, NaN last; ``None`` where there is none."""
    return max(classes, key=lambda one: -math.inf if math.isnan(one.probability) else one.probability, default=None)


def kind_name(kinds: type[VisionModelType] | type[InferenceDevice], number: int) -> str:
    """Returns the name of a kind, or the number of one that is not known."""
    return kinds(number).name if number in kinds.__members__.values() else str(number)
