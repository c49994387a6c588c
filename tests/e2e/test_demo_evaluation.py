import subprocess
import sys
from pathlib import Path

import pytest

from ml.evaluation.artifacts import Artifacts

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_learns_keeps_every_epoch_and_stores_each_scene_once(tmp_path):
    command = [sys.executable, ROOT / "scripts/demo_evaluation.py", "--directory", tmp_path / "demo"]

    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    artifacts = Artifacts(tmp_path / "demo/store")
    (truth,) = artifacts.versions("scenes")
    epochs = artifacts.versions("detections")
    assert [version.ref for version in epochs] == [artifacts.get(f"detections:epoch_{k}").ref for k in range(5)]
    assert all(version.used == (truth.ref,) for version in epochs)
    precision = [version.metrics["mAP"] for version in epochs]
    assert precision[0] < 0.1
    assert max(precision) > 0.4
    assert artifacts.get("detections:best").metrics["mAP"] == max(precision)
    assert (
        f"mAP  {precision[0]:.4f} to {max(precision):.4f}" in done.stdout
    )  # what mlog eval diff computes of boxes kept
    assert (tmp_path / "demo/report.html").read_text().count("<script") == 1
    assert len(list((tmp_path / "demo/store/blobs").rglob("*.png"))) == len(truth.table()) == 200
