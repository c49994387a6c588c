"""One traced inference of one input, from the call to the database and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ml.loggers.strict_json import Json
from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig

FieldValue: TypeAlias = str | int | float | bool | Json
FeatureArray: TypeAlias = npt.NDArray[np.float16] | npt.NDArray[np.float32]


class Truth(NamedTuple):
    """What is on one image, as its labels say: ``ml.detection.boxes.BoxesLike``.

    Attributes:
        xyxy: Shape (T, 4), float32, in pixels of the image.
        labels: Shape (T,), int64, numbered as the model's own output.
        fields: Of each box the values of ``additional_label_fields``, by name.
        scores: None: this is the truth.
    """

    xyxy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    fields: tuple[Mapping[str, FieldValue], ...] = ()
    scores: None = None


class Identity(NamedTuple):
    """Whose inferences these are.

    Attributes:
        model_name: Of the architecture; its hash is kept at first use and has to be the same later.
        version_name: Of the training: conditions, data.
        architecture: Hash of the model's structure, hexadecimal.
        task: ``"detection"`` or ``"classification"``.
        n_class: How many classes the model knows.
    """

    model_name: str
    version_name: str
    architecture: str
    task: str
    n_class: int


@dataclass(frozen=True, eq=False)
class Inference:
    """What is kept of one inference.

    ``(run, dataset_type, epoch, input_id)`` tells it from all others: one that comes again replaces the one before.

    Attributes:
        input_id: Of the input: what the user calls it, or the hash of its content.
        dataset_type: ``"train"``, ``"val"``, ``"test"``, ``"deploying"`` or what the user calls it.
        epoch: How many epochs the model had been trained for.
        step: The number of the call in this process, from 1; inputs of one call share it.
        time_s: Unix seconds, when the call began.
        latency_s: Seconds of the model's own call, divided by its inputs.
        output: What the model said; of a detector at most so many candidates as the tracer keeps, all visible ones
            among them, by descending score.
        num_candidates: How many candidates there were before that cut.
        truth: What is on the image, or which class it has; ``None``: not known.
        features: What the chosen layers gave, reduced, by alias.
        fields: Values of ``additional_fields``, by name.
        picture: A small PNG of the input; ``None``: none is kept.
        error_probability: How likely each visible detection is wrong, by descending score, shape (V,), or that the
            class is wrong, shape (1,); ``None``: there is no estimator.
        setting: With what a detector ran.
    """

    input_id: str
    dataset_type: str
    epoch: int
    step: int
    time_s: float
    latency_s: float
    output: DetectionOutput | ClassificationOutput
    num_candidates: int = 0
    truth: Truth | int | None = None
    features: Mapping[str, FeatureArray] = field(default_factory=dict)
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    picture: bytes | None = None
    error_probability: npt.NDArray[np.float32] | None = None
    setting: NmsConfig = field(default_factory=NmsConfig)
