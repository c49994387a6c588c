"""What holds everywhere: when a value is computed, what of a step outlives it, what is copied.

Laws 3 and 4 are in ``test_windows.py``, 5 and 6 in ``test_due.py``, 7 in ``test_bad_values.py``,
``test_hostile.py`` and ``test_failures.py``, 8 in ``test_json.py`` and the contract, 9 in
``test_untouched.py``, 12 in ``test_ranks.py``; that every value is counted, in ``test_counting.py``.
"""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.values import Lazy
from ml.testing import BlockingLogger, FakeClock

LOGS = ("log_scalar", "log_string", "log_image", "log_audio", "log_video", "log_histogram", "log_point_cloud")
LOGS += ("log_table",)


def a_value(log):
    return {
        "log_scalar": 0.5,
        "log_string": "text",
        "log_image": np.zeros((3, 8, 8), np.uint8),
        "log_audio": np.zeros(100, np.float32),
        "log_video": np.zeros((2, 3, 8, 8), np.uint8),
        "log_histogram": np.arange(10),
        "log_point_cloud": np.zeros((5, 3), np.float32),
        "log_table": {"label": [1, 2], "score": [0.5, None]},
    }[log]


def memories(*ids, **settings):
    return [MemoryLogger(BaseLoggerConfig("memory", id=name, **settings)) for name in ids]


def group_of(directory, backends, clock=None):
    return LoggerGroup(backends, RunContext(directory, clock=clock or FakeClock()))


# law 1


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_callable_runs_once_whatever_the_number_of_backends(tmp_path, component, log, count):
    calls = []

    def value():
        calls.append(threading.current_thread())
        return a_value(log)

    backends = memories(*"abc"[:count])
    with group_of(tmp_path, backends) as group:
        getattr(component, log)("key", value)
        assert calls == []
        group.write([component], State(num_steps=1))

        assert calls == [threading.current_thread()]
    assert len(calls) == 1
    assert all(len(backend.entries) == 1 for backend in backends)


def test_a_callable_sees_the_weights_of_its_own_step(tmp_path, component):
    weights = torch.zeros(2)
    memory = BlockingLogger(BaseLoggerConfig("memory", write_every_n_seconds=10))
    clock = FakeClock()
    with group_of(tmp_path, [memory], clock) as group:
        for step in range(1, 4):
            weights.fill_(step)
            component.log_histogram(f"weights{step}", lambda: weights)
            group.write([component], State(num_steps=step))
            clock.advance(1)
        weights.fill_(100)
        memory.gate.open()

    assert [entry.value.tolist() for entry in memory.entries] == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("case", ["written", "pending", "rate limited", "failing"])
def test_nothing_of_a_step_outlives_it(tmp_path, component, log, case):
    class Held:
        """Stands for the step's tensors, which a callable holds."""

    held = Held()
    reference = weakref.ref(held)

    def value(held=held):
        if case == "failing":
            raise ValueError("no value")
        return a_value(log)

    blocking = BlockingLogger(BaseLoggerConfig("blocking", write_every_n_seconds=10))
    gc.disable()
    try:
        with group_of(tmp_path, [blocking]) as group:
            if case == "pending":
                component.log_scalar("first", 1.0)
                group.write([component], State(num_steps=1))
            if case == "rate limited":
                getattr(component, log)("key", a_value(log))
                group.write([component], State(num_steps=1))
            getattr(component, log)("key", value)
            del value, held
            group.write([component], State(num_steps=2))

            assert reference() is None
            blocking.gate.open()
    finally:
        gc.enable()


class Saved:
    """What a graph keeps for its backward pass."""


class Keeping(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, saved):
        ctx.saved = saved
        return tensor * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def with_graph(shape):
    """A tensor with a graph, and a reference that is dead when the graph is."""
    saved = Saved()
    return Keeping.apply(torch.ones(shape, requires_grad=True), saved), weakref.ref(saved)


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("log", ["log_scalar", "log_histogram", "log_image"])
@pytest.mark.parametrize("phase", ["train", "valid"])
def test_no_graph_outlives_its_step(tmp_path, component, log, lazy, phase):
    value, graph = with_graph(() if log == "log_scalar" else (4, 4))
    blocking = BlockingLogger(BaseLoggerConfig("blocking"))
    with group_of(tmp_path, [blocking]) as group:
        getattr(component, log)("key", (lambda value=value: value) if lazy else value)
        group.write([component], State(phase))
        assert graph() is not None
        del value

        assert graph() is None
        blocking.gate.open()


# law 2


