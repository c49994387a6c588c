"""What was traced of a version as one page: what a model really saw, where it is wrong, and what changed since.

::

    found = find(["traces.db"], Selection("fcos", "v1"), max_samples=MAX_SAMPLES)
    write_atomically("fcos.html", page_of(found, class_names=["cat", "dog"]).encoded())

A section is there where there is something to say: errors need a truth, estimates an estimator, drift a baseline.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from ml.report.charts import Chart
from ml.report.html import Html, tag
from ml.report.page import Page, Section, figures
from ml.report.svg import svg
from ml.report.table import shown_number
from ml.tracing import page_tables
from ml.tracing.drift import FALSE_ALARM_RATE, Drift
from ml.tracing.findings import Findings, UsedResult
from ml.tracing.page_cards import cards_of, colours_text
from ml.tracing.page_charts import (
    Naming,
    drift_charts,
    error_charts,
    reliability_charts,
    threshold_charts,
    time_charts,
)
from ml.tracing.plain import mapping
from ml.tracing.survey import Survey
from ml.tracing.sweep import BINS

MAX_SAMPLES: Final = 60
"""Samples of a dataset type on a page, unless it is said otherwise: each takes 3 to 15 kB."""


def page_of(found: Findings, *, class_names: Sequence[str] = (), title: str = "", made: datetime | None = None) -> Page:
    """Returns the page of a version.

    Args:
        found: What there is to say.
        class_names: Of the classes 0, 1, and so on; those without a name are shown as numbers.
        title: Of the page; ``""``: the model and its version.
        made: When it was made; by default now.
    """
    naming = naming_of(class_names)
    version, surveys = found.version, found.surveys
    made = datetime.now(UTC) if made is None else made
    sections = [
        _traced(found, naming),
        *(_errors(survey, naming) for survey in surveys if survey.errors is not None),
        *_thresholds(surveys),
        *_estimates(found),
        *_drift(found),
        *_over_time(surveys),
        *(_samples(survey, naming) for survey in surveys if survey.worst),
    ]
    return Page(
        title or f"{version.model_name} {version.version_name}",
        sections,
        f"A model for {version.task} of {version.n_class} classes, structure {version.architecture[:12]}; "
        f"{sum(survey.num_inferences for survey in surveys)} inferences looked at, "
        f"as of {made.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )


def naming_of(class_names: Sequence[str]) -> Naming:
    """Returns what classes are called: by a list of names, or their numbers."""
    names = dict(enumerate(class_names))
    return lambda label: names.get(label, "") or str(label)


def _traced(found: Findings, name: Naming) -> Section:
    parts = [page_tables.looked_at(found)]
    if any(survey.statistics.class_mix for survey in found.surveys):
        parts.append(page_tables.class_mix(found.surveys, name))
    if len(found.groups) > len(found.surveys):
        parts.append(page_tables.all_groups(found.groups))
    if found.results:
        parts.append(page_tables.results(found))
    return Section("Traced", parts)


def _errors(survey: Survey, name: Naming) -> Section:
    errors = mapping(dict(survey.errors or {}))
    parts = [page_tables.errors_by_class(errors, survey.task, name), _drawn(error_charts(survey, name))]
    if survey.task == "classification":
        note = f"Accuracy {_percent(errors['accuracy'])} of {survey.num_labelled} inputs whose class is known."
    else:
        note = (
            f"mAP {_figure(errors['map'])}, at IoU 0.5 {_figure(errors['map_50'])}, of what was shown on "
            f"{survey.num_labelled} images whose truth is known. The types of error are those of TIDE: from an IoU of "
            "0.5 on a box is on a truth, below 0.1 on the background."
        )
    return Section(f"Errors: {survey.dataset_type}", parts, note)


def _thresholds(surveys: Sequence[Survey]) -> list[Section]:
    some = [survey for survey in surveys if survey.swept.num_images]
    if not some:
        return []
    notes = [tag("p", {"class": "note"}, note) for note in map(_note_of_thresholds, some) if note]
    tables = [page_tables.thresholds(survey) for survey in some]
    title = "Sureness" if all(survey.task == "classification" for survey in some) else "Other thresholds"
    return [Section(title, [*notes, _drawn(threshold_charts(some)), figures(tables)])]


def _note_of_thresholds(survey: Survey) -> str:
    swept, notes = survey.swept, list[str]()
    if survey.task == "detection" and swept.lowest_shown is not None:
        notes.append(f"the lowest score shown is {swept.lowest_shown:.3f}")
        if swept.iou_thresh is not None:
            notes.append(f"the model suppresses above an IoU of {swept.iou_thresh:.3g}")
        near = f"{shown_number(swept.near)} candidates an image, which nothing surer suppresses,"
        notes.append(f"{near} miss that score by 0.05 or less")
    now = swept.as_shown()
    if now is not None and swept.num_truths and survey.task == "detection":
        cuts = [swept.cut(place) for place in range(swept.first_place, BINS)]
        best = max([*cuts, now], key=lambda cut: float(np.nan_to_num(cut.f1)))
        notes.append(
            f"F1 is {_figure(now.f1)} as it was shown, and highest at {best.threshold:.3g}: {_figure(best.f1)}"
        )
    if swept.floor > 0:
        notes.append(f"below {swept.floor:.3f} not all candidates were kept")
    if swept.num_images < survey.num_inferences:
        notes.append(f"this is of {swept.num_images} of {survey.num_inferences} images, chosen by their ids")
    return f"{survey.dataset_type}: {'. '.join(_capital(note) for note in notes)}." if notes else ""


def _estimates(found: Findings) -> list[Section]:
    some = [survey for survey in found.surveys if survey.reliability.num_estimated]
    if not some:
        return []
    note = "How likely each detection is wrong, as estimated when it was traced."
    if found.estimator is not None and found.evaluation is not None:
        quality = found.estimator.quality
        note = (
            f"How likely each detection is wrong, by the estimator of {_name(found.evaluation)}. On "
            f"{quality.num_detections} detections that it had not learnt from it told wrong from right with an AUROC "
            f"of {_figure(quality.auroc)}, and its calibration error was {_figure(quality.calibration_error)}. Images "
            "that it learnt from are among those below."
        )
    return [Section("Estimated errors", [page_tables.estimates(some), _drawn(reliability_charts(some))], note)]


def _drift(found: Findings) -> list[Section]:
    some = [survey for survey in found.surveys if survey.drifts]
    if not some or found.baseline is None:
        return []
    alarms = [f"{sum(window.drift.is_alarm for window in survey.drifts)} of {len(survey.drifts)} windows of "
              f"{survey.dataset_type}" for survey in some]  # fmt: skip
    note = (
        f"Windows of {found.window_size} inferences against the baseline {_name(found.baseline)}. There is an alarm in "
        f"{', '.join(alarms)}; of windows like the baseline at most {FALSE_ALARM_RATE:.0%} would have one."
    )
    parts = [tag("p", {"class": "note"}, _limits(some[0].drifts[0].drift))]
    for survey in some:
        parts += [_drawn(drift_charts(survey)), page_tables.windows(survey)]
    return [Section("Drift", parts, note)]


def _limits(drift: Drift) -> str:
    said = ", ".join(f"{name} {limit:.3g}" for name, limit in drift.thresholds.items())
    return f"Of {drift.num_inferences} inferences an alarm is above {said}."


def _over_time(surveys: Sequence[Survey]) -> list[Section]:
    charts = [chart for survey in surveys for chart in time_charts(survey)]
    return [Section("Over time", [_drawn(charts)])] if charts else []


def _samples(survey: Survey, name: Naming) -> Section:
    count = f"{len(survey.worst)} of {survey.num_inferences} inferences"
    if any(sample.judgement is not None for sample in survey.worst):
        title = f"Worst: {survey.dataset_type}"
        note = f"{count}, those whose wrong detections were surest and that missed most."
        if survey.task == "detection":
            note = f"{note} {colours_text()}"
    else:
        title = f"In doubt: {survey.dataset_type}"
        is_estimated = any(sample.error_probability is not None for sample in survey.worst)
        what = "most errors are expected" if is_estimated else "most was seen with low scores"
        note = f"{count}, those in which {what}. Their truth is not known."
        note += " A colour is a class." if survey.task == "detection" else ""
    return Section(title, [cards_of(survey.worst, name)], note)


def _drawn(charts: Sequence[Chart]) -> Html:
    return figures([svg(chart) for chart in charts])


def _name(used: UsedResult) -> str:
    epoch = "all epochs" if used.epoch is None else f"epoch {used.epoch}"
    return f"{used.name} ({used.dataset_type or 'all dataset types'}, {epoch})"


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and np.isfinite(value) else "not known"


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "not known"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
