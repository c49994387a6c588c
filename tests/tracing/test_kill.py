"""What is left of a process that is killed while it traces, and what happens when the database's server is."""

import itertools
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from ml.tracing import ObjectDetectionLogger
from ml.tracing.ranks import RUN_VARIABLE
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from tests.postgres import server
from tests.tracing.tiny import detector, images, logger_of, traced

LAYER = {"target_layers": {"layer": "backbone"}}
BATCHES = [images(1, seed=seed) for seed in range(10)]


def name_of(number):
    return f"image {number:05d}"


def traced_until_killed(tmp_path, acknowledged):
    """Traces in a child that says how many are saved, kills it once it has said so many; returns what it said last."""
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            logger = logger_of(detector(), tmp_path, **LAYER)
            for number in itertools.count():
                logger(BATCHES[number % len(BATCHES)], [name_of(number)])
                if number % 20 == 19:  # else it would trace a thousand before it is killed
                    logger.wait_for_save()
                os.write(tell, f"{logger.stats().saved}\n".encode())
        finally:
            os._exit(1)
    os.close(tell)
    with open(told) as lines:
        saved = 0
        while saved < acknowledged:
            saved = int(lines.readline())
        os.kill(child, signal.SIGKILL)
        rest = [int(line) for line in lines if line.endswith("\n")]
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    return max([saved, *rest])


def whole(file):
    """Returns the ids of the inputs in a database, in order, each of which has all that belongs to it."""
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchone() is None
    connection.close()
    found = traced(file.parent)
    for inference in found:
        assert len(inference.output) == inference.num_candidates == 16
        assert inference.features["layer"].shape == (8,)
    return [inference.input_id for inference in found]


def test_sigkill_leaves_a_whole_database_with_everything_that_was_saved_and_a_restart_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "job")
    file, least = tmp_path / "traces.db", 0
    for acknowledged in (1, 30):
        saved = traced_until_killed(tmp_path, acknowledged)
        names = whole(file)
        least = max(least, saved)
        assert names == [name_of(number) for number in range(len(names))]
        assert len(names) >= least

    with logger_of(detector(), tmp_path, **LAYER) as logger:
        for number in range(len(names) + 5):
            logger(BATCHES[number % len(BATCHES)], [name_of(number)])
        assert logger.wait_for_save()
    assert whole(file) == [name_of(number) for number in range(len(names) + 5)]
    with open_traces(file) as traces:
        ended = traces.runs()["ended"].notna().tolist()
    assert ended == [False, False, True]


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_nothing_that_was_saved(tmp_path: Path):
    for trial in range(15):
        directory = tmp_path / str(trial)
        saved = traced_until_killed(directory, 1 + 13 * trial)
        names = whole(directory / "traces.db")
        assert names == [name_of(number) for number in range(len(names))]
        assert len(names) >= saved


def test_a_server_that_is_killed_in_the_middle_loses_nothing_and_holds_up_no_call():
    postgres = server()
    where = postgres.new_database()
    logger = ObjectDetectionLogger(detector(), "tiny", "v1", database=where, **LAYER)

    def trace(numbers):
        for number in numbers:
            logger(BATCHES[number % len(BATCHES)], [name_of(number)])
            stats = logger.stats()
            assert stats.inputs == stats.saved + stats.pending == number + 1

    trace(range(20))
    assert logger.wait_for_save()
    trace(range(20, 30))
    postgres.stop()
    try:
        trace(range(30, 40))
    finally:
        postgres.start()
    trace(range(40, 50))
    assert logger.wait_for_save(timeout_s=60)
    logger.close()

    stats = logger.stats()
    assert (stats.saved, stats.pending, stats.dropped, stats.failed) == (50, 0, {}, {})
    with open_traces(where) as traces:
        kept = [one.inference for one in traces.read(Selection("tiny", "v1"))]
    assert [inference.input_id for inference in kept] == [name_of(number) for number in range(50)]
    assert all(len(inference.output) == 16 and len(inference.features["layer"]) == 8 for inference in kept)
