"""Steps that are no steps, clocks that jump, keys that come twice, namespaces in threads and tasks."""

import asyncio
import math
import threading
from contextlib import suppress

import numpy as np
import pytest

from ml.core.errors import ConfigError
from ml.core.run import RunContext
from ml.core.state import State, normalized
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger, namespace_context
from ml.loggers.journal import JournalLogger, JournalLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.replay import replay
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.reading import open_run
from ml.testing import FakeClock
from tests.loggers.tensorboard_reader import events

LARGEST = 2**63 - 1
STEPS = [
    (None, 0),
    (-1, -1),
    (2.0, 2),
    (2.7, 2),
    (True, 1),
    (np.int64(7), 7),
    (np.float32(7.0), 7),
    (2**63, LARGEST),
    (10**5000, LARGEST),
    (-(10**5000), -LARGEST),
    (math.nan, 0),
    (math.inf, LARGEST),
    (-math.inf, -LARGEST),
    ("five", 0),
    ([], 0),
]


def steps_id(value: object) -> str:
    return repr(value) if not isinstance(value, int) or abs(value) < 2**64 else f"{value.bit_length()} bits"


@pytest.mark.parametrize(("given", "expected"), STEPS, ids=steps_id)
def test_an_odd_step_never_raises_and_is_written_as_a_whole_number(tmp_path, read_json, given, expected):
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    backends = [
        memory,
        JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0)),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", write_every_n_seconds=0)),
        JournalLogger(JournalLoggerConfig("journal", write_every_n_seconds=0)),
    ]
    model = MultiLogger("model")
    with LoggerGroup(backends, RunContext(tmp_path)) as logs:
        for phase in ("train", "valid"):
            model.log_scalar("loss", 0.5)
            model.log_image("image", np.zeros((3, 2, 2), np.uint8))
            logs.write([model], State(phase, num_steps=given, num_epochs=given, num_samples=given))

    for stats in logs.stats().values():
        assert stats.accepted == stats.written == 4
    assert {(entry.phase, entry.step) for entry in memory.entries} == {("train", expected), ("valid", expected)}
    assert {type(entry.step) for entry in memory.entries} == {int}
    assert {(line["step"], line["epoch"], line["samples"]) for line in read_json()} == {(expected,) * 3}


@pytest.mark.parametrize("given", [None, math.nan, math.inf, "now", 10**400], ids=steps_id)
def test_an_odd_time_never_raises(tmp_path, read_json, given):
    model = MultiLogger("model")
    with LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], RunContext(tmp_path)) as logs:
        model.log_scalar("loss", 0.5)
        logs.write([model], State(num_steps=1, start_time_s=given, elapsed_time_s=given, time_s=given))

    assert logs.stats()["json"].written == 1
    (line,) = read_json()
    assert line["elapsed_s"] == 0.0
    assert line["time"] > "2020", "a time that is none is the time of writing"


def test_an_odd_step_is_reported_once(tmp_path, caplog):
    model = MultiLogger("model")
    with LoggerGroup([MemoryLogger(BaseLoggerConfig("memory"))], RunContext(tmp_path)) as logs:
        for _ in range(10):
            logs.write([model], State(num_steps=None))
        logs.write([model], State(num_steps=np.int64(5)))

    assert caplog.text.count("Cannot log 'State.num_steps'") == 1
    assert "NoneType" in caplog.text


def test_a_state_in_order_is_kept_as_it_is():
    state = State("test", 1, 2, 3, 4, 5, 6, 7, 8.0, 9.0, 10.0)
    assert normalized(state) is state


def test_an_unknown_phase_is_refused_with_the_known_ones(tmp_path):
    with LoggerGroup([MemoryLogger(BaseLoggerConfig("memory"))], RunContext(tmp_path)) as logs:
        with pytest.raises(ConfigError, match="train, valid, test, got 'val'"):
            logs.write([], State("val", num_steps=1))
        logs.write([], State("valid", num_steps=1))


# clocks


def test_a_wall_clock_that_jumps_changes_no_interval_and_is_kept_as_data(tmp_path):
    clock, wall_clock = FakeClock(), FakeClock(1_700_000_000.0)
    memory = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=10.0))
    model = MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path, clock=clock, wall_clock=wall_clock)) as logs:
        for step, jump_s in enumerate([0.0, 86_400.0, -86_400.0 * 365, 5.0], start=1):
            clock.advance(5.0)
            wall_clock.advance(jump_s)
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))

    assert [state.num_steps for state in memory.states] == [1, 3], "every 10 s of the monotonic clock"
    times = [state.time_s for state in memory.states]
    assert times[1] < times[0], "order is by step, never by time"


def test_a_monotonic_clock_that_jumps_back_stops_nothing(tmp_path):
    clock = FakeClock(1_000.0)
    memory = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=10.0))
    model = MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path, clock=clock)) as logs:
        for step, jump_s in enumerate([0.0, -900.0, 950.0], start=1):
            clock.advance(jump_s)
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
        assert logs.flush(20.0)
        assert [state.num_steps for state in memory.states] == [1, 3]


# order


def test_steps_out_of_order_are_kept_and_it_is_said_once_that_tensorboard_hides_some(tmp_path, read_json, caplog):
    backends = [
        JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0)),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", write_every_n_seconds=0)),
        JournalLogger(JournalLoggerConfig("journal", write_every_n_seconds=0)),
    ]
    model = MultiLogger("model")
    with LoggerGroup(backends, RunContext(tmp_path)) as logs:
        for step in (10, 5, 4, 11):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))

    memory = MemoryLogger(BaseLoggerConfig("memory"))
    replay(tmp_path, memory, tmp_path / "replayed")
    assert [entry.step for entry in memory.entries] == [10, 5, 4, 11]
    assert [line["step"] for line in read_json()] == [10, 5, 4, 11]
    assert [event.step for event in events(tmp_path / "tensorboard/train")[2:]] == [10, 5, 4, 11]
    assert caplog.text.count("TensorBoard's default loader drops the later points") == 1


