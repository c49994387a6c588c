"""How likely each detection is wrong, where nobody knows what is true: learnt where somebody did, applied by numpy.

::

    estimator = load_estimator(traces, selection, "fcos_v1_default_20260102")
    estimator.estimate(output, features)            # [0.03, 0.41, 0.97], as output.shown() has its detections

It is a logistic regression over what ``ml.tracing.evidence`` says, calibrated on images of its own (Platt 1999)::

    z = intercept + sum_i coefficients[i] * (x[i] - mean[i]) / scale[i]
    probability = 1 / (1 + exp(-(slope * z + offset)))

A result keeps it as plain numbers under ``estimator``. ``ml.tracing.fitting`` makes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError, FormatError, LogValueError
from ml.loggers.strict_json import Json, parsing, text
from ml.tracing.evidence import OF_CLASSIFICATION, OF_DETECTION, Rows, evidence_of
from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.plain import Vector, listed, mapping, real, vector
from ml.tracing.reading import Traces
from ml.tracing.record import FeatureArray
from ml.tracing.results import OfVersion
from ml.tracing.scoring import Quality, quality_of
from ml.tracing.selection import Epochs
from ml.tracing.used_features import UsedFeature, used_of

FORMAT: Final = 1
EVIDENCE: Final = {"detection": OF_DETECTION, "classification": OF_CLASSIFICATION}
"""The numbers that are looked at, by task."""


@dataclass(frozen=True, eq=False)
class ErrorEstimator:
    """Estimates errors; the top of the module has the formula.

    Attributes:
        task: ``"detection"`` or ``"classification"``.
        features: What of the features is looked at, behind the other evidence.
        mean: Shape (D,).
        scale: Shape (D,), above 0.
        coefficients: Shape (D,).
        intercept: Of the regression.
        slope: Of the calibration.
        offset: Of the calibration.
        quality: How good it is.
    """

    task: str
    features: tuple[UsedFeature, ...]
    mean: Vector
    scale: Vector
    coefficients: Vector
    intercept: float
    slope: float
    offset: float
    quality: Quality

    def estimate(
        self, output: DetectionOutput | ClassificationOutput, features: Mapping[str, FeatureArray]
    ) -> npt.NDArray[np.float32]:
        """Returns how likely what the model said of an input is wrong.

        Args:
            output: Of a detector: what is visible is decided.
            features: Of the chosen layers, by alias.

        Returns:
            In [0, 1]; of a detector shape (V,), by descending score, of a classifier (1,).

        Raises:
            LogValueError: It is an output of another task, or a feature is missing or has another shape.
        """
        task = output.task
        if task != self.task:
            raise LogValueError(f"errors of {self.task} are estimated, and this is {task}")
        return self.probabilities(self.rows(evidence_of(output), features)).astype(np.float32)

    def rows(self, evidence: Rows, features: Mapping[str, FeatureArray]) -> Rows:
        """Returns all that is looked at, shape (V, D).

        Args:
            evidence: Of ``evidence_of``.
            features: By alias.
        """
        return np.concatenate([evidence, *(used.columns(features, len(evidence)) for used in self.features)], axis=1)

    def probabilities(self, rows: Rows) -> Vector:
        """Returns the probability of each row, shape (V,): 0.5 where numbers are too large for any."""
        with np.errstate(all="ignore"):
            raw = ((rows - self.mean) / self.scale) @ self.coefficients + self.intercept
            probability = 1 / (1 + np.exp(-(self.slope * raw + self.offset)))
        return np.nan_to_num(probability, nan=0.5)

    def to_json(self) -> dict[str, Json]:
        """Returns this as plain numbers."""
        return {
            "format": FORMAT,
            "task": self.task,
            "evidence": list(EVIDENCE[self.task]),
            "features": [used.to_json() for used in self.features],
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
            "slope": self.slope,
            "offset": self.offset,
            "quality": self.quality.to_json(),
        }


def load_estimator(
    traces: Traces, of: OfVersion, result_name: str, n_epoch: Epochs = "latest"
) -> ErrorEstimator | None:
    """Returns the estimator that an evaluation left.

    Args:
        traces: Where the result is.
        of: The version.
        result_name: Of the evaluation.
        n_epoch: Which epoch is watched. A number has to be that of the evaluation.

    Returns:
        ``None``: there is no such result, or it has no estimator.

    Raises:
        ConfigError: The evaluation is one of another epoch, or a database cannot be read.
        FormatError: The result is damaged, or newer software made it.
    """
    result = traces.load_result(of, result_name)
    if result is None or not isinstance(result.data, dict) or result.data.get("estimator") is None:
        return None
    if isinstance(n_epoch, int) and result.epoch is not None and result.epoch != n_epoch:
        raise ConfigError(
            f"The evaluation {result_name!r} is one of epoch {result.epoch}, and the model is one of epoch {n_epoch}. "
            "Evaluate that epoch."
        )
    return estimator_of(result.data["estimator"])


def estimator_of(data: Json) -> ErrorEstimator:
    """Returns the estimator that ``to_json`` gave.

    Raises:
        FormatError: It is damaged, or newer software made it.
    """
    with parsing("no estimator of errors"):
        read = mapping(data)
        if read["format"] != FORMAT:
            raise FormatError(f"an estimator of format {read['format']!r:.40}, and this software knows {FORMAT}")
        task = text(read["task"])
        if read["evidence"] != list(EVIDENCE[task]):
            raise FormatError("an estimator that looks at other numbers: estimate anew with this software")
        features = tuple(used_of(item) for item in listed(read["features"]))
        size = len(EVIDENCE[task]) + sum(used.num_columns for used in features)
        scale = vector(read["scale"], size)
        if not (scale > 0).all():
            raise ValueError("a scale is above 0")
        return ErrorEstimator(
            task,
            features,
            vector(read["mean"], size),
            scale,
            vector(read["coefficients"], size),
            real(read["intercept"]),
            real(read["slope"]),
            real(read["offset"]),
            quality_of(read["quality"]),
        )
