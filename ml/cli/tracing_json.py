"""What ``mlog tracing show --json`` says."""

from typing import Any

from ml.cli.tracing_ls import group_as_json
from ml.loggers.strict_json import strict
from ml.tracing.findings import Findings
from ml.tracing.page_charts import Naming
from ml.tracing.survey import Survey
from ml.tracing.sweep import BINS, Cut


def as_json(found: Findings, naming: Naming) -> dict[str, Any]:
    """Returns what there is to say of a version; numbers that are none are text.

    Args:
        found: What there is.
        naming: What classes are called.
    """
    labels = sorted({label for survey in found.surveys for label in survey.statistics.class_mix})
    said = {
        **found.version._asdict(),
        "created": found.version.created.isoformat(),
        "class_names": {str(label): naming(label) for label in labels},
        "groups": [group_as_json(group) for group in found.groups],
        "surveys": [_survey(survey) for survey in found.surveys],
        "results": [
            {**entry._asdict(), "created": entry.created.isoformat(), "figure": found.figures.get(entry.name)}
            for entry in found.results
        ],
        "evaluation": None if found.evaluation is None else found.evaluation._asdict(),
        "estimator": None if found.estimator is None else found.estimator.quality.to_json(),
        "baseline": None if found.baseline is None else found.baseline._asdict(),
    }
    strict_said: dict[str, Any] = _strict(said)
    return strict_said


def _survey(survey: Survey) -> dict[str, Any]:
    statistics, reliability, swept = survey.statistics, survey.reliability, survey.swept
    now = swept.as_shown()
    return {
        "dataset_type": survey.dataset_type,
        "runs": list(survey.runs),
        "epochs": list(survey.epochs),
        "num_inferences": survey.num_inferences,
        "num_labelled": survey.num_labelled,
        "mean_latency_s": statistics.mean_latency_s,
        "detections_per_image": statistics.detections_per_image,
        "class_mix": {str(label): share for label, share in statistics.class_mix.items()},
        "score_quantiles": {str(share): score for share, score in statistics.score_quantiles.items()},
        "errors": None if survey.errors is None else dict(survey.errors),
        "iou_thresh": swept.iou_thresh,
        "lowest_shown": swept.lowest_shown,
        "complete_from": swept.first_place / BINS,
        "near": swept.near,
        "as_shown": None if now is None else _cut(now),
        "thresholds": [_cut(swept.cut(place)) for place in range(1, BINS)],
        "errors_expected": reliability.total if reliability.num_estimated else None,
        "num_estimated": reliability.num_estimated,
        "calibration_error": reliability.calibration_error,
        "windows": [
            {
                "number": window.drift.number,
                "num_inferences": window.drift.num_inferences,
                "alarming": list(window.drift.alarming),
                "values": dict(window.drift.values),
                "thresholds": dict(window.drift.thresholds),
            }
            for window in survey.drifts
        ],
    }


def _cut(cut: Cut) -> dict[str, float]:
    return {**cut._asdict(), "f1": cut.f1}


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return strict(value) if isinstance(value, float) else value
