"""What a killed process leaves: whole files, and nothing that was acknowledged is missing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ml.predictions.logged import LoggedPrediction

PROGRAM = """
import sys
import numpy as np
from ml.predictions import LocalConfig, PredictionLogger, PredictionLoggerConfig, VisionModelType

image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
predictions = PredictionLogger(PredictionLoggerConfig(local=LocalConfig(sys.argv[1]), min_free_bytes=0, on_full="wait"))

def tell(future):
    sys.stdout.write(future.result().record_id + "\\n")
    sys.stdout.flush()

while True:
    predictions.log(image, VisionModelType.NONE, "m", "1").add_done_callback(tell)
"""


def test_sigkill_leaves_whole_files_and_every_record_that_was_acknowledged(tmp_path: Path):
    acknowledged = set()
    for trial in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(10 + 20 * trial):
                acknowledged.add(child.stdout.readline().strip())
            os.kill(child.pid, signal.SIGKILL)
            acknowledged |= {line.strip() for line in child.stdout if line.endswith("\n")}

    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".tmp"]
    kept = set()
    for path in files:
        record = LoggedPrediction.from_path(path)
        record.verify()
        kept.add(record.record_id)
    assert len(kept) == len(files)
    assert acknowledged <= kept
