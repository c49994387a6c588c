import subprocess
import sys
from pathlib import Path

import pytest

from ml.benchmarks.reading import open_benchmark

DEMO = Path(__file__).parents[2] / "scripts/demo_benchmark.py"


@pytest.mark.slow
def test_the_demo_measures_every_stage_of_both_models_and_leaves_a_page(tmp_path):
    subprocess.run([sys.executable, DEMO, "--directory", tmp_path, "--epochs", "3"], check=True)

    with open_benchmark(tmp_path / "benchmark.db") as benchmarks:
        found = list(benchmarks.measurements())
    stages = {(one.description, one.method) for one in found if one.type == "time" and one.value}
    assert stages == {(model, stage) for model in ("network", "boosting") for stage in ("load", "train", "evaluate")}
    assert {one.description for one in found if one.type == "loss"} == {"network, training", "boosting, training"}
    assert len([one for one in found if one.type == "confusion_matrix"]) == 2
    assert len([one for one in found if one.type == "hyperparameters"]) == 6
    assert "boosting" in {one.description for one in found if one.type == "timed_tta"}
    page = (tmp_path / "benchmark.html").read_text()
    assert "confusion matrix: boosting, test" in page
