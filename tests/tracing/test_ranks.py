"""Two real ranks, started by torchrun, that trace a model in DDP: one run, one export, every image once."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd

from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from tests.postgres import server

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "ranks.py"
NAMES = [f"image {number:02d}" for number in range(21)]


def frame(archive, table):
    with zipfile.ZipFile(archive) as file:
        return pd.read_parquet(io.BytesIO(file.read(f"{table}.parquet")))


def test_the_ranks_of_a_job_are_one_run_with_one_export_that_has_every_image_once(tmp_path):
    file, where = tmp_path / "traces.db", server().new_database()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*command, str(PROGRAM), str(file), where], capture_output=True, text=True, env=environment, timeout=100
    )
    assert ran.returncode == 0, ran.stderr

    first, second = (json.loads((tmp_path / f"said.{rank}").read_text()) for rank in range(2))
    archives = [tmp_path / "0.zip", tmp_path / "1.zip"]
    assert [one["exported"] for one in first] == list(map(str, archives))
    assert [one["exported"] for one in second] == [None, None]
    assert [one["saved"] for one in first + second] == [11] * 4
    assert (tmp_path / "traces.rank1.db").exists()
    for database, archive in zip((file, where), archives, strict=True):
        with open_traces(database) as traces:
            found = list(traces.read(Selection("tiny", "v1")))
            runs = traces.runs()
        assert sorted(one.inference.input_id for one in found) == NAMES
        assert {one.rank for one in found} == {0, 1}
        assert (runs["run"].nunique(), sorted(runs["rank"])) == (1, [0, 1])
        exported, candidates = frame(archive, "inferences"), frame(archive, "candidates")
        assert sorted(exported["input_id"]) == NAMES
        assert sorted(exported["id"]) == sorted(one.id for one in found)
        assert len(candidates) == 16 * len(NAMES)
        assert not candidates.duplicated(["inference_id", "number"]).any()
