import io
import math

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from ml.core.errors import ConfigError
from ml.report.charts import Bar, BarChart, Curve, Dimension, HeatMap, LineChart, ParallelChart
from ml.report.png import figure_of, png


def axes_of(chart):
    return figure_of([chart]).axes[0]


def test_charts_stand_below_each_other_in_one_picture(charts):
    one, all_of_them = (Image.open(io.BytesIO(png(some))) for some in ([charts["bars"]], list(charts.values())))

    assert one.format == "PNG"
    assert one.width == all_of_them.width == 990
    assert all_of_them.height > 4 * one.height
    assert np.asarray(one.convert("L")).std() > 10  # it is not blank


def test_axes_have_their_labels_and_curves_their_names(charts):
    axes = axes_of(charts["lines"])

    assert axes.get_title(loc="left") == "cpu"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time since the run began (s)", "cpu (%)")
    legend = [text.get_text().lstrip("\u200b") for text in axes.get_legend().get_texts()]
    assert legend == ["train", r"_eval \$x^{"]
    assert axes.get_lines()[0].get_xydata()[0].tolist() == [0.0, 10.0]


def test_epochs_have_whole_ticks(charts):
    figure = figure_of([charts["epochs"]])
    figure.canvas.draw()

    assert all(tick % 1 == 0 for tick in figure.axes[0].get_xticks())


def test_bars_are_named_from_top_to_bottom(charts):
    axes = axes_of(charts["bars"])

    assert [text.get_text() for text in axes.get_yticklabels()] == ["load", "change", "none"]
    assert axes.yaxis_inverted()
    assert [bar.get_width() for bar in axes.patches] == [2.0, -1.0, 0.0]
    assert axes.get_xlabel() == "time (s)"


def test_axis_0_of_a_heat_map_goes_down_and_axis_1_to_the_right(charts):
    axes = axes_of(charts["heat"])

    assert axes.get_images()[0].get_array().tolist() == [[7, 3], [0, 9]]
    assert axes.yaxis_inverted()
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("predicted", "actual")
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"7": (0, 0), "3": (1, 0), "9": (1, 1)}


def test_good_has_the_same_colour_whether_little_or_much_is_good(charts):
    def colours(chart):
        return [line.get_color() for line in axes_of(chart).get_lines()[:3]]

    much = colours(charts["sweep"])
    little = colours(charts["sweep"]._replace(is_low_good=True))

    assert much[:2] == little[1::-1] == ["#d95f0e", "#2171b5"]


def test_drawing_leaves_the_settings_and_figures_of_matplotlib_alone(charts):
    before = dict(mpl.rcParams)

    png(list(charts.values()))

    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "chart",
    [
        LineChart("$\\frac{$", "$", "$$", [Curve("$\\x$", [1.0], [1.0])]),
        LineChart("none", "x", "y", []),
        LineChart("nan", "x", "y", [Curve("a", [0.0], [math.nan])], is_counted=True),
        LineChart("huge", "x", "y", [Curve("a", [0.0, 1.0], [-1.7e307, 1.7e307])]),
        LineChart("many", "x", "y", [Curve(str(n), [0.0, 1.0], [n, n]) for n in range(100)]),
        LineChart("as large as can be", "x", "y", [Curve("a", [-1.7e308, 1.7e308], [-1.7e308, 1.7e308])]),
        BarChart("nan", "y", [Bar("a", math.inf, 0.0, math.inf)]),
        BarChart("as large as can be", "y", [Bar("a", 1.0, -1.7e308, 1.7e308)]),
        HeatMap("as large as can be", "a", "b", ["x"], ["y"], [[1.7e308]]),
        ParallelChart("as large as can be", [Dimension("a", [1, 2])], Dimension("t", [-1.7e308, 1.7e308])),
        HeatMap("large", "a", "b", list(map(str, range(100))), list(map(str, range(100))), [[1] * 100] * 100),
        ParallelChart("one", [Dimension("a", [1])], Dimension("t", [math.nan])),
    ],
    ids=lambda chart: f"{type(chart).__name__}-{chart.title}",
)
@pytest.mark.filterwarnings("error")
def test_odd_data_are_drawn_too(chart):
    Image.open(io.BytesIO(png([chart]))).load()


def test_no_chart_and_too_many_are_refused(charts):
    for count in (0, 61):
        with pytest.raises(ConfigError, match=rf"1 to 60 charts, got {count}\."):
            png([charts["bars"]] * count)
