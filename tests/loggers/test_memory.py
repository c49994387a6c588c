import numpy as np
import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger


@pytest.fixture
def memory(tmp_path):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("task")
    with LoggerGroup([memory], RunContext(tmp_path / "run")) as group:
        group.log_config({"lr": 0.1})
        for step in (1, 2):
            component.log_scalar("loss", step / 4)
            component.log_string("note", "text")
            group.write([component], State(num_steps=step))
        component.log_image("image", np.full((64, 64), 7, np.uint8))
        group.write([component], State("valid", num_steps=2))
    return memory


def test_every_value_is_kept_in_order_with_its_place(memory):
    assert [tuple(entry) for entry in memory.entries if entry.key == "loss"] == [
        ("train", 1, "task", "loss", 0.25),
        ("train", 2, "task", "loss", 0.5),
    ]
    assert [entry.step for entry in memory.entries] == [1, 1, 2, 2, 2]
    assert memory.entries[4][:4] == ("valid", 2, "task", "image")
    assert memory.entries[4].value.shape == (1, 64, 64)


def test_writes_and_the_configuration_are_kept(memory):
    assert [(state.phase, state.num_steps) for state in memory.states] == [("train", 1), ("train", 2), ("valid", 2)]
    assert memory.config_logged == {"lr": 0.1}


def test_the_values_are_a_frame(memory):
    frame = memory.to_pandas()

    assert list(frame.columns) == ["phase", "step", "namespace", "key", "value"]
    assert frame[frame.key == "loss"].value.tolist() == [0.25, 0.5]


def test_a_frame_of_nothing_has_its_columns():
    assert list(MemoryLogger(BaseLoggerConfig("memory")).to_pandas().columns) == [
        *("phase", "step", "namespace", "key", "value")
    ]


def test_nothing_is_made_on_disk(memory, tmp_path):
    assert list(tmp_path.iterdir()) == []
