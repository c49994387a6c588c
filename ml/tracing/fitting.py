"""Learns which detections are wrong, from images whose truth is known. Only here scikit-learn is imported.

A feature of more than ``MAX_COLUMNS`` numbers is reduced to its principal components; one whose size differs from image
to image, or is beyond ``MAX_FEATURE_SIZE``, is not looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ml.core.errors import missing
from ml.tracing.estimator import ErrorEstimator
from ml.tracing.evidence import Rows
from ml.tracing.examples import Example, Parts, errors_of
from ml.tracing.scoring import Quality, auroc, calibration_error
from ml.tracing.used_features import UsedFeature, feature_rows, is_per_detection

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

MAX_COLUMNS: Final = 16
MAX_FEATURE_SIZE: Final = 4096

_PULL, _ALMOST_FREE = 0.03, 1e10
"""How free coefficients are of what pulls them to 0, as scikit-learn has it; nothing pulls those of the calibration."""


class Fitted(NamedTuple):
    """What scikit-learn made.

    Attributes:
        features: What of the features is looked at.
        pipeline: Standardises rows and classifies them.
        calibration: Takes the decision of ``pipeline``, shape (N, 1).
    """

    features: tuple[UsedFeature, ...]
    pipeline: "Pipeline"
    calibration: "LogisticRegression"


def fit(examples: Sequence[Example], parts: Parts, *, task: str, seed: int = 0) -> ErrorEstimator:
    """Returns an estimator.

    Args:
        examples: An image each; nothing is ``lacking``.
        parts: Which of them are for what.
        task: ``"detection"`` or ``"classification"``.
        seed: Of the principal components of large features.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    fitted = fit_pipeline(examples, parts, seed=seed)
    scaler, regression = fitted.pipeline.steps[0][1], fitted.pipeline.steps[1][1]
    estimator = ErrorEstimator(
        task,
        fitted.features,
        np.array(scaler.mean_, np.float64),
        np.array(scaler.scale_, np.float64),
        np.array(regression.coef_[0], np.float64),
        float(regression.intercept_[0]),
        float(fitted.calibration.coef_[0, 0]),
        float(fitted.calibration.intercept_[0]),
        Quality(None, None, (0, 0, 0), 0),
    )
    is_wrong = errors_of(examples, parts.to_test)
    probability = estimator.probabilities(rows_of(fitted.features, examples, parts.to_test))
    images = len(parts.to_learn), len(parts.to_calibrate), len(parts.to_test)
    quality = Quality(auroc(is_wrong, probability), calibration_error(is_wrong, probability), images, len(is_wrong))
    return replace(estimator, quality=quality)


def fit_pipeline(examples: Sequence[Example], parts: Parts, *, seed: int = 0) -> Fitted:
    """Returns what scikit-learn makes of images; the arguments are those of ``fit``."""
    sklearn = _Sklearn()
    features = tuple(_used_features([examples[index] for index in parts.to_learn], sklearn, seed))
    pipeline = sklearn.pipeline(sklearn.scaler(), sklearn.regression(C=_PULL, max_iter=2000))
    pipeline.fit(rows_of(features, examples, parts.to_learn), errors_of(examples, parts.to_learn))
    # Platt's targets are not quite 0 and 1, or a few images that are told apart well would make it certain.
    is_wrong = errors_of(examples, parts.to_calibrate)
    decided = pipeline.decision_function(rows_of(features, examples, parts.to_calibrate))[:, None]
    wrong, right = is_wrong.sum(), (~is_wrong).sum()
    target = np.where(is_wrong, (wrong + 1) / (wrong + 2), 1 / (right + 2))
    calibration = sklearn.regression(C=_ALMOST_FREE, max_iter=2000)
    calibration.fit(
        np.concatenate([decided, decided]),
        np.arange(2 * len(decided)) < len(decided),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    return Fitted(features, pipeline, calibration)


def rows_of(features: Sequence[UsedFeature], examples: Sequence[Example], part: npt.NDArray[np.int64]) -> Rows:
    """Returns all that is looked at of some images, shape (detections, D)."""
    rows = [
        np.concatenate(
            [example.evidence, *(used.columns(example.features, len(example.evidence)) for used in features)], axis=1
        )
        for example in (examples[index] for index in part)
        if len(example.evidence)
    ]
    width = examples[0].evidence.shape[1] + sum(used.num_columns for used in features)
    return np.concatenate(rows) if rows else np.zeros((0, width))


class _Sklearn:
    """What is used of scikit-learn."""

    def __init__(self) -> None:
        try:
            from sklearn.decomposition import PCA
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ImportError as error:
            raise missing("An estimate of errors", "scikit-learn", "tracing", error) from error
        self.pca: Any = PCA
        self.regression: Any = LogisticRegression
        self.pipeline: Any = make_pipeline
        self.scaler: Any = StandardScaler


def _used_features(examples: Sequence[Example], sklearn: _Sklearn, seed: int) -> Iterator[UsedFeature]:
    seen = [example for example in examples if len(example.evidence)]
    aliases = set.intersection(*(set(example.features) for example in seen))
    for alias in sorted(aliases):
        per_detection = all(is_per_detection(e.features[alias], len(e.evidence)) for e in seen)
        arrays = [example.features[alias] for example in seen]
        sizes = {array.shape[1] if per_detection else array.size for array in arrays}
        size = sizes.pop()
        if sizes or not 0 < size <= MAX_FEATURE_SIZE:
            continue
        counts = [len(example.evidence) if per_detection else 1 for example in seen]
        rows = np.concatenate(
            [
                feature_rows(alias, example.features, count, per_detection=per_detection)
                for example, count in zip(seen, counts, strict=True)
            ]
        )
        if size <= MAX_COLUMNS:
            yield UsedFeature(alias, per_detection, size, np.zeros(size), None)
            continue
        pca = sklearn.pca(min(MAX_COLUMNS, len(rows)), svd_solver="randomized", random_state=seed).fit(rows)
        yield UsedFeature(alias, per_detection, size, np.array(pca.mean_), np.array(pca.components_))
