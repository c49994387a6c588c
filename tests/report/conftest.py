"""A browser, and charts of each kind."""

import math
from pathlib import Path

import pytest

from ml.report.charts import Bar, BarChart, Chart, Curve, Dimension, HeatMap, LineChart, ParallelChart
from tests.browser import Browse, browser


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page in a browser, and returns what a function says of it."""
    return browser(tmp_path)


@pytest.fixture
def charts() -> dict[str, Chart]:
    """One chart of each kind, small enough to know everything about it."""
    return {
        "lines": LineChart(
            "cpu",
            "time since the run began (s)",
            "cpu (%)",
            [
                Curve("train", [0.0, 1.0, 2.0, 3.0, 4.0], [10.0, 20.0, math.nan, 40.0, 5.0]),
                Curve("_eval $x^{", [4.0], [30.0]),
            ],
            note="2 of 5 series",
        ),
        "epochs": LineChart(
            "loss", "epoch", "loss", [Curve("cnn", [1.0, 2.0, 3.0], [1.0, 0.5, 0.25])], is_counted=True
        ),
        "bars": BarChart("time", "time (s)", [Bar("load", 2.0, 1.0, 4.0), Bar("change", -1.0), Bar("none", math.nan)]),
        "heat": HeatMap("confusion", "predicted", "actual", ["cat", "dog"], ["cat", "dog"], [[7, 3], [0, 9]]),
        "sweep": ParallelChart(
            "sweep",
            [Dimension("lr", [0.1, 0.001, 0.01]), Dimension("optimizer", ["sgd", "adam", "sgd"])],
            Dimension("accuracy", [0.5, 1.0, math.nan]),
            is_low_good=False,
        ),
    }
