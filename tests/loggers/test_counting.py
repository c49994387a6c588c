"""Every value offered is written, or counted under a named reason, exactly, whatever happens.

A state machine logs, fails, blocks, floods and closes at random, and looks at the
counts after every call.
"""

import tempfile
from typing import ClassVar

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing import FailingLogger, FakeClock, Gate

KEYS = st.sampled_from(["a", "b", "c"])


class Blocking(MemoryLogger):
    """A memory backend whose ``write`` waits at a gate that can be closed again."""

    gate: Gate | None = None

    def write(self, state):
        if self.gate is not None:
            self.gate.wait()
        super().write(state)


class ScalarsOnly(BaseLogger[BaseLoggerConfig]):
    """A backend that takes scalars, and dislikes one key."""

    def log_scalar(self, key, value, state, namespace):
        if key == "b":
            raise RuntimeError("not b")

    def write(self, state):
        pass


def raising():
    raise RuntimeError("no value")


class Counting(RuleBasedStateMachine):
    settings: ClassVar[dict[str, float]] = {}

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.failing = FailingLogger(BaseLoggerConfig("failing", max_queue_bytes=2000, **self.settings))
        self.failing.error = None
        self.blocking = Blocking(BaseLoggerConfig("blocking", max_queue_bytes=1000, **self.settings))
        backends = [
            MemoryLogger(BaseLoggerConfig("every_step", **self.settings)),
            MemoryLogger(BaseLoggerConfig("slow", write_every_n_seconds=5, write_val_every_n_seconds=2)),
            MemoryLogger(BaseLoggerConfig("by_steps", write_every_n_steps=3, max_media_bytes=10_000)),
            MemoryLogger(BaseLoggerConfig("some", exclude=["*/a"], max_queue_bytes=2000, **self.settings)),
            ScalarsOnly(BaseLoggerConfig("scalars", **self.settings)),
            self.failing,
            self.blocking,
        ]
        self.group = LoggerGroup(backends, RunContext(self.directory.name, clock=self.clock), close_timeout_s=10)
        self.components = [MultiLogger("model"), MultiLogger("task")]
        self.state = State()
        self.offered = 0

    def log(self, component, method, *args, **kwargs):
        getattr(self.components[component], method)(*args, **kwargs)
        self.offered += 1

    @rule(component=st.integers(0, 1), key=KEYS, value=st.sampled_from([1.0, lambda: 2.0, raising, "text", None]))
    def log_scalar(self, component, key, value):
        self.log(component, "log_scalar", key, value)

    @rule(component=st.integers(0, 1), key=KEYS, reduce=st.sampled_from(["mean", "sum", "last", "max"]))
    def log_reduced(self, component, key, reduce):
        self.log(component, "log_scalar", key, 1.0, reduce=reduce)

    @rule(component=st.integers(0, 1), key=KEYS)
    def log_string(self, component, key):
        self.log(component, "log_string", key, "text")

    @rule(component=st.integers(0, 1), key=KEYS, side=st.sampled_from([4, 40]))
    def log_image(self, component, key, side):
        self.log(component, "log_image", key, np.zeros((side, side), np.uint8))

    @rule(component=st.integers(0, 1), key=KEYS)
    def log_histogram(self, component, key):
        self.log(component, "log_histogram", key, lambda: np.arange(10))

    @rule(component=st.integers(0, 1))
    def log_what_is_changed_in_place(self, component):
        value = torch.zeros(3)
        self.log(component, "log_histogram", "c", value)
        value.add_(1)

    @rule(component=st.integers(0, 1))
    def log_without_a_key(self, component):
        self.log(component, "log_scalar", "", 1.0)

    @rule(phase=st.sampled_from(["train", "train", "train", "valid"]), force=st.sampled_from([False, False, True]))
    def step(self, phase, force):
        field = {"train": "num_steps", "valid": "num_valid_steps"}[phase]
        self.state = self.state._replace(phase=phase, **{field: getattr(self.state, field) + 1})
        self.group.write(self.components, self.state, force=force)

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def pass_time(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def end_pass(self):
        self.group.end_pass()

    @rule()
    def flush(self):
        self.group.flush(timeout_s=0.001)

    @rule(error=st.sampled_from([None, OSError("not now"), RuntimeError("a bug")]))
    def fail(self, error):
        self.failing.error = error

    @precondition(lambda self: self.blocking.gate is None)
    @rule()
    def block(self):
        self.blocking.gate = Gate()

    @precondition(lambda self: self.blocking.gate is not None)
    @rule()
    def unblock(self):
        gate, self.blocking.gate = self.blocking.gate, None
        gate.open()

    @rule()
    def close(self):
        if self.blocking.gate is not None:
            self.unblock()
        self.failing.error = None if isinstance(self.failing.error, OSError) else self.failing.error
        self.group.close()
        assert all(stats.pending == 0 for stats in self.group.stats().values())

    @invariant()
    def every_value_is_counted(self):
        waiting = sum(map(len, self.components))
        overwritten = sum(component.overwritten for component in self.components)
        for name, stats in self.group.stats().items():
            assert stats.pending >= 0, name
            resolved = stats.written + sum(stats.dropped.values()) + sum(stats.failed.values()) + stats.pending
            assert stats.accepted == resolved, (name, stats)
            assert self.offered - waiting - overwritten == stats.accepted + sum(stats.skipped.values()), (name, stats)

    def teardown(self):
        self.close()
        stats = self.group.stats()
        assert len(self.failing.entries) == stats["failing"].written
        assert len(self.blocking.entries) == stats["blocking"].written
        self.directory.cleanup()


class CountingLimited(Counting):
    """The same where no backend is due at every step, so that whole series are not looked at."""

    settings: ClassVar[dict[str, float]] = {"write_every_n_seconds": 5.0}


TestCounting = Counting.TestCase
TestCountingLimited = CountingLimited.TestCase
TestCounting.settings = TestCountingLimited.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)


def test_values_that_nobody_needs_are_counted_at_every_backend(tmp_path):
    component = MultiLogger("model")
    slow = MemoryLogger(BaseLoggerConfig("slow", write_every_n_seconds=100))
    excluding = MemoryLogger(BaseLoggerConfig("excluding", write_every_n_seconds=100, exclude=["model/a"]))
    scalars = ScalarsOnly(BaseLoggerConfig("scalars", write_every_n_seconds=100))
    with LoggerGroup([slow, excluding, scalars], RunContext(tmp_path, clock=FakeClock())) as group:
        for step in range(1, 6):
            component.log_scalar("a", 1.0)
            component.log_histogram("weights", lambda: np.ones(3))
            group.write([component], State(num_steps=step))
        stats = group.stats()

    assert stats["slow"].skipped == {"rate_limited": 8}
    assert stats["excluding"].skipped == {"rate_limited": 4, "excluded": 5}
    assert stats["scalars"].skipped == {"rate_limited": 4, "unsupported": 5}
