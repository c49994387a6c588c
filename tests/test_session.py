"""``start_run``: the logging of any loop, in this process. Its end without ``close`` is in ``test_session_exit.py``."""

import copy
import json
import logging
import os
import pickle
import re
import sys
from contextlib import nullcontext

import numpy as np
import pytest

from ml import ConfigError, State, namespace_context, open_run, start_run
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.json import JsonLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import FakeClock, Gate
from ml.testing.disk import TestDisk as Disk
from ml.testing.fakes import WAIT_S

LOSSES = [0.5, 0.25, 0.125]


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def memory():
    return MemoryLogger(BaseLoggerConfig("memory"))


def start(memory, directory="demo", **settings):
    return start_run(directory, loggers=[memory], on_error="raise", **settings)


def record_of(run):
    return json.loads((run.path / "attempts" / str(run.context.attempt) / "run.json").read_text())


# the loop


def test_a_loop_is_logged_as_documented(memory):
    with start(memory, config={"lr": 0.1}) as run:
        for epoch in range(2):
            for loss in LOSSES:
                run.log({"loss": loss, "task/accuracy": lambda loss=loss: 1 - loss})
                run.step(samples=4)
            run.end_epoch()
            with run.phase("valid"):
                for loss, weight in [(1.0, 3), (3.0, 1)]:
                    run.log({"loss": loss + epoch}, weight=weight)
                    run.step()

    train = [("train", step + 1, *value) for step in range(6) for value in at(LOSSES[step % 3])]
    assert [entry for entry in memory.entries if entry.phase == "train"] == train
    assert [entry for entry in memory.entries if entry.phase == "valid"] == [
        ("valid", 3, "", "loss", 1.5),
        ("valid", 6, "", "loss", 2.5),
    ]
    assert memory.config_logged == {"lr": 0.1}


def at(loss):
    return [("", "loss", loss), ("task", "accuracy", 1 - loss)]


def test_training_steps_advance_training_counters(memory):
    with start(memory) as run:
        for _ in range(3):
            run.step(samples=4)
        run.end_epoch()
        run.step(samples=2)
        state = run.state

    assert state.phase == "train"
    assert (state.num_steps, state.num_samples, state.num_epochs) == (4, 14, 1)
    assert (state.num_epoch_steps, state.num_epoch_samples) == (1, 2)


@pytest.mark.parametrize(("phase", "counts"), [("valid", (2, 0)), ("test", (0, 2))])
def test_steps_of_a_pass_advance_its_own_counter_alone(memory, phase, counts):
    with start(memory) as run:
        run.step(samples=4)
        with run.phase(phase):
            run.step(samples=8)
            run.step(samples=8)
            assert run.state.phase == phase
        state = run.state

    assert state.phase == "train"
    assert (state.num_steps, state.num_samples) == (1, 4)
    assert (state.num_valid_steps, state.num_test_steps) == counts


def test_a_pass_is_written_when_its_block_ends(memory):
    with start(memory) as run:
        with run.phase("valid"):
            run.log({"loss": 1.0})
            run.step()
            assert run.flush()
            assert memory.entries == []
        assert run.flush()

        assert memory.entries == [("valid", 0, "", "loss", 1.0)]


def test_a_pass_within_an_open_step_leaves_its_values_to_that_step(memory):
    with start(memory) as run:
        model = run.component("model")
        for step in (1, 2):
            run.log({"loss": step / 10})
            model.log_scalar("norm", step)
            with run.phase("valid"):
                run.log({"loss": 1.0})
                run.step()
            run.step()

    assert sorted(entry for entry in memory.entries if entry.phase == "train") == [
        ("train", 1, "", "loss", 0.1),
        ("train", 1, "model", "norm", 1),
        ("train", 2, "", "loss", 0.2),
        ("train", 2, "model", "norm", 2),
    ]
    assert [entry[:2] for entry in memory.entries if entry.phase == "valid"] == [("valid", 0), ("valid", 1)]


