"""Where inferences go, and what happens while the database or the endpoint is away."""

import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ml.core.errors import ConfigError
from ml.tracing.ranks import RUN_VARIABLE, Runs
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from tests.tracing.tiny import detector, images, logger_of, traced, tracer_of

ROOT = Path(__file__).parents[2]


def test_waiting_ends_when_all_is_saved(tmp_path):
    with logger_of(detector(), tmp_path) as logger:
        logger(images())
        assert logger.wait_for_save()
        assert logger.stats().saved == 2
        assert logger.stats().pending == 0
        with pytest.raises(ConfigError, match="interval is the seconds between warnings"):
            logger.wait_for_save(0)


def test_a_locked_database_holds_up_neither_the_model_nor_the_end(tmp_path, caplog):
    model = detector()
    logger = logger_of(model, tmp_path)
    logger.wait_for_save()
    with sqlite3.connect(tmp_path / "traces.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        output = logger(images())
        assert len(output) == 2
        assert not logger.wait_for_save(0.01, timeout_s=0.03)
        assert logger.stats().pending == 2
        logger.close(0.1)
        other.execute("ROLLBACK")

    assert logger.stats().dropped == {"deadline": 2}
    assert "Waiting for the database to take 2 inferences of tiny" in caplog.text


def test_past_its_room_the_oldest_are_given_up_and_counted(tmp_path):
    logger = logger_of(detector(), tmp_path, max_queue_bytes=20_000)
    logger.wait_for_save()
    with sqlite3.connect(tmp_path / "traces.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        for turn in range(20):
            logger(images(seed=turn))
        other.execute("ROLLBACK")
    logger.close()
    stats = logger.stats()

    assert stats.dropped["queue_full"] > 0
    assert stats.saved + sum(stats.dropped.values()) == stats.inputs == 40
    assert len(traced(tmp_path)) == stats.saved


def test_an_input_that_comes_again_replaces_the_one_before(tmp_path):
    model = detector()
    with tracer_of(model, tmp_path) as tracer:
        tracer(images(), [None, None], n_epoch=1)
        tracer(images(), [None, None], n_epoch=1, dataset_type="val")
        tracer(images(), [None, None], n_epoch=2)
        model.score_thresh = 0.99
        tracer(images(), [None, None], n_epoch=2)

    kept = traced(tmp_path)
    assert [(one.dataset_type, one.epoch) for one in kept] == [
        (kind, epoch) for kind, epoch in (("train", 1), ("train", 2), ("val", 1)) for _ in range(2)
    ]
    assert [one.output.visible.sum() for one in kept][2:4] == [0, 0]


def test_an_export_holds_this_version_and_is_there_after_close_too(tmp_path):
    with logger_of(detector(), tmp_path) as logger:
        logger(images())
        inside = logger.export(tmp_path / "inside.zip")
    after = logger.export(str(tmp_path))

    assert inside == tmp_path / "inside.zip"
    assert after.parent == tmp_path
    names = zipfile.ZipFile(inside).namelist()
    assert "manifest.json" in names
    assert zipfile.ZipFile(after).namelist() == names


def test_without_an_endpoint_nothing_leaves_the_machine(tmp_path):
    with (
        logger_of(detector(), tmp_path) as logger,
        pytest.raises(ConfigError, match="Give api_endpoint, or set ML_API_ENDPOINT"),
    ):
        logger.upload()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_an_endpoint_gets_what_was_saved_once(tmp_path, monkeypatch, by):
    there = tmp_path / "there"
    if by == "variable":
        monkeypatch.setenv("ML_API_ENDPOINT", str(there))
    endpoint = str(there) if by == "argument" else None
    with tracer_of(detector(), tmp_path, api_endpoint=endpoint) as tracer:  # which sends nothing by itself
        tracer(images(), [None, None])
        assert tracer.wait_for_save()
        assert not there.exists()
        first, second = tracer.upload(), tracer.upload()

    assert (first.sent, first.pending) == (2, 0)
    assert (second.sent, second.already_there) == (0, 2)


def test_a_logger_sends_what_was_saved_by_itself(tmp_path):
    there = tmp_path / "there"
    with logger_of(detector(), tmp_path, api_endpoint=str(there)) as logger:
        logger(images())
        assert logger.wait_for_save()
        assert list(there.rglob("*.zip"))
        assert logger.upload().pending == 0


def test_ranks_write_a_file_each_and_the_first_one_exports_all(tmp_path, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "job-1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    exported = []
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        with logger_of(detector(), tmp_path) as logger:
            logger(images(seed=rank), input_ids=[f"{rank}-a", f"{rank}-b"])
            exported.append(logger.export(tmp_path))

    assert exported[0] is None
    assert exported[1].suffix == ".zip"
    assert (tmp_path / "traces.rank1.db").exists()
    with open_traces(tmp_path / "traces.db") as traces:
        found = list(traces.read(Selection("tiny", "v1")))
    assert sorted(one.inference.input_id for one in found) == ["0-a", "0-b", "1-a", "1-b"]
    assert {one.run for one in found} == {"job-1"}


def test_ranks_of_one_launcher_share_their_runs_in_the_order_of_their_beginning():
    slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}
    for environ in (slurm, torchrun):
        first, second = Runs(environ), Runs(environ)
        named = [first.begin(0, 2, "a"), first.begin(0, 2, "a"), first.begin(0, 2, "b")]
        assert len(set(named)) == 3
        assert [second.begin(1, 2, "a"), second.begin(1, 2, "a"), second.begin(1, 2, "b")] == named
        assert Runs(environ | {"TORCHELASTIC_RESTART_COUNT": "1"}).begin(0, 2, "a") not in named
    assert Runs({}).begin(0, 2, "a") != Runs({}).begin(1, 2, "a")
    assert Runs(slurm).begin(0, 1, "a") != Runs(slurm).begin(0, 1, "a")
    assert Runs(slurm | {RUN_VARIABLE: "mine"}).begin(0, 2, "a") == "mine"


def test_what_nobody_closed_is_saved_at_the_end_of_the_program(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.tracing.tiny import *;"
        "logger = logger_of(detector(), Path(sys.argv[1])); logger(images())"
    )
    subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=60
    )

    assert len(traced(tmp_path)) == 2
