"""Stand-ins for what a test must hold in its hand: time, a place to wait at, backends that fail or block."""

import errno

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.worker import Event
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.memory import MemoryLogger

WAIT_S = 30.0
"""How long a test waits at a gate before it fails instead of hanging."""


class FakeClock:
    """A clock that stands still until it is advanced. Give it to a ``RunContext``."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Moves the clock on; a clock that jumps back gets a negative number."""
        self.now_s += seconds


class Gate:
    """A place where another thread waits until the test lets it pass."""

    def __init__(self) -> None:
        self._arrived = Event()
        self._opened = Event()

    def wait(self) -> None:
        """Called by the other thread: says that it has arrived, and waits until the gate is open."""
        self._arrived.set()
        assert self._opened.wait(WAIT_S), "no one opened the gate"

    def wait_for_arrival(self) -> None:
        """Called by the test: returns when the other thread stands at the gate."""
        assert self._arrived.wait(WAIT_S), "no one arrived at the gate"

    def open(self) -> None:
        """Lets everyone pass, from now on."""
        self._opened.set()


class FailingLogger(MemoryLogger):
    """A memory backend whose ``write`` raises until ``error`` is set to ``None``; by default the disk is full."""

    def __init__(self, config: BaseLoggerConfig, error: BaseException | None = None) -> None:
        super().__init__(config)
        self.error: BaseException | None = error or OSError(errno.ENOSPC, "disk full")
        self.attempts = 0

    def write(self, state: State) -> None:
        self.attempts += 1
        if self.error is not None:
            self._rows.clear()
            raise self.error
        super().write(state)


class BlockingLogger(MemoryLogger):
    """A memory backend whose ``write`` waits at ``gate``."""

    def __init__(self, config: BaseLoggerConfig) -> None:
        super().__init__(config)
        self.gate = Gate()

    def write(self, state: State) -> None:
        self.gate.wait()
        super().write(state)


class RaisingLogger(BaseLogger[BaseLoggerConfig]):
    """A backend that raises in every method that a run calls, once it is initialized."""

    def initialize(self, context: RunContext) -> None:
        self.attach(context)

    def should_write(self, state: State) -> bool:
        raise RuntimeError("should_write failed")

    def log_config(self, config: object) -> None:
        raise RuntimeError("log_config failed")

    def log_scalar(self, key: str, value: object, state: State, namespace: str) -> None:
        raise RuntimeError("log_scalar failed")

    def write(self, state: State) -> None:
        raise RuntimeError("write failed")

    def flush(self) -> None:
        raise RuntimeError("flush failed")

    def close(self) -> None:
        raise RuntimeError("close failed")
