"""``mlog tracing show DATABASE [MODEL [VERSION]]``: a version in numbers."""

import argparse

import numpy as np

from ml.cli.numbers import compact
from ml.cli.output import Column, Output, printable
from ml.cli.tracing_choice import class_names_of, selection_of
from ml.cli.tracing_json import as_json
from ml.loggers.strict_json import Json
from ml.tracing.findings import Findings, find
from ml.tracing.judging import TYPES
from ml.tracing.overview import epochs_text
from ml.tracing.page_charts import Naming
from ml.tracing.pages import naming_of
from ml.tracing.plain import mapping
from ml.tracing.survey import Survey

_MAX_TEXT, _MAX_ROWS, _MAX_MIX = 48, 50, 8
_PLACES = (5, 10, 20, 30, 50, 70, 90)  # hundredths


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Shows the version.

    Raises:
        FileNotFoundError: There is no such database.
        ConfigError: There is no such model, version or result, or no such inference.
        FormatError: The database, or a result in it, is damaged.
    """
    selection = selection_of(arguments)
    found = find([arguments.database], selection, result_names=arguments.result, window_size=arguments.window)
    naming = naming_of(class_names_of(arguments))
    if arguments.json:
        output.json(as_json(found, naming))
        return 0
    version = found.version
    output.line(f"{printable(version.model_name)} {printable(version.version_name)}", style="bold")
    output.line(f"  {version.task}, {version.n_class} classes, structure {version.architecture[:12]}")
    for survey in found.surveys:
        output.line()
        _show(survey, found, naming, output)
    if found.results:
        output.line()
        _results(found, output)
    return 0


def _show(survey: Survey, found: Findings, naming: Naming, output: Output) -> None:
    statistics = survey.statistics
    output.line(f"{printable(survey.dataset_type)}, epoch {epochs_text(survey.epochs)}", style="bold")
    mix = [f"{printable(naming(label))} {share:.0%}" for label, share in list(statistics.class_mix.items())[:_MAX_MIX]]
    quantiles = [f"{share:.0%} {score:.3f}" for share, score in statistics.score_quantiles.items()]
    facts = {
        "inferences": f"{survey.num_inferences}, {survey.num_labelled} with a truth",
        "latency": f"{compact(statistics.mean_latency_s * 1000)} ms an input",
        "seen": f"{compact(statistics.detections_per_image)} an image" if survey.task == "detection" else "",
        "scores": "  ".join(quantiles),
        "classes": "  ".join(mix)
        + (
            f"  and {len(statistics.class_mix) - _MAX_MIX} more"
            if len(mix) == _MAX_MIX < len(statistics.class_mix)
            else ""
        ),
        **_figures(survey),
        "estimated": _estimated(survey),
        "drift": _drift(survey, found),
    }
    width = max(map(len, facts))
    for name, text in facts.items():
        if text:
            output.line(f"  {name:<{width}}  {text}")
    if survey.errors is not None:
        output.line()
        _classes(mapping(dict(survey.errors)), survey.task, naming, output)
    if survey.task == "detection":
        output.line()
        _thresholds(survey, output)


def _figures(survey: Survey) -> dict[str, str]:
    if survey.errors is None:
        return {}
    names = {"map": "mAP", "map_50": "AP50", "map_75": "AP75", "accuracy": "accuracy"}
    figures = [f"{shown} {_number(survey.errors[name])}" for name, shown in names.items() if name in survey.errors]
    return {"quality": "  ".join(figures)}


def _estimated(survey: Survey) -> str:
    one = survey.reliability
    if not one.num_estimated:
        return ""
    really, distance = "", one.calibration_error
    if distance is not None:
        really = f"; of {one.num_labelled} known ones {int(one.wrong.sum())} are, calibration error {distance:.3f}"
    what = "answers" if survey.task == "classification" else "detections"
    return f"{one.total / one.num_estimated:.1%} of {one.num_estimated} {what} wrong{really}"


def _drift(survey: Survey, found: Findings) -> str:
    if not survey.drifts or found.baseline is None:
        return ""
    alarms = [window.drift for window in survey.drifts if window.drift.is_alarm]
    names = sorted({name for drift in alarms for name in drift.alarming})
    what = f" ({', '.join(names)})" if names else ""
    windows = f"{len(alarms)} of {len(survey.drifts)} windows of {found.window_size}"
    return f"alarm in {windows}{what}, against {printable(found.baseline.name)}"


def _classes(errors: dict[str, Json], task: str, naming: Naming, output: Output) -> None:
    classes = {int(label): mapping(figures) for label, figures in mapping(errors["classes"]).items()}
    shown = list(classes.items())[:_MAX_ROWS]
    rows = [*(of for _, of in shown), errors]
    counts = [mapping(of["errors"]) for of in rows]
    columns = [
        Column("class", [*(output.shortened(printable(naming(label)), _MAX_TEXT) for label, _ in shown), "all"]),
        Column("truths", [str(of["num_truths"]) for of in rows], is_number=True),
        Column("AP50", [_number(of.get("ap_50", of.get("map_50"))) for of in rows], is_number=True),
        *(Column(kind, [str(of[kind]) for of in counts], is_number=True) for kind in TYPES[task]),
    ]
    output.table([column for column in columns if any(cell not in ("", "-") for cell in column.cells)], indent=2)
    if len(shown) < len(classes):
        output.line(f"  {len(classes) - len(shown)} classes more, for --json", style="dim")


def _thresholds(survey: Survey, output: Output) -> None:
    swept = survey.swept
    cuts = [swept.cut(place) for place in _PLACES if place >= swept.first_place]
    columns = [
        Column("score threshold", [f"{cut.threshold:g}" for cut in cuts], is_number=True),
        Column("would be seen an image", [compact(cut.shown_per_image) for cut in cuts], is_number=True),
    ]
    if swept.num_truths:
        for name in ("precision", "recall", "f1"):
            columns.append(Column(name, [_number(getattr(cut, name)) for cut in cuts], is_number=True))
    output.table(columns, indent=2)
    if swept.lowest_shown is not None:
        output.line(
            f"  lowest score seen {swept.lowest_shown:.3f}; {compact(swept.near)} candidates an image, which nothing"
            " surer suppresses, miss it by 0.05 or less",
            style="dim",
        )


def _results(found: Findings, output: Output) -> None:
    used = {one.name for one in (found.evaluation, found.baseline) if one}
    columns = [
        Column("result", [output.shortened(printable(entry.name), _MAX_TEXT) for entry in found.results]),
        Column("method", [printable(entry.method) for entry in found.results]),
        Column(
            "epoch", ["all" if entry.epoch is None else str(entry.epoch) for entry in found.results], is_number=True
        ),
        Column(
            "mAP" if found.version.task == "detection" else "accuracy",
            [_number(found.figures.get(entry.name)) for entry in found.results],
            is_number=True,
        ),
        Column("used", ["yes" if entry.name in used else "-" for entry in found.results]),
        Column("time (UTC)", [f"{entry.created:%Y-%m-%d %H:%M:%S}" for entry in found.results]),
    ]
    output.table(columns)


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and np.isfinite(value) else "-"
