"""The features among the evidence: which numbers of the chosen layers an estimator of errors looks at.

Of a feature with a row for each visible detection (``Reduction("roi")``) that row, of all others the same numbers for
all detections of an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.core.errors import LogValueError
from ml.loggers.strict_json import Json, text
from ml.tracing.evidence import Rows, finite
from ml.tracing.plain import Vector, count, flag, listed, mapping, vector
from ml.tracing.record import FeatureArray


@dataclass(frozen=True, eq=False)
class UsedFeature:
    """A feature among the evidence.

    Attributes:
        alias: Of the feature.
        per_detection: Whether it has a row for each visible detection.
        size: How many numbers a row has.
        center: Shape (size,): what is subtracted.
        components: Shape (K, size): what a row is multiplied with; ``None``: its numbers are taken as they are.
    """

    alias: str
    per_detection: bool
    size: int
    center: Vector
    components: Vector | None

    @property
    def num_columns(self) -> int:
        """How many numbers of evidence it gives."""
        return self.size if self.components is None else len(self.components)

    def columns(self, features: Mapping[str, FeatureArray], num_detections: int) -> Rows:
        """Returns what it says of each visible detection, shape (num_detections, num_columns).

        Raises:
            LogValueError: There is no such feature, or it has another shape.
        """
        rows = feature_rows(self.alias, features, num_detections, per_detection=self.per_detection)
        if rows.shape[1] != self.size:
            raise LogValueError(f"the feature {self.alias!r:.80} has {self.size} numbers a row, got {rows.shape[1]}")
        centered = rows - self.center
        return centered if self.components is None else centered @ self.components.T

    def to_json(self) -> dict[str, Json]:
        """Returns this as plain numbers."""
        return {
            "alias": self.alias,
            "per_detection": self.per_detection,
            "size": self.size,
            "center": self.center.tolist(),
            "components": None if self.components is None else self.components.tolist(),
        }


def used_of(data: Json) -> UsedFeature:
    """Returns the feature that ``to_json`` gave.

    Raises:
        LookupError, TypeError, ValueError: It is none.
    """
    read = mapping(data)
    size = count(read["size"])
    components = None
    if read["components"] is not None:
        rows = [vector(row, size) for row in listed(read["components"])]
        components = np.array(rows, np.float64).reshape(len(rows), size)
    return UsedFeature(text(read["alias"]), flag(read["per_detection"]), size, vector(read["center"], size), components)


def is_per_detection(feature: FeatureArray, num_detections: int) -> bool:
    """Returns whether a feature has a row for each of ``num_detections`` visible detections."""
    return feature.ndim == 2 and feature.shape[0] == num_detections


def feature_rows(alias: str, features: Mapping[str, FeatureArray], num_detections: int, *, per_detection: bool) -> Rows:
    """Returns the numbers of a feature, a row for each of ``num_detections`` visible detections.

    Args:
        alias: Of the feature.
        features: Of the input, by alias.
        num_detections: How many are visible; of a classifier 1.
        per_detection: Whether the feature has a row for each of them.

    Raises:
        LogValueError: There is no such feature, or it has another shape.
    """
    feature = features.get(alias)
    if feature is None:
        raise LogValueError(f"there is no feature {alias!r:.80}", "Name the layer in target_layers.")
    if per_detection:
        if not is_per_detection(feature, num_detections):
            raise LogValueError(f"the feature {alias!r:.80} has shape ({num_detections}, C), got {feature.shape}")
        return finite(feature.astype(np.float64))
    flat = finite(feature.reshape(1, -1).astype(np.float64))
    return np.repeat(flat, num_detections, axis=0)