def test_what_waits_during_a_pass_is_older_than_what_is_logged_after_it(memory):
    with start(memory) as run:
        run.log({"note": "before"})
        with run.phase("valid"):
            pass
        run.log({"note": "after"})
        run.step()

    assert [entry.value for entry in memory.entries] == ["before", "after"]


def test_a_block_of_the_running_phase_changes_nothing(memory):
    with start(memory) as run:
        run.log({"loss": 0.5})
        with run.phase("train"):
            run.step()
        with run.phase("valid"):
            for loss in (1.0, 3.0):
                with run.phase("valid"):
                    run.log({"loss": loss})
                    run.step()

    assert memory.entries == [("train", 1, "", "loss", 0.5), ("valid", 1, "", "loss", 2.0)]


def test_a_pass_that_raises_is_left_without_a_mean(memory):
    with start(memory) as run:
        run.log({"lr": 0.1})
        with pytest.raises(ZeroDivisionError), run.phase("valid"):  # noqa: PT012
            run.log({"loss": 1.0})
            run.step()
            run.log({"loss": 2.0})
            raise ZeroDivisionError
        assert run.state.phase == "train"
        run.step()
        with run.phase("valid"):
            run.log({"loss": 3.0})
            run.step()

    assert memory.entries == [("train", 1, "", "lr", 0.1), ("valid", 1, "", "loss", 3.0)]
    assert run.stats()["memory"].dropped == {"closed": 1}


def test_what_waits_when_a_run_is_closed_inside_of_a_pass_is_counted(memory):
    run = start(memory)
    run.log({"loss": 0.5})
    with run.phase("valid"):
        run.close()

    assert run.stats()["memory"].dropped == {"closed": 1}
    assert len(run.logger) == 0


def test_an_unknown_phase_is_refused(memory):
    with start(memory) as run, pytest.raises(ConfigError, match=r"train, valid, test.*'eval'"), run.phase("eval"):
        pass


def test_components_have_namespaces_of_their_own(memory):
    with start(memory) as run:
        model = run.component("model")
        model.log_scalar("norm", 2.0)
        run.logger.log_histogram("weights", [1, 2])
        run.step()

    assert [entry[:4] for entry in memory.entries] == [("train", 1, "", "weights"), ("train", 1, "model", "norm")]


def test_a_namespace_has_one_component(memory):
    with start(memory) as run:
        assert run.component("model") is run.component("model")
        for value in (1.0, 2.0):
            run.component("model").log_scalar("norm", value)
        run.step()

    assert memory.entries == [("train", 1, "model", "norm", 2.0)]


@pytest.mark.parametrize(
    ("key", "place"), [("loss", ("", "loss")), ("task/loss", ("task", "loss")), ("a/b/c", ("a", "b/c"))]
)
def test_the_first_part_of_a_key_is_its_namespace(memory, key, place):
    with start(memory) as run:
        run.log({key: 1.0})
        run.step()

    assert [entry[2:4] for entry in memory.entries] == [place]


@pytest.mark.parametrize("namespace", [3, None, ["task"]], ids=repr)
def test_a_namespace_that_is_no_text_is_refused(memory, namespace):
    with start(memory) as run, pytest.raises(ConfigError, match=f"got {re.escape(repr(namespace))}"):
        run.component(namespace)


@pytest.mark.parametrize("values", [None, [1], 0.5, "loss"], ids=repr)
def test_what_is_no_mapping_costs_itself_and_is_said_with_its_line(memory, caplog, values):
    with start_run("demo", loggers=[memory]) as run:
        run.log(values)
        run.log({"loss": 0.5})
        run.step()

    assert memory.entries == [("train", 1, "", "loss", 0.5)]
    assert sum(run.stats()["memory"].failed.values()) == 1
    assert f"Cannot log 'run.log': it takes {{key: value}}, got {values!r}" in caplog.text
    assert "(Logged at test_session.py:" in caplog.text


def test_a_text_is_logged_as_a_text(memory):
    with start(memory) as run:
        run.log({"note": "started"})
        run.step()

    assert memory.entries == [("train", 1, "", "note", "started")]


