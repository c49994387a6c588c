import math
import re
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from ml.benchmarks.database import Benchmark
from ml.benchmarks.measurement import Measurement, Sample
from ml.benchmarks.pages import page_of
from ml.benchmarks.plots import MAX_BARS, MAX_CURVES, charts_of
from ml.benchmarks.reading import open_benchmark
from ml.benchmarks.summary import summarize
from ml.benchmarks.trackers import (
    ConfusionMatrixTracker,
    HyperparameterTracker,
    LossTracker,
    TTATracker,
    confusion_matrix,
)
from ml.core.errors import FormatError
from ml.report.charts import BarChart, HeatMap, LineChart, ParallelChart
from ml.report.png import png


def call(type_="time", value=1.0, **fields):
    return Measurement("work", type_, value, **({"unit": "s", "source": "process", "method": "train"} | fields))


@pytest.fixture
def kept(tmp_path):
    """Keeps what is recorded as a run, and opens the database."""

    def keep(*measurements, description="a run"):
        with Benchmark(tmp_path / "b.db", description) as benchmark:
            benchmark.record(measurements)
        return open_benchmark(tmp_path / "b.db")

    return keep


@pytest.fixture
def tracked(tmp_path):
    """A run with one of each tracker, and the opened database."""
    with Benchmark(tmp_path / "b.db", "a run") as benchmark:
        LossTracker(benchmark).track([1.0, float("nan"), 0.25], "training")
        TTATracker(benchmark).track([0.5, 0.9, 0.8], "validation")
        with HyperparameterTracker(benchmark, "sweep", ["lr", "opt"], "accuracy", low_means_good=False) as tracker:
            tracker.track({"lr": 0.1, "opt": "sgd", "accuracy": 0.5})
            tracker.track({"lr": 0.01, "opt": "adam", "accuracy": 0.9})
        matrix = confusion_matrix(["cat", "cat", "dog"], ["cat", "dog", "dog"], ["cat", "dog"])
        ConfusionMatrixTracker(benchmark).track(matrix, ["cat", "dog"], "digits")
    return open_benchmark(tmp_path / "b.db")


def chart_of(charts, kind):
    [found] = [chart for chart in charts if isinstance(chart, kind)]
    return found


def test_calls_become_a_bar_from_least_to_greatest_at_their_median(kept):
    chart = chart_of(charts_of(kept(*(call(value=value, call=n) for n, value in enumerate([3.0, 1.0, 2.0])))), BarChart)

    [bar] = chart.bars
    assert (chart.title, chart.value_label) == ("time", "time (s)")
    assert (bar.name, bar.value, bar.low, bar.high) == ("work, train", 2.0, 1.0, 3.0)


def test_what_raised_has_no_part_in_the_numbers_and_is_counted(kept):
    benchmarks = kept(call(value=1.0), call(value=9.0, status="error", error="ValueError: no"))

    [summary] = summarize(benchmarks.measurements())
    assert (list(summary.values), summary.failed, summary.error) == ([1.0], 1, "ValueError: no")
    chart = chart_of(charts_of(benchmarks), BarChart)
    assert chart.bars[0].value == 1.0
    assert "without 1 that raised" in chart.note


def test_what_has_no_value_is_never_drawn_as_zero_and_what_is_estimated_says_so(kept):
    benchmarks = kept(
        call("energy", None, source="unavailable", reason="no counters"),
        call("power", 5.0, unit="W", source="estimated", reason="from CPU time"),
    )

    [chart] = charts_of(benchmarks)
    assert [bar.name for bar in chart.bars] == ["work, train [estimated]"]
    page = page_of(benchmarks).encoded().decode()
    assert "no counters" in page
    assert "unavailable" in page


def test_the_series_of_calls_are_one_curve_over_the_time_of_the_run_with_gaps_between(kept):
    first = call("cpu", 50.0, unit="%", call=1, samples=(Sample(0.5, 40.0), Sample(1.0, 60.0)))
    second = call("cpu", 50.0, unit="%", call=2, samples=(Sample(5.0, 10.0),))

    chart = chart_of(charts_of(kept(first, second)), LineChart)

    [curve] = chart.curves
    assert (chart.x_label, chart.y_label) == ("time since the run began (s)", "CPU (%)")
    assert curve.x == [0.5, 1.0, 3.0, 5.0]
    assert curve.y[:2] + curve.y[3:] == [40.0, 60.0, 10.0]
    assert math.isnan(curve.y[2])


def test_a_long_series_is_drawn_with_its_peak(kept):
    samples = [Sample(number / 100, float(number == 12_345)) for number in range(20_000)]

    chart = chart_of(charts_of(kept(call("cpu", 1.0, samples=samples))), LineChart)

    [curve] = chart.curves
    assert len(curve.x) < 5000
    assert max(zip(curve.y, curve.x, strict=True)) == (1.0, 123.45)
    assert "least and greatest" in chart.note


def test_runs_are_named_where_there_are_several_and_by_uuid_where_they_are_alike(kept):
    kept(call(), description="same")
    kept(call(), description="same")
    benchmarks = kept(call(), description="other")

    names = [bar.name for bar in chart_of(charts_of(benchmarks), BarChart).bars]

    same, again, other = (run.uuid[:8] for run in benchmarks.runs())
    assert names == [f"work, train, same ({same})", f"work, train, same ({again})", "work, train, other"]
    assert [bar.name for bar in chart_of(charts_of(benchmarks, [other]), BarChart).bars] == ["work, train"]


