"""The tables of a page of traced inferences."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from ml.loggers.strict_json import Json
from ml.report.html import Html
from ml.report.table import Column, table
from ml.tracing.findings import Findings
from ml.tracing.judging import TYPES, VERDICTS
from ml.tracing.overview import Group, epochs_text
from ml.tracing.page_charts import Naming
from ml.tracing.plain import count, mapping
from ml.tracing.survey import Survey
from ml.tracing.sweep import BINS

MAX_ROWS: Final = 200
"""Rows of a table; of more, those that the caller chose first."""

_PLACES = (1, 2, *range(5, BINS, 5))
_MS = 1000


def looked_at(found: Findings) -> Html:
    """Returns what the page is about, a row a dataset type."""
    surveys = found.surveys
    of = {(group.run, group.dataset_type): group for group in found.groups}
    groups = [[of[run, one.dataset_type] for run in one.runs if (run, one.dataset_type) in of] for one in surveys]
    columns = [
        Column("dataset type", [one.dataset_type for one in surveys]),
        Column("epoch", [epochs_text(one.epochs) for one in surveys]),
        Column("run", [_short([run[:8] for run in one.runs]) for one in surveys]),
        Column("inferences", [one.num_inferences for one in surveys], is_number=True),
        Column("labelled", [one.num_labelled or None for one in surveys], is_number=True),
        Column("latency (ms)", [one.statistics.mean_latency_s * _MS for one in surveys], is_number=True),
        Column("seen an image", [one.statistics.detections_per_image for one in surveys], is_number=True),
        Column("median score", [one.statistics.score_quantiles.get(0.5) for one in surveys], is_number=True),
        Column("since (UTC)", [_time(min(group.first for group in some)) if some else "" for some in groups]),
        Column("until (UTC)", [_time(max(group.last for group in some)) if some else "" for some in groups]),
    ]
    return _without_empty(columns)


def all_groups(groups: Sequence[Group]) -> Html:
    """Returns all that was traced of the version: of each run, dataset type and epoch a row, the last ones."""
    shown = groups[-MAX_ROWS:]
    latencies = [None if group.mean_latency_s is None else group.mean_latency_s * _MS for group in shown]
    columns = [
        Column("run", [group.run[:8] for group in shown]),
        Column("dataset type", [group.dataset_type for group in shown], is_choice=True),
        Column("epoch", [group.epoch for group in shown], is_number=True),
        Column("inferences", [group.num_inferences for group in shown], is_number=True),
        Column("labelled", [group.num_labelled or None for group in shown], is_number=True),
        Column("seen an image", [group.num_visible / group.num_inferences for group in shown], is_number=True),
        Column("latency (ms)", latencies, is_number=True),
        Column("since (UTC)", [_time(group.first) for group in shown]),
        Column("until (UTC)", [_time(group.last) for group in shown]),
    ]
    more = f", the last {len(shown)} of {len(groups)}" if len(shown) < len(groups) else ""
    return table(columns, caption=f"everything traced of this version{more}")


def class_mix(surveys: Sequence[Survey], name: Naming) -> Html:
    """Returns how often each class is seen."""
    mixes = [survey.statistics.class_mix for survey in surveys]
    labels = sorted(
        {label for mix in mixes for label in mix}, key=lambda label: -max(mix.get(label, 0) for mix in mixes)
    )
    kept = labels[:MAX_ROWS]
    shares = [Column(one.dataset_type, [mix.get(label, 0.0) for label in kept], is_number=True)
              for one, mix in zip(surveys, mixes, strict=True)]  # fmt: skip
    more = f", the most frequent {len(kept)} of {len(labels)} classes" if len(kept) < len(labels) else ""
    return table([Column("class", [name(label) for label in kept]), *shares], caption=f"share of each class{more}")


def results(found: Findings) -> Html:
    """Returns what was found out before, a row a result."""
    shown = found.results[-MAX_ROWS:]
    used = {one.name: use for one, use in ((found.evaluation, "estimator"), (found.baseline, "baseline")) if one}
    columns = [
        Column("result", [entry.name for entry in shown]),
        Column("method", [entry.method for entry in shown]),
        Column("epoch", ["all" if entry.epoch is None else str(entry.epoch) for entry in shown]),
        Column(
            "mAP" if found.version.task == "detection" else "accuracy",
            [found.figures.get(entry.name) for entry in shown],
            is_number=True,
        ),
        Column("used on this page", [used.get(entry.name, "") for entry in shown]),
        Column("asked for (UTC)", [_time(entry.created) for entry in shown]),
    ]
    return _without_empty(columns, caption="results of this version")


def errors_by_class(errors: Json, task: str, name: Naming) -> Html:
    """Returns of each class how many truths, and how often which error; the last row has all."""
    read = mapping(errors)
    classes = {int(label): mapping(figures) for label, figures in mapping(read["classes"]).items()}
    total = {"num_truths": read["num_truths"], "errors": read["errors"]}
    total |= {ap: read.get(of) for ap, of in (("ap", "map"), ("ap_50", "map_50"), ("ap_75", "map_75"))}
    rows = [*classes.values(), total]
    counts = [{kind: count(number) for kind, number in mapping(row["errors"]).items()} for row in rows]
    columns = [
        Column("class", [*(name(label) for label in classes), "all"]),
        Column("truths", [count(row["num_truths"]) for row in rows], is_number=True),
        *(
            Column(title, [_real(row.get(key)) for row in rows], is_number=True)
            for title, key in (("AP", "ap"), ("AP50", "ap_50"), ("AP75", "ap_75"))
        ),
        *(Column(kind, [one[kind] for one in counts], is_number=True) for kind in TYPES[task]),
        Column("% wrong", [_percentage_wrong(one) for one in counts], is_number=True),
    ]
    return _without_empty(columns)


def thresholds(survey: Survey) -> Html:
    """Returns what other thresholds would show."""
    swept = survey.swept
    cuts = [swept.cut(place) for place in _PLACES if place >= swept.first_place]
    cuts = cuts[: sum(cut.shown_per_image > 0 for cut in cuts) + 1]  # what is behind shows nothing either
    has_truth = bool(swept.num_truths)
    shown = "answers kept" if survey.task == "classification" else "seen an image"
    columns = [
        Column("score threshold", [f"{cut.threshold:g}" for cut in cuts]),
        Column(shown, [cut.shown_per_image for cut in cuts], is_number=True),
    ]
    if has_truth:
        columns += [
            Column("precision", [_finite(cut.precision) for cut in cuts], is_number=True),
            Column("recall", [cut.recall for cut in cuts], is_number=True),
            Column("F1", [_finite(cut.f1) for cut in cuts], is_number=True),
        ]
    return table(columns, caption=survey.dataset_type)


def estimates(surveys: Sequence[Survey]) -> Html:
    """Returns how many errors are expected, and how many there are where that is known."""
    some = [survey.reliability for survey in surveys]
    columns = [
        Column("dataset type", [survey.dataset_type for survey in surveys]),
        Column("estimated", [one.num_estimated for one in some], is_number=True),
        Column("errors expected", [one.total for one in some], is_number=True),
        Column("share", [one.total / one.num_estimated for one in some], is_number=True),
        Column("really wrong", [_ratio(int(one.wrong.sum()), one.num_labelled) for one in some], is_number=True),
        Column("calibration error", [one.calibration_error for one in some], is_number=True),
    ]
    return _without_empty(columns)


def windows(survey: Survey) -> Html:
    """Returns the windows, those with an alarm first."""
    shown = sorted(survey.drifts, key=lambda window: not window.drift.is_alarm)[:MAX_ROWS]
    names = list(shown[0].drift.values)
    columns = [
        Column("window", [window.drift.number for window in shown], is_number=True),
        Column("since (UTC)", [_time(datetime.fromtimestamp(window.first_s, UTC)) for window in shown]),
        Column("until (UTC)", [_time(datetime.fromtimestamp(window.last_s, UTC)) for window in shown]),
        Column("inferences", [window.drift.num_inferences for window in shown], is_number=True),
        Column("alarm", [", ".join(window.drift.alarming) for window in shown], mark=True),
        *(Column(name, [window.drift.values[name] for window in shown], is_number=True) for name in names),
    ]
    return table(columns, caption=survey.dataset_type)


def _without_empty(columns: Sequence[Column], *, caption: str = "") -> Html:
    return table(
        [column for column in columns if any(cell not in (None, "") for cell in column.cells)], caption=caption
    )


def _percentage_wrong(counts: "dict[str, int]") -> float | None:
    seen = sum(counts[verdict] for verdict in VERDICTS)
    return round(100 * (seen - counts["correct"]) / seen, 1) if seen else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _real(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