def test_steps_may_be_counted_by_the_caller(memory):
    with start(memory) as run:
        for step in (10, 20):
            run.log({"loss": step / 10})
            run.step(step=step)
        run.log({"loss": 3.0})
        run.step()

    assert [(entry.step, entry.value) for entry in memory.entries] == [(10, 1.0), (20, 2.0), (21, 3.0)]


@pytest.mark.parametrize(
    ("odd", "taken"),
    [(None, 0), ("16", 16), ("many", 0), (4.5, 4), (float("nan"), 0), ([1], 0), (np.ones(3), 0)],
    ids=str,
)
def test_odd_counts_warn_once_and_never_stop_the_loop(memory, caplog, odd, taken):
    with start(memory) as run:
        for _ in range(3):
            run.step(samples=odd)
        assert (run.state.num_samples, run.state.num_steps) == (3 * taken, 3)

    assert len(caplog.records) == 1
    assert "samples= is a whole number" in caplog.text


def test_an_odd_step_is_the_next_one(memory, caplog):
    with start(memory) as run:
        run.step(step=5)
        run.step(step="latest")
        assert run.state.num_steps == 6

    assert "step= is a whole number, got a str: 6" in caplog.text


def test_whole_numbers_of_any_type_are_counts(memory, caplog):
    with start(memory) as run:
        run.step(samples=np.int64(4), step=np.int32(7))
        run.step(samples=4.0, step=8.0)
        assert [type(count) for count in run.state[1:8]] == [int] * 7
        assert (run.state.num_samples, run.state.num_steps) == (8, 8)

    assert not caplog.records


def test_counts_of_training_given_in_a_pass_are_ignored_with_one_warning(memory, caplog):
    with start(memory) as run:
        with run.phase("valid"):
            run.step(samples=8)
            run.step(step=9)
        with run.phase("test"):
            run.step(samples=8)
        assert (run.state.num_samples, run.state.num_steps) == (0, 0)

    assert len(caplog.records) == 1
    assert "samples= and step= count training" in caplog.text


def test_force_makes_every_backend_due(memory):
    memory.config.write_every_n_seconds = 1e6
    with start(memory) as run:
        for step, force in [(1, False), (2, False), (3, True)]:
            run.log({"loss": step})
            run.step(force=force)
        assert run.flush()

        assert [entry.step for entry in memory.entries] == [1, 3]


# the run


def test_the_default_backends_are_the_terminal_json_and_tensorboard():
    with start_run("demo") as run:
        run.log({"loss": 0.5})
        run.step()

    assert set(run.stats()) == {"stdout", "json", "tensorboard"}
    assert all(stats.written == 1 for stats in run.stats().values())
    for path in ("stdout.log", "json/log.jsonl", "tensorboard/train"):
        assert (run.path / path).exists()


def test_a_backend_is_given_by_name_configuration_mapping_or_as_it_is(memory):
    mapping = {"name": "json", "id": "mapped"}
    with start_run("demo", loggers=["json", BaseLoggerConfig("memory", id="configured"), mapping, memory]) as run:
        assert set(run.stats()) == {"json", "configured", "mapped", "memory"}