def test_runs_whose_descriptions_are_cut_alike_are_told_apart_too(kept):
    kept(call(), description="digits, batch size 64, learning rate 0.1")
    benchmarks = kept(call(), description="digits, batch size 64, learning rate 0.01")

    names = [bar.name for bar in chart_of(charts_of(benchmarks), BarChart).bars]

    assert [name[-10:] for name in names] == [f"({run.uuid[:8]})" for run in benchmarks.runs()]


def test_units_are_not_mixed_in_one_chart(kept):
    charts = charts_of(kept(call(unit="s"), call(unit="ms")))

    assert [chart.value_label for chart in charts] == ["time (s)", "time (ms)"]


def test_ranks_have_a_curve_each(kept):
    samples = tuple(Sample(float(n), float(n)) for n in range(3))

    chart = chart_of(charts_of(kept(*(call("cpu", 1.0, rank=rank, samples=samples) for rank in (0, 1)))), LineChart)

    assert [curve.name for curve in chart.curves] == ["work, train, rank 0", "work, train, rank 1"]


def test_too_many_curves_and_bars_are_cut_and_said(kept):
    samples = tuple(Sample(float(n), 1.0) for n in range(3))

    charts = charts_of(kept(*(call("cpu", 1.0, method=f"m{n}", samples=samples) for n in range(70))))

    lines, bars = chart_of(charts, LineChart), chart_of(charts, BarChart)
    assert (len(lines.curves), len(bars.bars)) == (MAX_CURVES, MAX_BARS)
    assert f"the first {MAX_CURVES} of 70 series" in lines.note
    assert f"the first {MAX_BARS} of 70" in bars.note


def test_losses_go_over_epochs_from_1(tracked):
    [chart] = charts_of(tracked, types=["loss"])

    [curve] = chart.curves
    assert (chart.x_label, chart.y_label, curve.name) == ("epoch", "loss", "training")
    assert curve.x == [1, 2, 3]
    assert (curve.y[0], curve.y[2], math.isnan(curve.y[1])) == (1.0, 0.25, True)
    assert chart.is_counted


def test_accuracies_are_the_best_so_far(tracked):
    [chart] = charts_of(tracked, types=["tta"])

    assert chart.y_label == "best accuracy so far"
    assert chart.curves[0].y == [0.5, 0.9, 0.9]


def test_a_confusion_matrix_has_predictions_down_and_actual_classes_across(tracked):
    chart = chart_of(charts_of(tracked), HeatMap)

    assert (chart.row_label, chart.column_label) == ("predicted", "actual")
    assert chart.row_names == chart.column_names == ["cat", "dog"]
    assert chart.values == [[1, 0], [1, 1]]  # a cat that was taken for a dog: row dog, column cat
    assert chart.note == "2 of 3 right (66.7 %)"


def test_a_search_is_coloured_by_its_target_in_its_direction(tracked):
    chart = chart_of(charts_of(tracked), ParallelChart)

    assert [(one.name, list(one.values)) for one in chart.dimensions] == [
        ("lr", [0.1, 0.01]),
        ("opt", ["sgd", "adam"]),
    ]
    assert (chart.target.name, list(chart.target.values), chart.is_low_good) == ("accuracy", [0.5, 0.9], False)


def test_two_searches_of_one_name_are_two_charts(tmp_path):
    with Benchmark(tmp_path / "b.db") as benchmark:
        for _ in range(2):
            HyperparameterTracker(benchmark, "sweep", ["lr"], "loss").track({"lr": 0.1, "loss": 1.0})

    assert len(charts_of(open_benchmark(tmp_path / "b.db"))) == 2


@pytest.mark.parametrize("type_", ["loss", "confusion_matrix", "hyperparameters"])
@pytest.mark.parametrize(
    "data", ['"text"', "[[]]", '{"matrix": [[1]], "labels": ["a", "b"]}', '{"hyperparameters": 1}']
)
def test_what_somebody_else_wrote_is_an_error_of_the_format(tracked, tmp_path, type_, data):
    with sa.create_engine(f"sqlite:///{tmp_path / 'b.db'}").begin() as connection:
        connection.execute(sa.text("UPDATE measurements SET data = :data"), {"data": data})

    with pytest.raises(FormatError, match=r"no (curve|confusion matrix|trials) of"):
        charts_of(tracked, types=[type_])


def test_times_come_first_and_what_trackers_were_told_last(tracked, kept):
    charts = charts_of(kept(call("power", unit="W"), call("time"), call("memory", unit="MiB")))

    assert [chart.title.split(":")[0] for chart in charts] == [
        "time", "memory", "power", "loss", "accuracy", "search", "confusion matrix",
    ]  # fmt: skip


def test_all_of_it_is_drawn_as_a_picture_and_as_a_page(tracked, kept):
    benchmarks = kept(call(samples=tuple(Sample(float(n), 1.0) for n in range(9))))

    assert png(charts_of(benchmarks)).startswith(b"\x89PNG")
    page = page_of(benchmarks, title="<b>", made=datetime(2026, 1, 2, tzinfo=UTC)).encoded().decode()
    assert page.count("<svg ") == len(charts_of(benchmarks)) == 6
    assert "2 runs, as of 2026-01-02 00:00 UTC" in page
    assert re.findall("<h2[^>]*>([^<]*)", page) == ["Runs", "Charts", "Costs", "Measurements", "Surroundings"]
