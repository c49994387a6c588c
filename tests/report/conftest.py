"""What a browser makes of a page: a headless Chromium, where there is one."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from ml.report.charts import Bar, BarChart, Chart, Curve, Dimension, HeatMap, LineChart, ParallelChart

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LIMIT_S = 60.0

Browse = Callable[[bytes, str], Any]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page in a frame, runs a function of JavaScript on its document, and returns what that returned.

    The page's own policy forbids programs, so what looks at it stands outside of the frame.
    """
    if CHROMIUM is None:
        pytest.skip("chromium is not on PATH: apt-get install chromium")

    def run(page: bytes, function: str) -> Any:
        frame = f'<iframe srcdoc="{escape(page.decode())}" width="800" height="600"></iframe>'
        asking = (
            "const frame = document.querySelector('iframe');"
            "addEventListener('load', () => { document.querySelector('#said').textContent ="
            f" JSON.stringify(({function})(frame.contentDocument, frame.contentWindow)); }});"
        )
        around = tmp_path / "around.html"
        around.write_text(f"<!DOCTYPE html><pre id=said></pre>{frame}<script>{asking}</script>", "utf-8")
        ran = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", around.as_uri(),
            ],
            capture_output=True, text=True, timeout=LIMIT_S, check=True,
        )  # fmt: skip
        said = re.search(r'<pre id="said">(.*?)</pre>', ran.stdout, re.DOTALL)
        assert said is not None, ran.stderr
        return json.loads(unescape(said[1]))

    return run


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