@pytest.mark.parametrize(
    "loggers",
    [
        "json",
        BaseLoggerConfig("memory", id="json"),
        {"name": "json"},
        MemoryLogger(BaseLoggerConfig("memory", id="json")),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_a_single_backend_needs_no_list(loggers):
    with start_run("demo", loggers=loggers) as run:
        assert set(run.stats()) == {"json"}


@pytest.mark.parametrize("loggers", [None, JsonLogger, [None], [JsonLogger], 3], ids=str)
def test_what_is_no_backend_is_refused_with_what_to_pass(tmp_path, loggers):
    with pytest.raises(ConfigError, match=r"by its name, .* For none pass loggers=\[\]"):
        start_run("demo", loggers=loggers)

    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_name_is_called_after_its_start(memory):
    runs = [start(memory_of_its_own(), None) for _ in range(2)]
    for run in runs:
        run.close()

    assert runs[0].path != runs[1].path
    for run in runs:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-2)?", run.path.name)
        assert run.path.parent.name == "runs"


def memory_of_its_own():
    return MemoryLogger(BaseLoggerConfig("memory"))


def test_a_directory_that_holds_a_run_is_not_joined(memory, caplog):
    start(memory_of_its_own()).close()
    with caplog.at_level(logging.WARNING, "ml"), start(memory) as run:
        pass

    assert run.path.name == "demo-2"
    assert "demo-2" in caplog.text


def test_a_resumed_run_goes_on_where_its_state_stood(memory):
    with start(memory_of_its_own()) as first:
        first.step(samples=4)
        first.step(samples=4)
        first.end_epoch()
        state = first.state

    with start(memory, resume=True, state=state) as second:
        assert second.state.elapsed_time_s >= state.elapsed_time_s
        second.log({"loss": 0.5})
        second.step(samples=4)
        state = second.state

    assert second.path == first.path
    assert second.context.attempt == 2
    assert (state.num_steps, state.num_samples, state.num_epochs) == (3, 12, 1)
    assert state.start_time_s == pytest.approx(first.state.start_time_s, abs=1e-5)
    assert memory.entries == [("train", 3, "", "loss", 0.5)]


def test_a_run_may_be_resumed_if_it_is_there(memory):
    with start(memory_of_its_own(), resume="auto") as first:
        first.step()

    with start(memory, resume="auto", state=first.state) as second:
        assert (second.path, second.context.attempt, second.state.num_steps) == (first.path, 2, 1)


def test_a_state_may_come_as_a_mapping(memory):
    with start(memory, state={"num_steps": 7, "num_epochs": 1}) as run:
        assert (run.state.num_steps, run.state.num_epochs) == (7, 1)


def test_a_state_kept_inside_of_a_pass_goes_on_in_training(memory):
    with start(memory_of_its_own()) as first:
        first.step()
        with first.phase("valid"):
            state = first.state
    assert state.phase == "valid"

    with start(memory, resume=True, state=state) as second:
        second.log({"loss": 0.5})
        second.step()

    assert memory.entries == [("train", 2, "", "loss", 0.5)]


def test_a_run_resumed_without_a_state_says_that_steps_begin_again(memory, caplog):
    start(memory_of_its_own()).close()
    for state in (State(num_steps=3), None):
        with start(memory_of_its_own(), resume=True, state=state) as run:
            run.begin_step(7)  # a loop that numbers its steps itself says where it stands
            run.step()
    assert not caplog.records

    with start(memory, resume=True) as run:
        run.step()

    assert "steps begin at 1 again" in caplog.text
    assert "run.state._asdict()" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"loggers": ["jsn"]},
        {"loggers": [{"name": "json", "write_every_seconds": 1}]},
        {"loggers": [{"name": "json", "write_every_n_seconds": -1}]},
        {"loggers": ["json", "json"]},
        {"state": {"steps": 3}},
        {"state": {3: 3}},
        {"state": [3]},
        {"state": {"phase": "eval"}},
        {"state": {"num_steps": "3"}},
        {"state": {"num_steps": None}},
        {"state": {"num_steps": 3.5}},
        {"state": {"num_steps": np.ones(2)}},
        {"state": State(num_samples=2**64)},
        {"state": State(elapsed_time_s=float("nan"))},
        {"on_error": "ignore"},
        {"resume": True},
        {"resume": "always"},
        {"directory": ""},
        {"directory": 3},
    ],
    ids=str,
)
def test_a_wrong_argument_makes_nothing(tmp_path, wrong):
    with pytest.raises(ConfigError):
        start_run(**{"directory": "demo", "loggers": ["json"], **wrong})

    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_a_backend_refuses_fails_the_run(tmp_path):
    class RefusingLogger(MemoryLogger):
        def initialize(self, context):
            raise ConfigError("no such server")

    with pytest.raises(ConfigError, match="no such server"):
        start_run("demo", loggers=[RefusingLogger(BaseLoggerConfig("memory"))])

    assert json.loads((tmp_path / "demo/attempts/1/run.json").read_text())["status"] == "failed"


