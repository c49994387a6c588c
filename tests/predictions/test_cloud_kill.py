"""Processes that log to an object store and are killed at any moment: what was acknowledged arrives exactly once."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ml.io.store import open_store
from ml.predictions.cloud import CloudSink

PROGRAM = Path(__file__).parent / "programs" / "uploading.py"


class Counting:
    """A store that counts how often each object was made."""

    def __init__(self, store):
        self.url, self._store = store.url, store
        self.calls = Counter()

    def create(self, key, data):
        self.calls[key] += 1
        return self._store.create(key, data)


def log_until_killed(spool, bucket, start, lines):
    """The numbers of the records that a process had acknowledged before it was killed."""
    process = subprocess.Popen([sys.executable, PROGRAM, spool, bucket, str(start)], stdout=subprocess.PIPE, text=True)
    printed = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    printed += process.stdout.readlines()
    assert process.wait() == -9
    return [int(line) for line in printed if line.endswith("\n")]


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_every_acknowledged_record_arrives_exactly_once_and_whole_however_often_the_process_is_killed(tmp_path, kills):
    chance = random.Random(kills)
    acknowledged = []
    for start in range(0, kills * 10_000, 10_000):
        acknowledged += log_until_killed(tmp_path / "spool", tmp_path / "bucket", start, chance.randrange(1, 200))
    store = open_store(str(tmp_path / "bucket"))
    counting = Counting(store)
    sink = CloudSink(lambda: counting, tmp_path / "spool", max_spool_bytes=2**30)
    sink.flush()
    sink.close()

    stored = {int(entry.key[-6:]): store.get(entry.key, max_bytes=2**20) for entry in store.list("key/")}
    assert set(acknowledged) <= set(stored)
    assert len(set(stored) - set(acknowledged)) <= kills  # what was taken when the process was killed
    assert all(data.endswith(b"end") for data in stored.values())
    assert all(set(data[:-3].split()) == {b"%d" % number} for number, data in stored.items())
    assert sink.stats.uploaded == len(counting.calls) == counting.calls.total()
    assert (sink.stats.already_there, sink.stats.pending, sink.stats.damaged) == (0, 0, 0)
    assert list((tmp_path / "spool").iterdir()) == []
