"""Which inferences are meant: epochs are counted by each run for itself, and no clock is asked."""

import pytest

from ml.core.errors import ConfigError
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection, newest
from ml.tracing.writing import TraceWriter
from tests.tracing.made_up import IDENTITY, detected

LATEST = Selection("fcos", "v1")


def write(where, run, *inferences, identity=IDENTITY, **options):
    writer = TraceWriter(where, identity, run=run, **options)
    writer.submit(inferences)
    writer.close()


def found(where, selection):
    with open_traces(where) as traces:
        return [(t.run, t.inference.epoch, t.inference.input_id) for t in traces.read(selection)]


@pytest.fixture
def restarted(where):
    """A run of five epochs, one that began again and came to epoch 1, and one that has not traced anything yet."""
    write(where, "first", *(detected("x", epoch=epoch) for epoch in range(5)), wall_clock=lambda: 2e9)
    again = [detected("x", epoch=0), detected("x", epoch=1), detected("y", epoch=0, dataset_type="test")]
    write(where, "second", *again, wall_clock=lambda: 1e9)
    write(where, "third")
    return where


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, [("second", 1, "x")]),
        ({"dataset_type": "test"}, [("second", 0, "y")]),
        ({"n_epoch": 0}, [("second", 0, "y"), ("second", 0, "x")]),
        ({"n_epoch": 3}, [("first", 3, "x")]),
        ({"n_epoch": 9}, []),
        ({"run": "first"}, [("first", 4, "x")]),
        ({"run": "first", "n_epoch": 1}, [("first", 1, "x")]),
        ({"run": "third"}, []),
        ({"run": "second", "n_epoch": "all"}, [("second", 0, "y"), ("second", 0, "x"), ("second", 1, "x")]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_epoch_is_that_of_the_newest_run_that_has_it(restarted, chosen, expected):
    assert found(restarted, LATEST._replace(**chosen)) == expected


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model_name": "fcso"}, r"There is no model 'fcso'\. There are: fcos\."),
        ({"version_name": "v2"}, r"There is no version 'v2' of the model 'fcos'\. There are: v1\."),
        ({"version_name": "v2", "n_epoch": "all"}, r"There is no version 'v2' of the model 'fcos'\. There are: v1\."),
    ],
    ids=["model", "version", "all epochs"],
)
def test_a_version_that_is_not_there_is_refused_and_one_without_such_inferences_is_empty(restarted, wrong, said):
    with open_traces(restarted) as traces:
        for read in (traces.read, traces.inferences, traces.detections, traces.features):
            with pytest.raises(ConfigError, match=said):
                list(read(LATEST._replace(**wrong)))
        assert traces.detections(LATEST._replace(dataset_type="train")).empty
        assert not list(traces.read(LATEST._replace(dataset_type="train")))


def test_all_is_every_epoch_of_every_run(restarted):
    assert len(found(restarted, LATEST._replace(n_epoch="all"))) == 8
    assert newest(restarted, LATEST) == 1


def test_the_latest_epoch_of_ranks_is_that_of_any_of_them(file):
    write(file, "old", detected("x", epoch=7))
    write(file, "job", detected("x", epoch=1), rank=0, world_size=2)
    write(file, "job", detected("y", epoch=2), rank=1, world_size=2)

    assert found(file, LATEST) == [("job", 2, "y")]
    assert found(file, LATEST._replace(n_epoch=1)) == [("job", 1, "x")]


def test_a_writer_knows_the_latest_epoch_before_it_writes(where):
    write(where, "training", detected("x", epoch=6))
    write(where, "other", detected("x", epoch=9), identity=IDENTITY._replace(version_name="v2"))
    writer = TraceWriter(where, IDENTITY, rank=0)

    assert writer.latest_epoch() == 6
    writer.close()
    fresh = TraceWriter(where, IDENTITY._replace(version_name="v3"))
    assert fresh.latest_epoch() is None
    fresh.close()


@pytest.mark.parametrize("epoch", ["newest", 1.5, None, True])
def test_an_epoch_that_is_none_is_refused(file, epoch):
    write(file, "run", detected())

    with pytest.raises(ConfigError, match="n_epoch is 'latest', 'all' or a whole number"):
        found(file, LATEST._replace(n_epoch=epoch))
