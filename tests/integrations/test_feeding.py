"""What every adapter of a loop keeps, shown without any framework."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import ml
from ml.core.errors import ConfigError
from ml.integrations.feeding import Feed
from ml.integrations.metrics import log_metrics, taken
from ml.loggers import BaseLoggerConfig
from ml.loggers.memory import MemoryLogger


def memory_run(directory, **settings):
    memory = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=3600))  # thins, but not what was begun
    return memory, ml.start_run(directory, loggers=[memory], **{"on_error": "raise"} | settings)


def test_a_step_is_open_until_something_of_another_step_is_logged(tmp_path):
    memory, run = memory_run(tmp_path / "run")
    feed = Feed(run)
    feed.log(3, {"a": 1.0})
    feed.log(3, {"b": 2.0})
    run.flush()
    assert memory.entries == []
    feed.log(5, {"a": 3.0})
    run.flush()
    assert [entry[1:] for entry in memory.entries] == [(3, "", "a", 1.0), (3, "", "b", 2.0)]
    feed.end()
    assert [entry[1:] for entry in memory.entries][2:] == [(5, "", "a", 3.0)]
    feed.end()
    run.close()

    assert len(memory.entries) == 3
    assert run.state.num_steps == 5


def test_a_picture_that_comes_before_any_step_of_a_resumed_run_hides_nothing_of_the_earlier_attempt(tmp_path):
    for attempt, steps in enumerate(((0, 1, 2), (3, 4)), start=1):
        with ml.start_run(tmp_path / "run", loggers=["json"], resume="auto") as run:
            feed = Feed(run)
            with feed.media(None) as logger:
                logger.log_image("check", np.full((8, 8), attempt))
            for step in steps:
                feed.log(step, {"a": step})
            feed.end()

    read = ml.open_run(tmp_path / "run")
    assert list(read.scalars("a")["value"]) == [0, 1, 2, 3, 4]
    assert [image.step for image in read.images("check")] == [0, 3]


def test_a_step_may_be_smaller_than_the_one_before(tmp_path):
    memory, run = memory_run(tmp_path / "run")
    for step in (10, 0, 4):
        Feed(run).log(step, {"a": step})
    run.close()

    assert [(entry[1], entry[4]) for entry in memory.entries] == [(10, 10), (0, 0), (4, 4)]


@pytest.mark.parametrize("step", ["seven", math.nan, 1.5])
def test_a_step_that_is_no_number_costs_no_value_and_raises_nothing(tmp_path, step):
    memory, run = memory_run(tmp_path / "run")
    feed = Feed(run)
    feed.log(4, {"a": 0})
    feed.log(step, {"a": 1})
    feed.log(None, {"a": 2})
    run.close()

    assert [entry[4] for entry in memory.entries] == [0, 1, 2]


def test_finished_epochs_are_those_of_the_framework(tmp_path):
    _, run = memory_run(tmp_path / "run")
    feed = Feed(run)
    for step, epochs in ((1, 0), (2, 1.5), (3, 4), (4, 2), (5, math.nan), (6, "x"), (7, 10**12), (8, 5)):
        feed.log(step, {"a": step}, epochs=epochs)
        assert run.state.num_epochs == {1: 0, 2: 1, 8: 5}.get(step, 4)
    run.close()


def test_a_checkpoint_is_a_text_with_its_path_and_score(tmp_path):
    memory, run = memory_run(tmp_path / "run")
    feed = Feed(run)
    feed.log(2, {"a": 1.0})
    feed.note_checkpoint(None, "last.ckpt", None)
    feed.note_checkpoint(4, "best.ckpt", ("f1", torch.tensor(1 / 3)))
    feed.note_checkpoint(4, "odd.ckpt", ("f1", None))
    run.close()

    notes = [(entry[1], entry[4]) for entry in memory.entries if entry[3] == "checkpoint"]
    assert notes == [(2, "last.ckpt"), (4, "best.ckpt (f1 0.333333)"), (4, "odd.ckpt (f1 None)")]


def test_a_run_that_was_given_stays_open_and_one_that_was_started_is_closed(tmp_path):
    given = ml.start_run(tmp_path / "given", loggers=[])
    for source in (given, partial(ml.start_run, tmp_path / "started", loggers=[])):
        feed = Feed(source)
        feed.end()
        feed.log(1, {"a": 1.0})
        feed.close()
        assert ml.open_run(feed.run.path).status == ("running" if source is given else "finished")
    given.close()


@pytest.mark.parametrize(("source", "got"), [("runs/demo", "a str"), (None, "a NoneType"), (lambda: 3, "a int")])
def test_what_is_no_run_and_starts_none_is_refused(source, got):
    with pytest.raises(ConfigError, match=got):
        _ = Feed(source).run


def test_numbers_texts_and_mappings_of_them_are_logged_and_the_rest_is_counted(tmp_path):
    memory, run = memory_run(tmp_path / "run", on_error="warn")
    bad = {"none": None, "list": [1.0], "deep": {"er": {"a": 1}}, "vector": torch.ones(2), 7: 1.0}
    good = {"i": 1, "f": np.float32(0.5), "b": True, "t": torch.tensor([2.0]), "n": np.ones((1, 1)), "c": lambda: 4}
    log_metrics(run, 1, good | bad | {"s": "text", "m": {"x": 5, "y": "z"}})
    log_metrics(run, 2, None)
    run.close()

    logged = {f"{entry[2]}/{entry[3]}" if entry[2] else entry[3]: entry[4] for entry in memory.entries}
    assert logged == {"i": 1, "f": 0.5, "b": 1, "t": 2.0, "n": 1.0, "c": 4, "s": "text", "m/x": 5, "m/y": "z"}
    assert run.stats()["memory"].failed == {"value": len(bad), "callable": 1}


def test_a_tensor_is_taken_at_once_also_where_that_leaves_a_graph():
    weight = torch.ones(1, requires_grad=True)
    half = torch.tensor(0.5, dtype=torch.bfloat16)

    assert (taken(weight * 2), taken(half), taken(torch.tensor([[3]]))) == (2.0, 0.5, 3)
    assert taken(vector := torch.ones(2)) is vector
    assert taken(complex_ := torch.tensor(1j)) is complex_


def test_settings_that_come_later_are_added_recorded_and_given_to_backends_once(tmp_path):
    memory, run = memory_run(tmp_path / "run", config={"a": 1, "b": {"c": 2}})
    run.log_config({"lr": 0.1, "password": "canary-of-the-secret"})
    run.log_config({"lr": 0.1})
    run.close()

    assert ml.open_run(run.path).config == {"a": 1, "b": {"c": 2}, "lr": 0.1, "password": "***"}
    assert memory.config_logged == ml.open_run(run.path).config