def test_another_rank_counts_and_writes_nothing(tmp_path, memory, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "ML_RUN_DIR": str(tmp_path / "demo")}.items():
        monkeypatch.setenv(name, value)
    with start_run("demo", loggers=[memory, "json"]) as run:
        run.log({"loss": lambda: 1 / 0})
        run.step(samples=4)
        assert run.flush()

    assert (run.state.num_steps, run.state.num_samples) == (1, 4)
    assert run.stats() == {}
    assert memory.entries == []
    assert list(tmp_path.iterdir()) == []


# its end


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (SystemExit(0), "finished"),
        (SystemExit(3), "failed"),
        (ValueError(), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=repr,
)
def test_a_run_records_how_it_ended(memory, error, status):
    run = start(memory)
    assert record_of(run)["status"] == "running"
    with nullcontext() if error is None else pytest.raises(type(error)), run:
        run.log({"loss": 0.5})
        run.step()
        if error is not None:
            raise error

    assert record_of(run)["status"] == status
    assert record_of(run)["end"] is not None
    assert len(memory.entries) == 1


def test_an_earlier_failure_of_the_interpreter_is_not_that_of_a_run_closed_by_hand(memory, monkeypatch):
    monkeypatch.setattr(sys, "last_value", ValueError("an earlier cell of the notebook"), raising=False)
    run = start(memory)
    run.close()

    assert record_of(run)["status"] == "finished"


def test_a_failure_of_the_logs_does_not_hide_that_of_the_loop(memory):
    with pytest.raises(KeyError), start(memory) as run:  # noqa: PT012
        run.log({"loss": lambda: 1 / 0})
        run.step()
        raise KeyError


def test_closing_ends_an_open_step(memory):
    with start(memory) as run:
        run.log({"loss": 0.5})
        run.step()
        run.log({"final": 1.0})
        run.component("model").log_scalar("norm", 2.0)

    assert memory.entries == [
        ("train", 1, "", "loss", 0.5),
        ("train", 2, "", "final", 1.0),
        ("train", 2, "model", "norm", 2.0),
    ]


def test_an_open_step_never_replaces_the_values_of_the_one_before(memory):
    with start(memory) as run:
        for loss in LOSSES[:2]:
            run.log({"loss": loss})
            run.step()
        run.log({"loss": LOSSES[2]})

    assert memory.entries == [("train", step, "", "loss", loss) for step, loss in enumerate(LOSSES, start=1)]
    assert run.state.num_steps == 3


def test_what_was_logged_after_a_pass_belongs_to_training(memory):
    with start(memory) as run:
        run.step()
        with run.phase("valid"):
            run.log({"loss": 0.5})
            run.step()
        run.log({"final": 1.0})

    assert memory.entries == [("valid", 1, "", "loss", 0.5), ("train", 2, "", "final", 1.0)]


def test_a_run_without_a_step_is_written(memory):
    with start(memory) as run:
        run.log({"accuracy": 0.5})

    assert memory.entries == [("train", 1, "", "accuracy", 0.5)]


