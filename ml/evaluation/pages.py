"""Versions of predictions as one page: how good each is, which classes it confuses, and samples with their pictures.

A slider over the versions says which of them is shown; what became of a sample is told since the version before.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from typing import Final

from ml.evaluation.cards import cards_of, notable
from ml.evaluation.comparison import CHANGES
from ml.evaluation.confusion import heat_maps
from ml.evaluation.judging import Class, Detection
from ml.evaluation.slices import BINS, slices
from ml.evaluation.timeline import Moment, Timeline
from ml.report.charts import Curve, LineChart
from ml.report.html import Html
from ml.report.page import Page, Section, figures
from ml.report.stages import in_turn
from ml.report.svg import svg
from ml.report.table import Column, Staged, table

MAX_SAMPLES: Final = 200
"""Samples with pictures on a page, unless it is said otherwise: each takes 2 to 15 kB."""

_MAX_METRICS = 6
_VERSIONS = "version, in the order of the slider"


def page_of(
    shown: Timeline,
    *,
    title: str,
    by: Sequence[str] = (),
    bins: int = BINS,
    max_samples: int = MAX_SAMPLES,
    made: datetime | None = None,
) -> Page:
    """Returns the page of versions.

    Args:
        shown: The versions, judged.
        title: Of the page.
        by: Columns whose slices are shown.
        bins: Into which numbers are put.
        max_samples: How many samples are shown; what is said of all of them counts all of them.
        made: When it was made; by default now.

    Raises:
        ConfigError: A column is not there, or cannot be sliced.
        FileNotFoundError, FormatError, WriteError: A table cannot be read.
    """
    keys = notable(shown, max_samples)
    confusions = [moment.confusion for moment in shown.moments]
    sections = [
        Section("Versions", [_versions(shown), figures(_charts(shown))], _note(shown)),
        Section("Classes", [_class_table(shown)]),
        Section(
            "Confusion", [in_turn([figures([svg(chart) for chart in charts]) for charts in heat_maps(confusions)])]
        ),
        *(Section(f"Slices by {name}", [_slice_table(shown, name, bins)]) for name in by),
        Section("Samples", [cards_of(shown, keys)], _note_of_samples(shown, len(keys))),
    ]
    made = datetime.now(UTC) if made is None else made
    count = f"{len(shown.moments)} version{'' if len(shown.moments) == 1 else 's'}"
    return Page(
        title,
        sections,
        f"{count}, {len(shown.keys)} samples, as of {made.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        stages=[_name(moment) for moment in shown.moments],
    )


def _name(moment: Moment) -> str:
    evaluation = moment.evaluation
    return " ".join([evaluation.name, *(alias for alias in evaluation.aliases if alias != "latest")])


def _note(shown: Timeline) -> str:
    judge, samples = shown.judge, shown.moments[-1].evaluation.samples
    return (
        f"{judge.metric} is of all samples of a version whose truth is known. Column {samples.truth!r} is "
        f"true, {samples.predicted!r} was predicted, and {samples.key!r} tells samples apart. What "
        "changed did so since the version before."
    )


def _note_of_samples(shown: Timeline, count: int) -> str:
    notes = [f"{count} of {len(shown.keys)} samples; what changed last comes first."] if count < len(shown.keys) else []
    if isinstance(shown.judge, Detection):
        notes.append(
            f"Dotted boxes are true; the others were predicted, with a score of {shown.judge.min_score:g} or more."
        )
    return " ".join(notes)


def _versions(shown: Timeline) -> Html:
    moments = shown.moments
    counts = [Counter(moment.outcomes.values()) for moment in moments]
    created = [moment.evaluation.created for moment in moments]
    columns = [
        Column("version", [moment.evaluation.name for moment in moments]),
        Column("aliases", [", ".join(moment.evaluation.aliases) for moment in moments]),
        Column("samples", [len(moment.rows) for moment in moments], is_number=True),
        Column(shown.judge.metric, [moment.figures.value for moment in moments], is_number=True),
        Column("change", _gains([moment.figures.value for moment in moments]), is_number=True),
        *(Column(change, [count[change] for count in counts], is_number=True) for change in CHANGES[:3]),
        Column("not judged", [count["not judged"] or None for count in counts], is_number=True),
        Column("missing", [count["missing"] or None for count in counts], is_number=True),
        *(
            Column(_published(name), [moment.evaluation.metrics.get(name) for moment in moments], is_number=True)
            for name in _metrics(shown)
        ),
        Column("published (UTC)", [f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if time else "" for time in created]),
    ]
    return table([column for column in columns if any(cell not in (None, "") for cell in column.cells)])


def _metrics(shown: Timeline) -> list[str]:
    """Returns the names of the metrics that versions were published with."""
    return list(dict.fromkeys(name for moment in shown.moments for name in moment.evaluation.metrics))


def _gains(values: Sequence[float]) -> list[float | None]:
    return [None if place == 0 else value - values[place - 1] for place, value in enumerate(values)]


def _charts(shown: Timeline) -> list[Html]:
    moments, metric, of_class = shown.moments, shown.judge.metric, f"{shown.judge.class_metric} of each class"
    places = [float(place) for place in range(len(moments))]
    counts = [Counter(moment.outcomes.values()) for moment in moments]
    charts = [
        LineChart(
            metric, _VERSIONS, metric, [Curve(metric, places, [moment.figures.value for moment in moments])], True
        ),
        LineChart(
            of_class,
            _VERSIONS,
            shown.judge.class_metric,
            [Curve(str(name), places, [_value(moment, name) for moment in moments]) for name in shown.classes],
            True,
        ),
    ]
    if len(moments) > 2:
        curves = [Curve(change, places[1:], [float(count[change]) for count in counts[1:]]) for change in CHANGES[:3]]
        charts.append(LineChart("samples that changed, or stay wrong", _VERSIONS, "samples", curves, True))
    charts += [
        LineChart(
            _published(name),
            _VERSIONS,
            name,
            [Curve(name, places, [_metric(moment, name) for moment in moments])],
            True,
        )
        for name in _metrics(shown)[:_MAX_METRICS]
        if name != metric
    ]
    return [svg(chart) for chart in charts]


def _published(name: str) -> str:
    return f"{name} as published"


def _metric(moment: Moment, name: str) -> float:
    return moment.evaluation.metrics.get(name, float("nan"))


def _value(moment: Moment, name: Class) -> float:
    return moment.figures.by_class[name].value if name in moment.figures.by_class else float("nan")


def _class_table(shown: Timeline) -> Html:
    classes = shown.classes
    values = {name: [_value(moment, name) for moment in shown.moments] for name in classes}
    supports = [
        Staged([one.support if (one := moment.figures.by_class.get(name)) else 0 for moment in shown.moments])
        for name in classes
    ]
    return table(
        [
            Column("class", [str(name) for name in classes]),
            Column("boxes" if shown.moments[0].evaluation.samples.is_boxed else "samples", supports, is_number=True),
            Column(shown.judge.class_metric, [Staged(values[name]) for name in classes], is_number=True),
            Column("change", [Staged(_gains(values[name])) for name in classes], is_number=True),
        ]
    )


def _slice_table(shown: Timeline, name: str, bins: int) -> Html:
    """Returns how good each version is in each slice; the last version says which sample is in which."""
    last = shown.moments[-1]
    keys = list(last.rows)
    values = last.evaluation.samples.values(name)
    parts = slices([values[last.rows[key]] for key in keys], last.evaluation.samples.kind(name), bins=bins)
    figures_of = [
        [_figure(shown, moment, [keys[member] for member in part.members]) for moment in shown.moments]
        for part in parts
    ]
    return table(
        [
            Column(name, [part.name for part in parts]),
            Column("samples", [len(part.members) for part in parts], is_number=True),
            Column(shown.judge.metric, [Staged(values) for values in figures_of], is_number=True),
            Column("change", [Staged(_gains(values)) for values in figures_of], is_number=True),
        ]
    )


def _figure(shown: Timeline, moment: Moment, keys: Sequence[Hashable]) -> float:
    pairs = [moment.pairs[moment.rows[key]] for key in keys if key in moment.rows]
    return shown.judge.figures([pair for pair in pairs if shown.judge.is_known(pair[0])]).value
