"""An edge device has neither torch nor what comes with the extras: numpy and the base install log every kind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "tensorboard", "google.protobuf", "hydra", "pandas", "psutil"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())

import numpy as np
from ml import start_run
from ml.loggers.kinds import KINDS

picture = np.zeros((2, 70, 3), np.uint8)
picture[:, ::2] = 255
with start_run("demo", loggers=["json", "stdout"], on_error="raise", config={"lr": 0.1}) as run:
    for kind in KINDS:
        getattr(run.logger, kind.method)(f"task/{kind}", kind.example)
    run.logger.log_image("task/picture", picture)
    run.log({"loss": np.float32(0.5)})
    run.step()
    with run.phase("valid"):
        run.log({"loss": np.array([1.0])}, weight=3)
        run.log({"loss": 3})
        run.step()
stats = run.stats()["json"]
assert stats.written == stats.accepted == len(KINDS) + 3, stats
try:
    import torch
except ModuleNotFoundError:
    print("no torch")
"""


def test_every_kind_is_logged_where_torch_cannot_be_imported(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "no torch"
    train, valid = (json.loads(line) for line in (tmp_path / "demo/json/log.jsonl").read_text().splitlines())
    assert train["scalars"] == {"task/scalar": 0.5, "loss": 0.5}
    assert valid["scalars"] == {"loss": 1.5}
    with Image.open(tmp_path / "demo/json" / train["images"]["task/picture"]["path"]) as picture:
        pixels = np.asarray(picture)
    assert {tuple(pixel) for pixel in pixels.reshape(-1, 3)} == {(0, 0, 0), (255, 255, 255)}
