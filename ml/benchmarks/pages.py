"""A benchmark as one HTML page: what ran, what it cost, charts, and every call."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

from ml.benchmarks.plots import Labels, charts_of, name_of, remarks_of
from ml.benchmarks.reading import BenchmarkRun, Benchmarks, StoredMeasurement
from ml.benchmarks.summary import Summary, summarize
from ml.report.html import Html, joined, tag
from ml.report.page import Page, Section, figures
from ml.report.svg import svg
from ml.report.table import Column, table

MAX_CALLS = 2000
"""Measurements that a page lists; what it says of all of them counts all of them."""


def page_of(
    benchmarks: Benchmarks,
    uuids: Sequence[str] = (),
    types: Sequence[str] = (),
    descriptions: Sequence[str] = (),
    *,
    title: str = "Benchmark",
    made: datetime | None = None,
) -> Page:
    """Returns the page of measurements.

    Args:
        benchmarks: Of ``open_benchmark``.
        uuids: Of the runs, or their beginnings.
        types: What was measured.
        descriptions: What the user called it.
        title: Of the page.
        made: When it was made; by default now.

    Raises:
        ConfigError, FormatError: As ``charts_of``.
    """
    runs = benchmarks.runs(uuids)
    summaries = summarize(benchmarks.measurements(uuids, types, descriptions))
    labels = Labels(benchmarks, uuids)
    drawn = [svg(chart) for chart in charts_of(benchmarks, uuids, types, descriptions)]
    calls = list(islice(benchmarks.measurements(uuids, types, descriptions), MAX_CALLS + 1))
    sections = [
        Section("Runs", [_runs(runs)]),
        Section("Charts", [figures(drawn) if drawn else tag("p", {}, "There is nothing to draw.")]),
        Section("Costs", [_costs(summaries, labels), _remarks(summaries, labels)], _note_of_costs(summaries)),
        Section(
            "Measurements",
            [_calls(calls[:MAX_CALLS])],
            f"The first {MAX_CALLS}; all of them: mlog bench export." if len(calls) > MAX_CALLS else "",
        ),
        Section("Surroundings", [_surroundings(runs)]),
    ]
    made = datetime.now(UTC) if made is None else made
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return Page(title, sections, f"{count}, as of {made.astimezone(UTC):%Y-%m-%d %H:%M} UTC")


def _filled(columns: Sequence[Column]) -> Html:
    """Returns a table of those columns that hold something."""
    return table([column for column in columns if any(cell not in (None, "") for cell in column.cells)] or columns[:1])


def _runs(runs: Sequence[BenchmarkRun]) -> Html:
    return _filled(
        [
            Column("run", [run.uuid[:8] for run in runs]),
            Column("description", [run.description for run in runs]),
            Column("program", [run.name for run in runs]),
            Column("status", [run.status for run in runs]),
            Column("started (UTC)", [f"{run.started.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for run in runs]),
            Column("duration (s)", [_duration_s(run) for run in runs], is_number=True),
            Column("processes", [len(run.processes) for run in runs], is_number=True),
            Column(
                "CPU of measuring (s)", [sum(p.sampler_cpu_s for p in run.processes) for run in runs], is_number=True
            ),
            Column("rows lost", [sum(p.lost for p in run.processes) or None for run in runs], is_number=True),
        ]
    )


def _costs(summaries: Sequence[Summary], labels: Labels) -> Html:
    subjects = [one.subject for one in summaries]
    return _filled(
        [
            Column("type", [name_of(subject.type) for subject in subjects]),
            Column("description", [labels.of(subject.uuid, subject.description) for subject in subjects]),
            Column("method", [subject.method for subject in subjects]),
            Column("calls", [len(one.values) for one in summaries], is_number=True),
            Column("median", [one.median for one in summaries], is_number=True),
            Column("unit", [subject.unit for subject in subjects]),
            Column("mean", [one.mean for one in summaries], is_number=True),
            Column("deviation", [one.stdev for one in summaries], is_number=True),
            Column("least", [one.low for one in summaries], is_number=True),
            Column("greatest", [one.high for one in summaries], is_number=True),
            Column("source", [subject.source for subject in subjects]),
            Column("failed", [one.failed or None for one in summaries], is_number=True),
        ]
    )


def _remarks(summaries: Sequence[Summary], labels: Labels) -> Html:
    remarks = [tag("li", {}, f"{name}: {remark}") for name, remark in remarks_of(summaries, labels)]
    return tag("ul", {"class": "note"}, *remarks) if remarks else joined([])


def _note_of_costs(summaries: Sequence[Summary]) -> str:
    failed = sum(one.failed for one in summaries)
    return "Calls that raised are counted as failed, and are not among the numbers." if failed else ""


def _calls(calls: Sequence[StoredMeasurement]) -> Html:
    return _filled(
        [
            Column("run", [one.uuid[:8] for one in calls]),
            Column("method", [one.method for one in calls]),
            Column("call", [one.call or None for one in calls], is_number=True),
            Column("type", [one.type for one in calls]),
            Column("description", [one.description for one in calls]),
            Column("value", [one.value for one in calls], is_number=True),
            Column("unit", [one.unit for one in calls]),
            Column("source", [one.source for one in calls]),
            Column("at (s)", [one.at_s for one in calls], is_number=True),
            Column("duration (s)", [one.duration_s for one in calls], is_number=True),
            Column("rank", [one.rank for one in calls], is_number=True),
            Column("error", [one.error for one in calls], mark=True),
            Column("reason", [one.reason for one in calls]),
        ]
    )


def _surroundings(runs: Sequence[BenchmarkRun]) -> Html:
    processes = [process for run in runs for process in run.processes]
    versions = [", ".join(f"{name} {version}" for name, version in one.versions.items()) for one in processes]
    return _filled(
        [
            Column("run", [one.uuid[:8] for one in processes]),
            Column("rank", [one.rank for one in processes], is_number=True),
            Column("host", [one.host for one in processes]),
            Column("process", [str(one.pid) for one in processes]),
            Column("command", [" ".join(map(str, one.argv)) for one in processes]),
            Column("git", [_git(one.git_commit, one.git_dirty) for one in processes]),
            Column("versions", versions),
        ]
    )


def _git(commit: str | None, is_dirty: bool | None) -> str:
    return "" if commit is None else f"{commit[:10]}, changed" if is_dirty else commit[:10]


def _duration_s(run: BenchmarkRun) -> float | None:
    return None if run.ended is None else (run.ended - run.started).total_seconds()
