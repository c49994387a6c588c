"""What is drawn of traced inferences: errors, what other thresholds would show, estimates, drift, and time."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ml.loggers.strict_json import Json
from ml.report.charts import Bar, BarChart, Chart, Curve, HeatMap, LineChart
from ml.tracing.judging import TYPES
from ml.tracing.plain import count, listed, mapping, whole
from ml.tracing.reliability import BINS, Reliability
from ml.tracing.survey import Survey
from ml.tracing.sweep import BINS as SCORE_BINS

MAX_CLASSES: Final = 20
"""Classes in a matrix or beside each other."""

Naming = Callable[[int], str]
"""What a class is called, by its number."""

_FIRST_BIN = 5
_UNITS: Final = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def error_charts(survey: Survey, name: Naming) -> list[Chart]:
    """Returns how often which error is, which class is how good, and what is taken for what."""
    assert survey.errors is not None, "it has a truth"
    errors = mapping(survey.errors["errors"])
    bars = [Bar(one, count(errors[one])) for one in TYPES[survey.task] if one != "correct"]
    counted = "answers" if survey.task == "classification" else "detections, or missed truths"
    charts: list[Chart] = [BarChart("errors by type", counted, bars)]
    classes = mapping(survey.errors["classes"])
    precisions = [(label, mapping(figures).get("ap_50")) for label, figures in classes.items()]
    known = [(label, float(ap)) for label, ap in precisions if isinstance(ap, int | float)]
    if known:
        lowest = sorted(known, key=lambda pair: pair[1])[:MAX_CLASSES]
        note = "" if len(lowest) == len(known) else f"the lowest {len(lowest)} of {len(known)} classes"
        bars = [Bar(name(int(label)), ap) for label, ap in lowest]
        charts.append(BarChart("average precision at IoU 0.5", "AP50", bars, note))
    confused = listed(survey.errors["confused"])
    return [*charts, _confusion(confused, name)] if confused else charts


def threshold_charts(surveys: Sequence[Survey]) -> list[Chart]:
    """Returns how many detections each score threshold would show, and how good they would be."""
    is_classified = all(survey.task == "classification" for survey in surveys)
    of_each = [[survey.swept.cut(place) for place in _places(survey)] for survey in surveys]
    shown = [
        Curve(survey.dataset_type, [cut.threshold for cut in cuts], [cut.shown_per_image for cut in cuts])
        for survey, cuts in zip(surveys, of_each, strict=True)
    ]
    title = "answers kept" if is_classified else "detections an image"
    charts: list[Chart] = [LineChart(f"{title}, by threshold", "score threshold", title, shown)]
    for survey, cuts in zip(surveys, of_each, strict=True):
        now = survey.swept.as_shown()
        if now is None or not survey.swept.num_truths or not cuts:
            continue
        x = [cut.threshold for cut in cuts]
        curves = [
            Curve("precision", x, [cut.precision for cut in cuts]),
            Curve("recall", x, [cut.recall for cut in cuts]),
            Curve("F1", x, [cut.f1 for cut in cuts]),
        ]
        if not is_classified:
            at = max(now.threshold, x[0])
            curves.append(Curve("lowest score shown", [at, at], [0, 1]))
        title = f"precision and recall by threshold: {survey.dataset_type}"
        charts.append(LineChart(title, "score threshold", "share", curves))
        falling = [survey.swept.cut(place) for place in range(SCORE_BINS - 1, survey.swept.first_place - 1, -1)]
        there = [cut for cut in falling if np.isfinite(cut.precision)]
        curves = [Curve("all thresholds", [cut.recall for cut in there], [cut.precision for cut in there])]
        curves.append(Curve("as it was shown", [now.recall], [now.precision]))
        charts.append(LineChart(f"precision over recall: {survey.dataset_type}", "recall", "precision", curves))
    return charts


def reliability_charts(surveys: Sequence[Survey]) -> list[Chart]:
    """Returns whether estimates are true, and how they are spread."""
    labelled = [survey for survey in surveys if survey.reliability.num_labelled]
    charts: list[Chart] = []
    if labelled:
        curves = [_calibration(survey.dataset_type, survey.reliability) for survey in labelled]
        curves.append(Curve("where it is true", [0, 1], [0, 1]))
        charts.append(LineChart("calibration", "estimated probability of an error", "share of wrong ones", curves))
    middles = [(place + 0.5) / BINS for place in range(BINS)]
    spread = [
        Curve(survey.dataset_type, middles, (survey.reliability.counts / survey.reliability.num_estimated).tolist())
        for survey in surveys
        if survey.reliability.num_estimated
    ]
    return [*charts, LineChart("estimates", "estimated probability of an error", "share of detections", spread)]


def drift_charts(survey: Survey) -> list[Chart]:
    """Returns how far each window is from the baseline, each measure in units of its threshold."""
    windows = [window.drift for window in survey.drifts]
    x = [float(drift.number) for drift in windows]
    charts: list[Chart] = []
    for kind, meaning in (("psi", "population stability index"), ("ks", "Kolmogorov-Smirnov")):
        names = [name for name in windows[0].values if name.endswith(kind)]
        curves = [
            Curve(
                name.removesuffix(f"_{kind}"),
                x,
                [_over(drift.values[name], drift.thresholds[name]) for drift in windows],
            )
            for name in names
        ]
        curves.append(Curve("alarm above", [x[0], x[-1]], [1, 1]))
        title = f"drift of {survey.dataset_type}: {meaning}"
        charts.append(LineChart(title, "window", "measure / its threshold", curves, is_counted=True))
    return charts


def time_charts(survey: Survey) -> list[Chart]:
    """Returns how fast the model was, and what it showed, over time."""
    moments = sorted(survey.moments, key=lambda moment: moment.time_s)
    if len(moments) < 2:
        return []
    first_s, span_s = moments[0].time_s, moments[-1].time_s - moments[0].time_s
    seconds, unit = next((pair for pair in _UNITS if span_s >= 2 * pair[0]), (1, "seconds"))
    x, x_label = [(moment.time_s - first_s) / seconds for moment in moments], f"{unit} since the first"
    latency = [
        Curve("median", x, [moment.median_latency_s * 1000 for moment in moments]),
        Curve("95 % are below", x, [moment.high_latency_s * 1000 for moment in moments]),
    ]
    name = survey.dataset_type
    charts: list[Chart] = [LineChart(f"latency: {name}", x_label, "ms an input", latency)]
    if survey.task == "detection":
        shown = [Curve("detections", x, [moment.shown_per_image for moment in moments])]
        charts.append(LineChart(f"detections an image: {name}", x_label, "detections", shown))
    sure = [Curve("mean score", x, [moment.mean_score for moment in moments])]
    if any(np.isfinite(moment.error_probability) for moment in moments):
        sure.append(Curve("estimated share of errors", x, [moment.error_probability for moment in moments]))
    return [*charts, LineChart(f"sureness: {name}", x_label, "share", sure)]


def _places(survey: Survey) -> range:
    return range(max(_FIRST_BIN, survey.swept.first_place), SCORE_BINS)


def _confusion(confused: Sequence[Json], name: Naming) -> HeatMap:
    cells = {(whole(truth), whole(said)): count(times) for truth, said, times in map(listed, confused)}
    labels = list(dict.fromkeys(label for pair in cells for label in pair))  # the most confused first
    kept = sorted(labels[:MAX_CLASSES])
    names = [name(label) for label in kept]
    values = [[float(cells.get((truth, said), 0)) for said in kept] for truth in kept]
    note = "" if len(kept) == len(labels) else f"the {len(kept)} most confused of {len(labels)} classes"
    return HeatMap("taken for another class", "truth", "predicted", names, names, values, note)


def _calibration(name: str, reliability: Reliability) -> Curve:
    there = np.flatnonzero(reliability.labelled)
    counts = reliability.labelled[there]
    x = reliability.probabilities[there] / counts
    return Curve(name, x.tolist(), (reliability.wrong[there] / counts).tolist())


def _over(value: float, threshold: float) -> float:
    return value / threshold if threshold > 0 else np.nan