class StalledDisk(Disk):
    """Nothing gets through to it before ``gate`` is open."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def sync(self, descriptor):
        self.gate.wait()


def test_closing_waits_no_longer_for_a_disk_that_does_not_take_the_record(memory, caplog):
    run = start(memory, close_timeout_s=0.0)
    with StalledDisk() as disk:
        run.close()
        assert record_of(run)["status"] == "running"
        assert f"{run.path} does not record yet that the run is finished" in caplog.text
        disk.gate.open()
        run._place._recorder.join(WAIT_S)

    assert record_of(run)["status"] == "finished", "it comes late"


def test_closing_twice_is_closing_once(memory):
    with start(memory) as run:
        run.log({"loss": 0.5})
        run.step()
    ended = record_of(run)["end"]

    assert run.close("failed") == run.stats()
    assert record_of(run)["status"] == "finished"
    assert record_of(run)["end"] == ended


def test_what_is_logged_after_the_end_is_counted(memory):
    with start(memory) as run:
        pass
    run.log({"loss": 0.5})
    run.step()

    assert run.stats()["memory"].dropped == {"closed": 1}
    assert memory.entries == []


def test_the_state_is_what_a_checkpoint_needs(memory):
    with start(memory) as run:
        run.step(samples=4)
        state = run.state

    assert State(**json.loads(json.dumps(state._asdict()))) == state


def test_a_checkpoint_that_may_run_no_code_holds_the_state(memory, tmp_path):
    torch = pytest.importorskip("torch")
    with start(memory_of_its_own()) as first:
        first.step(samples=4)
        torch.save({"state": first.state._asdict()}, tmp_path / "checkpoint.pt")

    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    with start(memory, resume=True, state=state) as second:
        assert (second.state.num_steps, second.state.num_samples) == (1, 4)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda run: pickle.loads(pickle.dumps(run))])
def test_a_copied_run_discards_and_says_so_once(memory, caplog, copied):
    with start(memory, config={"lr": 0.1}) as run:
        run.component("model")
        run.step()
        run.log({"loss": 0.5})
        with copied(run) as other:
            for _ in range(2):
                other.log({"loss": 7.0})
                other.step(force=True)
            with other.phase("valid"):
                other.log({"loss": 7.0})
                other.step()
            other.end_epoch()
            assert other.component("model").default_namespace == "model"
            assert other.path == run.path
            assert other.flush()
            assert other.close() == other.stats() == {}
        assert record_of(run)["status"] == "running"

    assert memory.entries == [("train", 2, "", "loss", 0.5)]
    assert record_of(run)["status"] == "finished"
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["This is a forked"]


def test_a_step_that_was_begun_ends_when_another_begins_and_keeps_its_number_and_time(tmp_path):
    with start_run(tmp_path / "run", loggers=["json"]) as run:
        for step in (7, 7, 3, 12):  # what belongs to a step may come in pieces, and steps need not grow
            run.begin_step(step, time_s=1.7e9 + step)
            run.log({f"key_{len(run.logger)}": step})
        run.close()

    scalars = open_run(tmp_path / "run").scalars()
    assert list(zip(scalars["step"], scalars["value"], strict=True)) == [(3, 3), (7, 7), (7, 7), (12, 12)]
    assert [time.timestamp() for time in scalars["time"]] == [1.7e9 + step for step in (3, 7, 7, 12)]


def test_a_step_that_was_begun_has_the_time_at_which_it_began(tmp_path):
    run = start_run(tmp_path / "run", loggers=["json"])
    run.context.wall_clock = FakeClock(100.0)
    run.begin_step(1)
    run.log({"a": 1.0})
    run.context.wall_clock.advance(3600)
    run.begin_step(1)
    run.log({"b": 1.0})
    run.begin_step(2)
    run.close()

    assert [time.timestamp() for time in open_run(tmp_path / "run").scalars()["time"]] == [100.0, 100.0]


def test_a_step_that_was_begun_is_not_thinned(tmp_path):
    backend = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=3600, write_media_every_n_seconds=3600))
    with start_run(tmp_path / "run", loggers=backend) as run:
        for step in range(1, 6):
            run.begin_step(step)
            run.log({"loss": step})
            run.logger.log_image("image", np.eye(8))

    assert [(entry.key, entry.step) for entry in backend.entries if entry.key == "loss"] == [
        ("loss", step) for step in range(1, 6)
    ]
    assert sum(entry.key == "image" for entry in backend.entries) == 5


def test_a_pass_begins_no_step_of_training(tmp_path, caplog):
    with start_run(tmp_path / "run", loggers=["json"]) as run, run.phase("valid"):
        run.begin_step(5)
        run.log({"loss": 1.0})

    assert "begin_step counts training" in caplog.text
    assert list(open_run(tmp_path / "run").scalars()["phase"]) == ["valid"]


def test_numbers_of_steps_that_are_over_are_written_in_full_after_what_was_logged_before(tmp_path):
    memory = MemoryLogger(BaseLoggerConfig("memory", exclude=["secret/*"]))
    with start_run(tmp_path / "run", loggers=[memory]) as run:
        run.log({"open": 1.0})
        series = [run.logger.scalar_ident(key) for key in ("a", "b/c", "secret/x")]
        assert run.write_numbers([(step, 100.0 + step, ident, step / 2) for step in (3, 4, 2) for ident in series])
        run.log({"next": 1.0})
        run.step()

    numbers = [
        ("train", step, namespace, key, step / 2) for step in (3, 4, 2) for namespace, key in (("", "a"), ("b", "c"))
    ]
    assert memory.entries == [("train", 1, "", "open", 1.0), *numbers, ("train", 3, "", "next", 1.0)]
    run.write_numbers([(9, 1.0, run.logger.scalar_ident("late"), 1.0)])
    stats = run.stats()["memory"]
    assert (stats.written, stats.dropped, stats.skipped) == (8, {"closed": 1}, {"excluded": 3})


def test_numbers_of_steps_wait_while_a_pass_runs_and_while_a_step_is_open_for_another_thread(memory):
    run = start(memory)
    number = (7, 100.0, run.logger.scalar_ident("x"), 0.5)
    with run.phase("valid"):
        run.log({"loss": 10.0})
        assert not run.write_numbers([number])
        run.step()
        run.log({"loss": 20.0})
        run.step()
    run.log({"open": lambda: 1.0})
    assert not run.write_numbers([number], timeout_s=0.0)
    assert run.write_numbers([number])
    run.close()

    assert [entry[1:] for entry in memory.entries] == [(0, "", "loss", 15.0), (1, "", "open", 1.0), (7, "", "x", 0.5)]


def test_a_number_of_a_step_is_of_the_namespace_in_which_it_is_named(memory):
    run = start(memory)
    with namespace_context("gen"):
        inside = run.logger.scalar_ident("a/x")
    run.write_numbers([(1, 1.0, inside, 0.5), (1, 1.0, run.logger.scalar_ident("a/x"), 0.25)])
    run.close()

    assert [entry[2:] for entry in memory.entries] == [("gen", "a/x", 0.5), ("a", "x", 0.25)]


def test_a_step_that_is_begun_in_pieces_counts_once(memory):
    run = start(memory)
    for step in (5, 5, 6):
        run.begin_step(step)
        run.log({"x": 1.0})
        run.step()

    assert run.state.num_epoch_steps == 2
    run.close()


def test_settings_of_any_kind_are_recorded_and_none_of_them_raises(tmp_path):
    class Unshowable:
        def __str__(self):
            raise RuntimeError("no text")

    circle = {"width": 8}
    circle["self"] = circle
    deep = {"end": 1}
    for _ in range(900):
        deep = {"in": deep}
    run = start_run(tmp_path / "run", loggers=["json"], config={"deep": deep})
    run.log_config({"circle": circle, "odd": Unshowable(), "labels": {str(i): f"label {i}" for i in range(3)}})
    run.log_config({"path": os.fsdecode(b"/data/caf\xe9"), os.fsdecode(b"k\xe9"): 1})
    run.close()

    config = open_run(tmp_path / "run").config
    assert (config.circle.width, config.circle.self, config.odd) == (8, "...", "<Unshowable>")
    assert config.labels["2"] == "label 2"
    assert config.path == "/data/caf\\udce9"
    assert config["k\\udce9"] == 1


def test_what_a_missing_step_overwrites_is_said_at_the_end(memory, caplog):
    with start(memory) as run:
        for loss in LOSSES:
            run.log({"loss": loss})

    assert "2 values were replaced by a later one of the same key in the same step" in caplog.text
