"""A bad value costs that value: its neighbours are written, and the message names key, cure and line."""

import numpy as np
import pytest
import torch

from ml.core.errors import ConfigError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.testing import FakeClock


def memories(*ids, **settings):
    return [MemoryLogger(BaseLoggerConfig("memory", id=name, **settings)) for name in ids]


def group_of(directory, backends, clock=None):
    return LoggerGroup(backends, RunContext(directory, clock=clock or FakeClock()))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda: 1 / 0, "callable"),
        (lambda: None, "value"),
        (lambda: (n for n in [1.0]), "value"),
        (lambda: [1.0, 2.0], "value"),
        (lambda: "text", "value"),
        (lambda: 1j, "value"),
        (lambda: lambda: 1.0, "value"),
        (lambda wanted: wanted, "callable"),
        (torch.zeros(2), "value"),
        (None, "value"),
    ],
    ids=[
        "raises",
        "None",
        "generator",
        "list",
        "text",
        "complex",
        "callable",
        "wants an argument",
        "shape",
        "no value",
    ],
)
@pytest.mark.parametrize("phase", ["train", "valid"])
def test_a_bad_value_costs_that_value(tmp_path, component, value, reason, phase):
    memory, other = memories("a", "b")
    with group_of(tmp_path, [memory, other]) as group:
        component.log_scalars({"before": 1.0, "bad": value, "after": 2.0})
        group.write([component], State(phase))

    for backend in (memory, other):
        assert [entry.key for entry in backend.entries] == ["before", "after"]
        assert group.stats()[backend.id].failed == {reason: 1}


async def _coroutine():
    return 1.0


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_coroutine_is_no_number(tmp_path, component, caplog):
    (memory,) = memories("a")
    with group_of(tmp_path, [memory]) as group:
        component.log_scalars({"bad": _coroutine, "good": 1.0})
        group.write([component], State(num_steps=1))

    assert [entry.key for entry in memory.entries] == ["good"]
    assert "a scalar is a number, got a coroutine" in caplog.text


@pytest.mark.parametrize(
    ("log", "value"),
    [
        ("log_image", np.zeros((3, 4, 5, 6, 7))),
        ("log_image", np.zeros((0, 4))),
        ("log_image", "a picture"),
        ("log_images", []),
        ("log_images", np.zeros((2, 2))[0]),
        ("log_labeled_image", np.zeros((4, 4, 4))),
        ("log_labeled_images", (np.zeros((2, 4, 4)), ["one text"])),
        ("log_audio", np.zeros((2, 2, 2))),
        ("log_video", np.zeros((0, 4, 4))),
        ("log_video", None),
        ("log_histogram", np.zeros(0)),
        ("log_histogram", ["text"]),
        ("log_point_cloud", np.zeros((4, 4))),
        ("log_point_cloud", None),
        ("log_table", None),
        ("log_table", {}),
        ("log_table", [{"a": 1}]),
        ("log_table", {"a": [1, 2], "b": [1]}),
        ("log_table", {"a": "text"}),
        ("log_table", {"a": 1}),
        ("log_table", {"a": [np.zeros(5000)]}),
        ("log_table", {"a": [np.zeros((9, 9)), 3]}),
    ],
    ids=str,
)
def test_bad_media_cost_themselves_and_the_message_names_key_and_line(tmp_path, component, log, value, caplog):
    json = JsonLogger(JsonLoggerConfig("json"))
    with group_of(tmp_path, [json]) as group:
        getattr(component, log)("bad", value)
        component.log_scalar("good", 1.0)
        group.write([component], State(num_steps=1))

    stats = group.stats()["json"]
    assert (stats.accepted, stats.written, stats.failed) == (2, 1, {"value": 1})
    assert "Cannot log 'model/bad'" in caplog.text
    assert "test_bad_values.py:" in caplog.text


