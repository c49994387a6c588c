"""The charts of a benchmark database: one for each thing that was measured, drawn by ``ml.report``.

::

    charts = charts_of(open_benchmark("benchmarks.db"), types=["cpu", "loss"])
    Path("benchmarks.png").write_bytes(png(charts))

| of | is drawn |
|---|---|
| a time series | over the time since the run began: the least and the greatest of each column of pixels |
| a number a call | a bar: the median; the least and the greatest as a whisker |
| losses, accuracies | over epochs 1 to n |
| trials of a search | parallel coordinates, coloured by the target: good has the same colour, be it little or much |
| a confusion matrix | a heat map, rows predicted and columns actual |

Numbers that were estimated say so. What is drawn is kept, not what it is drawn from: a series is read once, some
thousand samples at a time.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ml.benchmarks.decimate import Outline, decimated
from ml.benchmarks.reading import Benchmarks, StoredMeasurement
from ml.benchmarks.summary import Summary, summarize
from ml.benchmarks.tracked import curve_of, heat_map_of, is_tracked, search_of
from ml.report.charts import Bar, BarChart, Chart, Curve, LineChart
from ml.report.scale import cut

MAX_CURVES = 24
MAX_BARS = 60
MAX_CALLS = 1000
"""Calls of a function whose samples make one curve: each is looked for by itself."""

_FEWEST = 3
_LONGEST_NAME = 30
_X_LABEL = "time since the run began (s)"
_ORDER = (
    "time", "latency", "throughput", "cpu", "memory", "energy", "power", "gpu", "loss", "timed_tta", "tta",
    "hyperparameters", "confusion_matrix",
)  # fmt: skip
_NAMES = {"cpu": "CPU", "gpu": "GPU", "tta": "accuracy", "timed_tta": "time to accuracy"}


Chunk = tuple[Sequence[float], Sequence[float]]
"""Times and values of some samples."""


class Line(NamedTuple):
    """What becomes one curve: the calls of a function, of which each may have samples.

    Attributes:
        uuid: Of the run.
        description: What the user called it.
        method: The function.
        rank: Of the process.
        source: Where the numbers come from.
        unit: Of them.
    """

    uuid: str
    description: str
    method: str
    rank: int
    source: str
    unit: str


class Labels:
    """What runs are called in charts: by their descriptions, and by the uuid where those do not tell them apart."""

    def __init__(self, benchmarks: Benchmarks, uuids: Sequence[str] = ()) -> None:
        runs = benchmarks.runs(uuids)
        names = [cut(run.description or run.name, _LONGEST_NAME) for run in runs]
        self._names = {
            run.uuid: name if name and names.count(name) == 1 else f"{name} ({run.uuid[:8]})".lstrip()
            for run, name in zip(runs, names, strict=True)
        }

    def of(self, uuid: str, *parts: str) -> str:
        """Returns what something of a run is called; the run is named only where there are several."""
        said = list(dict.fromkeys(part for part in parts if part))
        return ", ".join([*said, self._names[uuid]] if len(self._names) > 1 else said) or self._names[uuid]


def charts_of(
    benchmarks: Benchmarks, uuids: Sequence[str] = (), types: Sequence[str] = (), descriptions: Sequence[str] = ()
) -> list[Chart]:
    """Returns the charts of measurements: times first, then what they cost, then what trackers were told.

    Args:
        benchmarks: Of ``open_benchmark``.
        uuids: Of the runs, or their beginnings.
        types: What was measured.
        descriptions: What the user called it.

    Raises:
        ConfigError: No run, or more than one, has a uuid that begins like that.
        FormatError: What a tracker kept is not what that tracker keeps.
    """
    labels = Labels(benchmarks, uuids)
    wanted = {kind.type for kind in benchmarks.kinds(uuids) if not types or kind.type in types}
    charts: list[Chart] = []
    for type_ in sorted(wanted, key=_place_of):
        if is_tracked(type_):
            charts += _tracked(type_, list(benchmarks.measurements(uuids, [type_], descriptions)), labels)
            continue
        charts += _series(benchmarks, type_, benchmarks.measurements(uuids, [type_], descriptions), labels)
        charts += bars_of(type_, summarize(benchmarks.measurements(uuids, [type_], descriptions)), labels)
    return charts


def bars_of(type_: str, summaries: Sequence[Summary], labels: Labels) -> list[Chart]:
    """Returns a bar for each subject, in a chart for each unit."""
    charts: list[Chart] = []
    valued = [one for one in summaries if one.median is not None]
    for unit in dict.fromkeys(one.subject.unit for one in valued):
        bars = [_bar(one, labels) for one in valued if one.subject.unit == unit]
        notes = (
            ["median of the calls, and their least and greatest"] if any(bar.low != bar.high for bar in bars) else []
        )
        if failed := sum(one.failed for one in summaries if one.subject.unit == unit):
            notes.append(f"without {failed} that raised")
        if len(bars) > MAX_BARS:
            notes.append(f"the first {MAX_BARS} of {len(bars)}")
        charts.append(BarChart(name_of(type_), axis_of(type_, unit), bars[:MAX_BARS], "; ".join(notes)))
    return charts


def remarks_of(summaries: Sequence[Summary], labels: Labels) -> Iterator[tuple[str, str]]:
    """Yields what failed, is missing or was estimated, and why: the types of one method and of one reason together."""
    types: dict[tuple[str, str], list[str]] = {}
    for one in summaries:
        subject, remark = one.subject, one.error if one.failed else one.reason
        if remark:
            name = labels.of(subject.uuid, subject.description, subject.method)
            types.setdefault((name, remark), []).append(subject.type)
    for (name, remark), of_name in types.items():
        yield f"{' '.join(of_name)} of {name}", remark


def name_of(type_: str) -> str:
    """Returns what a type is called above a chart."""
    return _NAMES.get(type_) or type_.replace("_", " ")


def axis_of(type_: str, unit: str) -> str:
    """Returns what an axis of a type is called: ``memory (MiB)``."""
    return f"{name_of(type_)} ({unit})" if unit else name_of(type_)


def _place_of(type_: str) -> tuple[int, str]:
    places = [place for place, name in enumerate(_ORDER) if re.match(f"{name}($|[_/])", type_)]
    return (places[0] if places else len(_ORDER), type_)


def _bar(summary: Summary, labels: Labels) -> Bar:
    subject = summary.subject
    name = labels.of(subject.uuid, subject.description, subject.method)
    median = summary.median
    assert median is not None, "only what has numbers becomes a bar"
    return Bar(
        f"{name} [{subject.source}]" if subject.source == "estimated" else name, median, summary.low, summary.high
    )


def _series(
    benchmarks: Benchmarks, type_: str, measurements: Iterator[StoredMeasurement], labels: Labels
) -> list[Chart]:
    calls: dict[Line, list[StoredMeasurement]] = {}
    left_out, has_more = set[Line](), set[Line]()
    for one in measurements:
        line = Line(one.uuid, one.description, one.method, one.rank, one.source, one.unit)
        if line not in calls and len(calls) >= MAX_CURVES:
            left_out.add(line)
        elif len(kept := calls.setdefault(line, [])) < MAX_CALLS:
            kept.append(one)
        else:
            has_more.add(line)
    outlines = {line: decimated(_with_gaps(benchmarks, kept)) for line, kept in calls.items()}
    drawn = {line: outline for line, outline in outlines.items() if outline.num_samples >= _FEWEST}
    has_ranks = len({line.rank for line in drawn}) > 1
    charts: list[Chart] = []
    for unit in dict.fromkeys(line.unit for line in drawn):
        of_unit = {line: outline for line, outline in drawn.items() if line.unit == unit}
        notes = [f"the first {len(calls)} of {len(calls) + len(left_out)} series"] if left_out else []
        if has_more & set(of_unit):
            notes.append(f"the first {MAX_CALLS} calls of a series")
        if any(outline.num_samples > len(outline.values) for outline in of_unit.values()):
            notes.append("least and greatest of each column")
        curves = [_curve(line, outline, labels, has_ranks=has_ranks) for line, outline in of_unit.items()]
        title = f"{name_of(type_)} over time"
        charts.append(LineChart(title, _X_LABEL, axis_of(type_, unit), curves, note="; ".join(notes)))
    return charts


def _curve(line: Line, outline: Outline, labels: Labels, *, has_ranks: bool) -> Curve:
    name = labels.of(line.uuid, line.description, line.method, f"rank {line.rank}" if has_ranks else "")
    if line.source == "estimated":
        name = f"{name} [estimated]"
    return Curve(name, outline.at_s.tolist(), outline.values.tolist())


def _with_gaps(benchmarks: Benchmarks, calls: Sequence[StoredMeasurement]) -> Iterator[Chunk]:
    """Yields the samples of calls, and between two calls one that is no number, halfway."""
    last_s = None
    for call in calls:
        for number, (at_s, values) in enumerate(benchmarks.sample_columns(call)):
            if number == 0 and last_s is not None:
                yield [(last_s + at_s[0]) / 2], [math.nan]
            yield at_s, values
            last_s = at_s[-1]


def _tracked(type_: str, measurements: Sequence[StoredMeasurement], labels: Labels) -> list[Chart]:
    charts: list[Chart] = []
    if curves := [
        Curve(labels.of(one.uuid, one.description), *curve_of(one))
        for one in measurements
        if type_ in ("loss", "tta") and one.data is not None
    ]:
        label = "best accuracy so far" if type_ == "tta" else name_of(type_)
        note = f"the first {MAX_CURVES} of {len(curves)}" if len(curves) > MAX_CURVES else ""
        charts.append(LineChart(name_of(type_), "epoch", label, curves[:MAX_CURVES], is_counted=True, note=note))
    if type_ == "confusion_matrix":
        charts += [heat_map_of(one, labels.of(one.uuid, one.description)) for one in measurements]
    if type_ == "hyperparameters":
        searches: dict[tuple[str, str, str], list[StoredMeasurement]] = {}
        for one in measurements:
            sweep = one.data.get("sweep") if isinstance(one.data, dict) else None
            searches.setdefault((one.uuid, one.description, str(sweep)), []).append(one)
        charts += [search_of(trials, labels.of(uuid, text)) for (uuid, text, _), trials in searches.items()]
    return charts
