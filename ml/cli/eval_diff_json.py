"""A comparison of two versions as JSON."""

from collections.abc import Mapping

from ml.cli.eval_diff_rows import FIELDS, sample_rows
from ml.evaluation.comparison import Change, Comparison
from ml.evaluation.judging import Class
from ml.loggers.strict_json import Json, strict


def as_json(compared: Comparison) -> Json:
    """Returns everything about a comparison."""
    return {
        "before": compared.before.name,
        "after": compared.after.name,
        "columns": {"key": compared.before.key, "truth": compared.before.truth, "predicted": compared.before.predicted},
        "metric": compared.judge.metric,
        "samples": len(compared.samples),
        "value": {"before": strict(compared.value_before), "after": strict(compared.value_after)},
        "changes": _counts(compared.counts),
        "only_before": [str(key) for key in compared.only_before],
        "only_after": [str(key) for key in compared.only_after],
        "not_judged": [str(key) for key in compared.unjudged],
        "relabelled": [str(key) for key in compared.relabelled],
        "classes": [
            {
                "class": _class(one.name),
                "support": {"before": one.before.support, "after": one.after.support},
                compared.judge.class_metric: {"before": strict(one.before.value), "after": strict(one.after.value)},
            }
            for one in compared.classes
        ],
        "confusion": [
            {
                "truth": _class(one.truth),
                "predicted": _class(one.predicted),
                "before": one.before,
                "after": one.after,
            }
            for one in compared.confusion
        ],
        "slices": [
            {
                "column": one.column,
                "slice": one.name,
                "samples": one.samples,
                "value": {"before": strict(one.before), "after": strict(one.after)},
                "changes": _counts(one.counts),
            }
            for one in compared.slices
        ],
        "by_sample": [{name: row[name] for name in FIELDS} for row in sample_rows(compared)],
    }


def _class(name: Class | None) -> Json:
    return strict(name) if isinstance(name, float) else name


def _counts(counts: Mapping[Change, int]) -> dict[str, Json]:
    return {str(change): count for change, count in counts.items()}