def test_a_resume_that_goes_back_deletes_nothing_and_is_one_curve_or_all_of_it(tmp_path, read_json):
    model = MultiLogger("model")
    for attempt, steps in ((1, range(1, 101)), (2, range(80, 121))):
        backends = [
            JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0)),
            TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", write_every_n_seconds=0)),
        ]
        with LoggerGroup(backends, RunContext(tmp_path, attempt=attempt)) as logs:
            for step in steps:
                model.log_scalar("loss", attempt)
                logs.write([model], State(num_steps=step))

    assert [line["step"] for line in read_json()] == [*range(1, 101), *range(80, 121)], "raw"
    curve = open_run(tmp_path).scalars("model/loss")
    assert list(curve.step) == list(range(1, 121)), "the last attempt wins"
    assert list(curve.value) == [1] * 79 + [2] * 41
    starts = [event.step for event in events(tmp_path / "tensorboard/train") if event.HasField("session_log")]
    assert starts == [1, 80], "TensorBoard is told where the second begins"


# rate limits


@pytest.mark.parametrize("at", range(1, 12))
def test_a_key_that_is_logged_once_is_written_wherever_it_falls_into_a_window(tmp_path, at):
    clock, memory, model = (
        FakeClock(),
        MemoryLogger(BaseLoggerConfig("memory", write_every_n_steps=5)),
        MultiLogger("m"),
    )
    with LoggerGroup([memory], RunContext(tmp_path, clock=clock)) as logs:
        for step in range(1, 12):
            model.log_scalar("often", step)
            if step == at:
                model.log_scalar("once", step)
            logs.write([model], State(num_steps=step))
            clock.advance(1.0)

    assert [(entry.step, entry.value) for entry in memory.entries if entry.key == "once"] == [(at, at)]
    often = [entry for entry in memory.entries if entry.key == "often"]
    assert logs.stats()["memory"].skipped == {"rate_limited": 11 - len(often)}


def test_the_last_value_is_written_by_a_forced_step_and_texts_are_never_limited(tmp_path):
    memory = MemoryLogger(BaseLoggerConfig("memory", write_every_n_seconds=1000.0))
    model = MultiLogger("m")
    with LoggerGroup([memory], RunContext(tmp_path, clock=FakeClock())) as logs:
        for step in range(1, 6):
            model.log_scalar("loss", step)
            model.log_string("note", f"at {step}")
            logs.write([model], State(num_steps=step), force=step == 5)

    assert [entry.value for entry in memory.entries if entry.key == "loss"] == [1, 5]
    assert [entry.value for entry in memory.entries if entry.key == "note"] == [f"at {step}" for step in range(1, 6)]


# keys


def test_of_a_key_logged_twice_in_a_step_the_last_wins_and_the_other_is_counted(tmp_path):
    memory, model = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        model.log_scalar("loss", lambda: pytest.fail("overwritten, so never computed"))
        model.log_scalar("loss", 2.0)
        logs.write([model], State(num_steps=1))

    assert memory.entries == [("train", 1, "model", "loss", 2.0)]
    assert model.overwritten == 1
    assert logs.stats()["memory"].accepted == 1


def test_a_key_may_be_a_scalar_a_text_and_an_image_at_once(tmp_path):
    memory, model = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        model.log_scalar("it", 2.0)
        model.log_string("it", "two")
        model.log_image("it", np.zeros((3, 2, 2), np.uint8))
        logs.write([model], State(num_steps=1))

    assert sorted(type(entry.value).__name__ for entry in memory.entries) == ["float", "ndarray", "str"]
    assert model.overwritten == 0


# namespaces


def test_namespace_contexts_nest_and_end_with_an_exception(tmp_path):
    memory, model = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        with suppress(ZeroDivisionError), namespace_context("gen"):
            model.log_scalar("a", 1)
            with namespace_context("head"):
                model.log_scalar("b", 1)
                model.log_scalar("never", 1 / 0)
        model.log_scalar("c", 1)
        logs.write([model], State(num_steps=1))

    assert [(entry.namespace, entry.key) for entry in memory.entries] == [
        ("model_gen", "a"),
        ("model_gen_head", "b"),
        ("model", "c"),
    ]


def test_a_namespace_context_is_seen_by_no_other_thread(tmp_path):
    memory, model = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        with namespace_context("gen"):
            other = threading.Thread(target=model.log_scalar, args=("other", 1))
            other.start()
            other.join()
            model.log_scalar("mine", 1)
        logs.write([model], State(num_steps=1))

    assert {entry.key: entry.namespace for entry in memory.entries} == {"other": "model", "mine": "model_gen"}


def test_a_namespace_context_follows_its_own_task(tmp_path):
    memory, model = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")

    async def log(name: str, entered: asyncio.Event, leave: asyncio.Event) -> None:
        with namespace_context(name):
            entered.set()
            await leave.wait()
            model.log_scalar("loss", 1)

    async def both() -> None:
        inside = asyncio.Event(), asyncio.Event()
        await asyncio.gather(log("a", inside[0], inside[1]), log("b", inside[1], inside[0]))

    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        asyncio.run(both())
        logs.write([model], State(num_steps=1))

    assert sorted(entry.namespace for entry in memory.entries) == ["model_a", "model_b"]