@pytest.mark.parametrize("log", LOGS)
def test_a_kind_that_no_backend_takes_is_never_computed(tmp_path, component, log):
    class Nothing(BaseLogger[BaseLoggerConfig]):
        def write(self, state):
            pass

    with group_of(tmp_path, [Nothing(BaseLoggerConfig("nothing"))]) as group:
        getattr(component, log)("key", lambda: pytest.fail("computed"))
        group.write([component], State(num_steps=1), force=True)

    assert group.stats()["nothing"].skipped == {"unsupported": 1}
    assert group.stats()["nothing"].failed == {}


def test_a_key_that_every_backend_excludes_is_never_computed(tmp_path, component):
    backends = [*memories("a", exclude=["model/grad_*"]), *memories("b", include=["task/*"])]
    with group_of(tmp_path, backends) as group:
        component.log_scalar("grad_norm", lambda: pytest.fail("computed"))
        component.log_scalar("loss", 0.5)
        group.write([component], State(num_steps=1), force=True)

    assert [backend.entries for backend in backends] == [[("train", 1, "model", "loss", 0.5)], []]
    assert group.stats()["a"].skipped == {"excluded": 1}
    assert group.stats()["b"].skipped == {"excluded": 2}


# law 10


def broadcast(shape, count):
    """Shape (count, *shape), of which only one element along the first axis is in memory."""
    return torch.zeros(1, *shape, dtype=torch.uint8).expand(count, *shape)


@pytest.mark.parametrize(
    ("log", "value", "most_bytes"),
    [
        ("log_images", broadcast((64, 64), 10**6), 64 * 64 * 64),
        ("log_images", broadcast((64, 64), 10**6).numpy(), 64 * 64 * 64),
        ("log_labeled_images", (broadcast((64, 64), 10**5), ["text"] * 10**5), 64 * 64 * 64 + 64 * 64),
        ("log_video", broadcast((64, 64), 10**6), 256 * 64 * 64),
        ("log_video", broadcast((64, 64), 10**6).numpy(), 256 * 64 * 64),
        ("log_point_cloud", broadcast((3,), 10**8), 3 * 1000),
        ("log_audio", broadcast((10**5,), 1000), 10**5),
        ("log_histogram", broadcast((), 10**9), 10**6),
        ("log_histogram", broadcast((), 10**9).numpy(), 10**6),
        ("log_table", {"pixels": broadcast((8, 8), 10**6), "label": range(10**6)}, 10_000 * (64 + 8)),
    ],
    ids=[
        "images",
        "array",
        "labelled",
        "video",
        "video array",
        "points",
        "audio",
        "histogram",
        "histogram array",
        "table",
    ],
)
def test_a_value_is_cut_to_what_its_picture_holds_before_it_is_copied(tmp_path, component, log, value, most_bytes):
    sizes = []

    class Sizes(MemoryLogger):
        def log_scalar(self, key, value: Lazy, state, namespace):
            sizes.append(value.size_bytes)

        log_image = log_audio = log_video = log_histogram = log_point_cloud = log_table = log_scalar

    with group_of(tmp_path, [Sizes(BaseLoggerConfig("sizes"))]) as group:
        getattr(component, log)("key", value)
        group.write([component], State(num_steps=1))

    assert group.stats()["sizes"].failed == {}
    assert sizes[0] <= most_bytes + 1000


def test_what_is_still_too_large_is_refused_with_the_cure(tmp_path, component, caplog):
    (memory,) = memories("a")
    with group_of(tmp_path, [memory]) as group:
        component.log_image("huge", broadcast((10**4, 3), 10**4))
        group.write([component], State(num_steps=1))

    assert group.stats()["a"].failed == {"value": 1}
    assert "more than 64 MiB is refused" in caplog.text


# law 11


def test_a_scalar_on_the_cpu_is_read_without_giving_the_interpreter_away(tmp_path, component, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: pytest.fail("item() was called"))
    (memory,) = memories("a")
    with group_of(tmp_path, [memory]) as group:
        component.log_scalar("loss", torch.tensor(0.5))
        component.log_scalar("mean", torch.tensor(0.5), reduce="mean")
        group.write([component], State(num_steps=1))

    assert sorted(entry.value for entry in memory.entries) == [0.5, 0.5]


def test_no_object_of_ours_is_made_for_each_scalar(tmp_path, component):
    blocking = BlockingLogger(BaseLoggerConfig("blocking"))
    with group_of(tmp_path, [blocking]) as group:
        component.log_scalar("first", 0.0)
        group.write([component], State(num_steps=1))
        blocking.gate.wait_for_arrival()
        before = ours()
        component.log_scalars({f"key{index}": float(index) for index in range(1000)})
        group.write([component], State(num_steps=2))

        assert ours() - before < 1100  # each series has one Route, made once
        before = ours()
        component.log_scalars({f"key{index}": float(index) for index in range(1000)})
        group.write([component], State(num_steps=3))

        assert ours() - before < 100
        blocking.gate.open()


def ours():
    return sum(str(type(thing).__module__).startswith("ml.") for thing in gc.get_objects())