def test_what_is_wrong_with_a_value_is_told_once_whoever_takes_it(tmp_path, component, caplog):
    with group_of(tmp_path, memories("a", "b", "c")) as group:
        component.log_image("bad", np.zeros((3, 4, 5, 6, 7)))
        group.write([component], State(num_steps=1))

    (record,) = caplog.records
    assert record.getMessage().startswith("Cannot log 'model/bad'")
    assert "Traceback" not in caplog.text
    assert "more failures" not in caplog.text
    assert [stats.failed for stats in group.stats().values()] == [{"value": 1}] * 3


def test_a_failure_without_a_text_is_told_too(tmp_path, component, caplog):
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    class Mute(MemoryLogger):
        def log_scalar(self, key, value, state, namespace):
            raise MuteError

        def write(self, state):
            raise MuteError

    with group_of(tmp_path, [Mute(BaseLoggerConfig("mute"))]) as group:
        component.log_scalar("loss", 1.0)
        group.write([component], State(num_steps=1))

    assert "'mute' failed to write 1 values: an error whose text cannot be had" in caplog.text
    assert group.stats()["mute"].failed == {"write": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"exclude": "*/grad_*"},
            r"exclude of 'json' must be of type list\[str\], got '\*/grad_\*'. Write \['\*/grad_\*'\]",
        ),
        (
            {"write_every_n_seconds": "5"},
            r"write_every_n_seconds of 'json' must be of type .*float.*, got '5'. Write 5.0",
        ),
        ({"id": 5}, r"id of 'json' must be of type .*str.*, got 5. Write '5'"),
    ],
    ids=str,
)
def test_a_backend_made_in_python_refuses_a_setting_of_another_type(settings, message):
    with pytest.raises(ConfigError, match=message):
        JsonLogger(JsonLoggerConfig("json", **settings))


@pytest.mark.parametrize("key", [1, None, "", b"key", ["key"], {}, ("a", "b")], ids=repr)
@pytest.mark.parametrize("namespace", [None, ""], ids=repr)
def test_a_key_that_is_no_text_costs_its_value(tmp_path, component, key, namespace, caplog):
    (memory,) = memories("a")
    with group_of(tmp_path, [memory]) as group:
        for step in (1, 2):
            component.log_scalar(key, 1.0, namespace=namespace)
            component.log_scalar("good", 2.0)
            group.write([component], State(num_steps=step))

    assert [entry.key for entry in memory.entries] == ["good", "good"]
    assert group.stats()["a"].failed == {"value": 2}
    assert f"a key is a text that is not empty, got {key!r}" in caplog.text


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("", {}),
        ("loss", {"reduce": "median"}),
        ("loss", {"reduce": ["mean"]}),
        ("loss", {"weight": -1}),
        ("loss", {"weight": float("nan")}),
        ("loss", {"weight": "x"}),
        ("loss", {"across_ranks": "avg"}),
        ("loss", {"across_ranks": "mean", "reduce": "sum"}),
        ("loss", {"namespace": "a/b"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [1.0, 2], ids=repr)
def test_a_call_that_cannot_be_is_told_with_its_line_whatever_the_value(
    tmp_path, component, caplog, key, options, value
):
    with group_of(tmp_path, memories("a")) as group:
        component.log_scalar("loss", 0.5, namespace="other")
        component.log_scalar(key, value, **options)
        group.write([component], State(num_steps=1))

    assert group.stats()["a"].failed == {"value": 1}
    assert "(Logged at test_bad_values.py:" in caplog.text


@pytest.mark.parametrize("namespace", [1, ["model"], "a/b", b"model"], ids=repr)
def test_a_namespace_that_is_no_text_without_a_slash_costs_its_value(tmp_path, component, namespace, caplog):
    (memory,) = memories("a")
    with group_of(tmp_path, [memory]) as group:
        component.log_scalar("bad", 1.0, namespace=namespace)
        component.log_scalar("good", 2.0)
        group.write([component], State(num_steps=1))

    assert [entry.key for entry in memory.entries] == ["good"]
    assert f"a namespace is a text without '/', got {namespace!r}" in caplog.text
