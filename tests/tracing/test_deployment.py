"""A long deployment: memory stays flat, no call waits for the database, and every input is accounted for."""

import gc
import subprocess
import sys

import torch

from tests.tracing.tiny import detector, images, logger_of, traced

LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


class Lock:
    """Another process that has the database for itself."""

    def __init__(self, file):
        command = [sys.executable, "-S", "-c", LOCKS, str(file)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        assert self._process.stdout.readline() == b"locked\n"

    def __exit__(self, *_):
        self._process.communicate()


def is_accounted_for(stats):
    return stats.inputs == stats.saved + stats.pending + sum(stats.dropped.values()) + sum(stats.failed.values())


def blocks_in_use(logger):
    assert logger.wait_for_save()
    gc.collect()
    return sys.getallocatedblocks()


def test_a_thousand_inputs_leave_nothing_behind_in_memory(tmp_path):
    batch, turns, model = images(8), 100, detector(score_thresh=0.99)  # which shows little, and takes no time for it
    with torch.no_grad(), logger_of(model, tmp_path, target_layers={"layer": "backbone"}) as logger:

        def trace(turns, first):
            for turn in range(first, first + turns):
                logger(batch, [f"{turn}.{number}" for number in range(len(batch))])

        trace(50, 0)
        before = blocks_in_use(logger)
        trace(turns, 50)
        grown = blocks_in_use(logger) - before
        assert logger.stats().saved == len(batch) * (turns + 50)

    assert grown < len(batch) * turns / 2  # not even one object of every other input


def test_while_another_process_has_the_database_calls_go_on_and_what_is_given_up_is_counted(tmp_path):
    logger = logger_of(detector(), tmp_path, max_queue_bytes=100_000)
    assert logger.wait_for_save()
    expected = detector()(images(2))
    with Lock(tmp_path / "traces.db"):  # which is let go only after all of these calls
        for turn in range(60):
            shown = logger(images(2), [f"{turn}.0", f"{turn}.1"])
            assert all(torch.equal(one["scores"], other["scores"]) for one, other in zip(shown, expected, strict=True))
            assert is_accounted_for(logger.stats())
        stats = logger.stats()
        assert stats.saved == 0
        assert stats.dropped["queue_full"] + stats.pending == stats.inputs == 120
    for turn in range(60, 70):
        logger(images(1), [f"{turn}"])
        assert is_accounted_for(logger.stats())
    logger.close(60)

    stats = logger.stats()
    assert stats.pending == 0
    assert is_accounted_for(stats)
    kept = {inference.input_id for inference in traced(tmp_path)}
    assert len(kept) == stats.saved
    assert {f"{turn}" for turn in range(60, 70)} <= kept
    assert "20.0" not in kept  # the first ones were being written when the database was locked


def test_inputs_that_cannot_be_kept_are_accounted_for_too(tmp_path, monkeypatch):
    with logger_of(detector(), tmp_path) as logger:
        logger(images(2))
        logger._task._adapter.parse = lambda *arguments: [][0]
        logger(images(3))
        del logger._task._adapter.parse
        logger(images(1, seed=1), dataset_type="x" * 1000)
        logger(images(1, seed=2))
        logger.wait_for_save()
        stats = logger.stats()

    assert stats.failed == {"parse": 3, "value": 1}
    assert (stats.inputs, stats.saved, stats.pending, stats.dropped) == (7, 3, 0, {})
    assert is_accounted_for(stats)
