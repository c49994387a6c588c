import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.tracing import Drift, Evaluator, Selection, import_traces, open_traces

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # torchvision alone takes seconds to load
SHIFTS = ("noise", "scale", "contrast")


@pytest.mark.timeout(900)
def test_the_demo_keeps_its_promises_and_leaves_traces_a_report_and_an_archive(tmp_path):
    command = [sys.executable, ROOT / "scripts/demo_tracing.py", "--directory", tmp_path / "demo"]

    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    lines = {words[0]: words[1:] for line in done.stdout.splitlines() if len(words := line.split()) > 6}
    assert lines["none"][:2] == ["10", "0"]
    assert all(int(lines[shift][1]) > 0 for shift in SHIFTS)
    assert float(lines["none"][4]) > 0.7
    assert float(lines["none"][5]) < 0.1
    assert "dropped={}, failed={}, disagreements=0" in done.stdout
    with open_traces(tmp_path / "demo/traces.db") as traces:
        found = traces.inferences(Selection("digit_fcos", "demo", n_epoch="all"))
    evaluator = Evaluator("digit_fcos", "demo", database=tmp_path / "demo/traces.db")
    (name,) = evaluator.list_results(method_name="default")["result_name"]
    assert evaluator.get_result(name).data["map_50"] > 0.5
    assert found["dataset_type"].value_counts().to_dict() == {"val": 600, "deploying": 800}
    assert found["shift"].value_counts().to_dict() == {"none": 500} | dict.fromkeys(SHIFTS, 100)
    (archive,) = (tmp_path / "demo").glob("*.zip")
    unpacked = import_traces(archive, tmp_path / "unpacked")
    assert unpacked.rows["inferences"] == 1400
    assert pd.read_parquet(unpacked.tables["detections"])["error_probability"].notna().any()
    page = (tmp_path / "demo/report.html").read_text()
    assert "digit_fcos" in page
    assert page.count("data:image/png;base64") > 20


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import demo_tracing

    return demo_tracing


def deployed(demo, alarms, windows=2, is_told=True):
    """What was seen of scenes: so many alarms, and estimates that do tell errors, or do not."""
    drifts = [Drift(n + 1, 50, {"score_ks": float(n < alarms)}, {"score_ks": 0.5}) for n in range(windows)]
    is_wrong = np.arange(100) % 2 == 0
    return demo.Deployed(drifts, np.where(is_wrong == is_told, 0.9, 0.1), is_wrong)


def test_the_demo_says_which_promise_is_broken(demo):
    quiet, loud = deployed(demo, 0), deployed(demo, 1)

    assert demo.broken({"none": quiet, "noise": loud}) == []
    assert demo.broken({"none": loud, "noise": loud}) == ["1 windows without a shift raised an alarm"]
    assert demo.broken({"none": quiet, "noise": quiet}) == ["no window with the shift 'noise' raised an alarm"]
    (problem,) = demo.broken({"none": deployed(demo, 0, is_told=False), "noise": loud})
    assert problem == "the AUROC of the estimate is 0.0, not above 0.7"
    (problem,) = demo.broken({"none": quiet._replace(is_wrong=np.ones(100, bool)), "noise": loud})
    assert "AUROC of the estimate is None" in problem


def test_shifted_scenes_have_their_boxes_where_their_digits_are(demo):
    shown = demo.scenes(10, seed=3)

    (batch,) = demo.batches(shown, "scale")

    assert batch.names == [f"scale-{number}" for number in range(10)]
    for image, truth in zip(batch.images, batch.truths, strict=True):
        outside = image[0].clone()
        for x1, y1, x2, y2 in truth["boxes"].round().int().tolist():
            assert image[0, y1:y2, x1:x2].max() > 0.5
            outside[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = 0
        assert outside.max() < 0.2
