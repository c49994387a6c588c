import math
import re
from xml.etree import ElementTree

import pytest

from ml.report.charts import BarChart, Curve, Dimension, HeatMap, LineChart, ParallelChart
from ml.report.svg import svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart):
    """A chart as an XML parser reads it."""
    return ElementTree.fromstring(svg(chart))


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text") if element.text]


def points(path):
    return [[float(number) for number in pair] for pair in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d"))]


def curves(root):
    """The lines of a chart, without those of its legend."""
    paths = root.iter(f"{SVG}path")
    return [path for path in paths if "curve s" in path.get("class") and "h18" not in path.get("d")]


def place(root, text):
    """Where a text stands: x, y."""
    [found] = [element for element in root.iter(f"{SVG}text") if element.text == text]
    return float(found.get("x")), float(found.get("y"))


def test_every_chart_is_xml_with_its_title_and_no_style_of_its_own(charts):
    for chart in charts.values():
        root = drawn(chart)
        assert root.tag == f"{SVG}svg"
        assert chart.title in texts(root)
        assert all("style" not in element.attrib and "id" not in element.attrib for element in root.iter())


def test_axes_have_their_labels_and_curves_their_names(charts):
    shown = texts(drawn(charts["lines"]))

    assert {"cpu (%)", "time since the run began (s)", "train", "_eval $x^{", "2 of 5 series"} <= set(shown)
    assert {"0", "20", "40", "1", "4"} <= set(shown)  # ticks


def test_what_is_not_finite_is_a_gap_and_a_point_alone_is_a_dot(charts):
    root = drawn(charts["lines"])

    first = curves(root)[0]
    assert first.get("d").count("M") == 2
    assert len(points(first)) == 4
    assert [dot.find(f"{SVG}title").text for dot in root.iter(f"{SVG}circle")] == ["_eval $x^{: 30 at 4"]


def test_more_is_higher_and_later_is_further_right(charts):
    root = drawn(charts["epochs"])

    [curve] = curves(root)
    (x1, y1), (x2, y2), (x3, y3) = points(curve)
    assert x1 < x2 < x3
    assert y1 < y2 < y3
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.2)
    assert (y3 - y1) == pytest.approx(1.5 * (y2 - y1), abs=0.2)
    assert place(root, "2")[0] == pytest.approx(x2, abs=0.2)  # its tick


def test_epochs_have_whole_ticks_and_a_mark_each(charts):
    root = drawn(charts["epochs"])

    assert len(list(root.iter(f"{SVG}circle"))) == 3
    assert not {"1.5", "2.5"} & set(texts(root))


def test_bars_begin_at_zero_and_whiskers_reach_from_least_to_greatest(charts):
    root = drawn(charts["bars"])

    load, change = (
        {name: float(box.get(name)) for name in ("x", "width")} for box in root.iter(f"{SVG}rect")
    )  # fmt: skip
    zero = load["x"]
    assert change["x"] + change["width"] == pytest.approx(zero, abs=0.2)
    assert load["width"] == pytest.approx(2 * change["width"], abs=0.2)
    [whisker] = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("class") == "whisker"]
    low, high = float(re.match(r"M([\d.]+)", whisker)[1]), float(re.search(r"H([\d.]+)", whisker)[1])
    assert [low - zero, high - zero] == pytest.approx([change["width"], 4 * change["width"]], abs=0.3)
    assert {"load", "change", "none", "nan", "2", "-1", "time (s)"} <= set(texts(root))


def test_axis_0_of_a_heat_map_goes_down_and_axis_1_to_the_right(charts):
    root = drawn(charts["heat"])

    cells = [box for box in root.iter(f"{SVG}rect") if box.get("class") == "cell"]
    assert [cell.find(f"{SVG}title").text for cell in cells] == [
        "predicted cat, actual cat: 7",
        "predicted cat, actual dog: 3",
        "predicted dog, actual cat: 0",
        "predicted dog, actual dog: 9",
    ]
    x, y = ([float(cell.get(name)) for cell in cells] for name in "xy")
    assert x[0] == x[2] < x[1] == x[3]
    assert y[0] == y[1] < y[2] == y[3]
    assert place(root, "3")[0] > place(root, "7")[0]
    assert place(root, "3")[1] == place(root, "7")[1]
    assert [cell.get("fill-opacity") for cell in cells] == ["0.778", "0.333", "0.000", "1.000"]
    assert {"predicted", "actual"} <= set(texts(root))


def test_good_has_the_same_colour_whether_little_or_much_is_good(charts):
    def colours(chart):
        return [
            path.get("stroke") for path in drawn(chart).iter(f"{SVG}path") if path.get("class", "").startswith("curve")
        ]

    much = colours(charts["sweep"])
    little = colours(charts["sweep"]._replace(is_low_good=True))

    assert much[:2] == little[1::-1] == ["rgb(217,95,14)", "rgb(33,113,181)"]
    assert much[2] is None  # its target is not finite
    assert "accuracy: high is good" in texts(drawn(charts["sweep"]))


def test_numbers_lie_by_size_learning_rates_by_magnitude_and_texts_have_places(charts):
    root = drawn(charts["sweep"])
    high, low, middle = (points(path)[:2] for path in root.iter(f"{SVG}path") if "curve" in path.get("class", ""))

    assert high[0][1] < middle[0][1] < low[0][1]
    assert middle[0][1] == pytest.approx((high[0][1] + low[0][1]) / 2, abs=0.2)
    assert high[1] == middle[1] != low[1]
    assert {"0.1", "0.001", "sgd", "adam", "lr", "optimizer", "accuracy"} <= set(texts(root))


def test_long_texts_are_cut_and_can_be_read_where_the_pointer_is():
    name = "n" * 500
    root = drawn(LineChart(name, "x", "y", [Curve(name, [1.0], [1.0])], note=name))

    assert max(map(len, texts(root))) < 100
    assert name in [element.text for element in root.iter(f"{SVG}title")]


@pytest.mark.parametrize(
    "chart",
    [
        LineChart("none", "x", "y", []),
        LineChart("empty", "x", "y", [Curve("a", [], [])]),
        LineChart("nan", "x", "y", [Curve("a", [math.nan, math.inf], [math.nan, -math.inf])], is_counted=True),
        LineChart("huge", "x", "y", [Curve("a", [0.0, 1.0], [-1.7e308, 1.7e308])]),
        LineChart("tiny", "x", "y", [Curve("a", [0.0, 5e-324], [0.0, 5e-324])]),
        LineChart("near", "x", "y", [Curve("a", [1e15, 1e15 + 1], [1e15, 1e15 + 1])]),
        LineChart("many", "x", "y", [Curve(str(n), [0.0, 1.0], [n, n]) for n in range(100)]),
        BarChart("none", "y", []),
        HeatMap("none", "a", "b", [], [], []),
        HeatMap("nan", "a", "b", ["x"], ["y"], [[math.nan]]),
        HeatMap("large", "a", "b", list(map(str, range(100))), list(map(str, range(100))), [[1] * 100] * 100),
        ParallelChart("none", [], Dimension("t", [])),
        ParallelChart("one", [Dimension("a", [1])], Dimension("t", [math.nan])),
        ParallelChart("bool", [Dimension("a", [True, False])], Dimension("t", [1, 1])),
    ],
    ids=lambda chart: f"{type(chart).__name__}-{chart.title}",
)
def test_odd_data_are_drawn_too(chart):
    assert not re.search(r"nan[ ,LM]|inf[ ,LM]", svg(chart).replace(">nan<", ""))
    drawn(chart)
