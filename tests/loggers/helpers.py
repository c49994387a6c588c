"""What tests of a group have in common: backends, steps, and a loop that counts what it computes."""

import numpy as np

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing import FailingLogger, FakeClock

IMAGE = np.zeros((4, 4), np.uint8)


def memory(name="memory", **settings):
    return MemoryLogger(BaseLoggerConfig(name, **settings))


def failing(error=None, **settings):
    return FailingLogger(BaseLoggerConfig("failing", **settings), error)


def step(group, component, number, **values):
    """Logs values, or a loss, and ends the step."""
    component.log_scalars(values or {"loss": float(number)})
    group.write([component], State(num_steps=number))


def steps_of(backend, key="loss"):
    return [entry.step for entry in backend.entries if entry.key == key]


class Loop:
    """A training loop that counts how often its callables run."""

    def __init__(self, directory, **settings):
        self.clock = FakeClock()
        self.memory = MemoryLogger(BaseLoggerConfig("memory", **settings))
        self.others = []
        self.component = MultiLogger("model")
        self.directory = directory
        self.computed = []
        self.state = State()
        self._group = None

    @property
    def group(self):
        if self._group is None:
            context = RunContext(self.directory, clock=self.clock, wall_clock=self.clock)
            self._group = LoggerGroup([self.memory, *self.others], context, on_error="raise")
        return self._group

    def other(self, name, **settings):
        self.others.append(MemoryLogger(BaseLoggerConfig("memory", id=name, **settings)))
        return self.others[-1]

    def log(self, *keys, log="log_scalar"):
        """Logs a callable under each key, which gives the number of the step."""
        for key in keys:
            step = self.state.num_steps + 1

            def value(key=key, step=step):
                self.computed.append((key, step))
                return {"log_image": IMAGE, "log_histogram": np.ones(3), "log_string": str(step)}.get(log, step)

            getattr(self.component, log)(key, value)

    def step(self, seconds=1.0, *, force=False, phase="train"):
        field = {"train": "num_steps", "valid": "num_valid_steps", "test": "num_test_steps"}[phase]
        self.state = self.state._replace(phase=phase, **{field: getattr(self.state, field) + 1})
        self.group.write([self.component], self.state, force=force)
        self.clock.advance(seconds)

    def steps(self, count, *keys, log="log_scalar", seconds=1.0):
        for _ in range(count):
            self.log(*keys, log=log)
            self.step(seconds)

    def written(self, logger=None):
        """What was written so far: ``(key, step)``."""
        assert self.group.flush()
        return [(entry.key, entry.step) for entry in (logger or self.memory).entries]
