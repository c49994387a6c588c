"""Hand-overs that wait anyway are written as one, where the backend says that it makes no difference."""

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import FakeClock, Gate


class Gathering(MemoryLogger):
    """Stands at a gate in its first write; the next ``failures`` raise."""

    gathers = True

    def __init__(self, failures: int = 0) -> None:
        super().__init__(BaseLoggerConfig("gathering", write_every_n_seconds=0))
        self.gate, self.failures = Gate(), failures

    def write(self, state: State) -> None:
        if not self.states:
            self.gate.wait()
        elif self.failures:
            self.failures -= 1
            self._rows = []
            raise OSError(28, "disk full")
        super().write(state)


class Separate(Gathering):
    gathers = False


def log_steps(backend: Gathering, directory: object, steps: int) -> dict[str, int]:
    component = MultiLogger("task")
    with LoggerGroup([backend], RunContext(directory, clock=FakeClock())) as logs:  # type: ignore[arg-type]
        component.log_scalar("loss", 0)
        logs.write([component], State(num_steps=1))
        backend.gate.wait_for_arrival()
        for step in range(2, steps + 1):
            component.log_scalar("loss", step - 1)
            logs.write([component], State(num_steps=step))
        backend.gate.open()
        assert logs.flush() or backend.failures
        stats = logs.close()["gathering"]
    return {"accepted": stats.accepted, "written": stats.written, "lost": stats.pending + sum(stats.dropped.values())}


@pytest.mark.parametrize(("backend", "writes"), [(Gathering(), [1, 100]), (Separate(), [*range(1, 101)])])
def test_steps_that_wait_are_one_write_only_where_the_backend_gathers(tmp_path, backend, writes):
    counts = log_steps(backend, tmp_path, steps=100)

    assert [state.num_steps for state in backend.states] == writes
    assert [(entry.step, entry.value) for entry in backend.entries] == [(n, n - 1) for n in range(1, 101)]
    assert counts == {"accepted": 100, "written": 100, "lost": 0}


def test_a_gathered_write_that_failed_is_offered_again_whole(tmp_path):
    backend = Gathering(failures=1)

    counts = log_steps(backend, tmp_path, steps=100)

    assert [entry.step for entry in backend.entries] == [*range(1, 101)]
    assert counts == {"accepted": 100, "written": 100, "lost": 0}


def test_the_configuration_never_comes_after_values_that_were_logged_later(tmp_path):
    order = []

    class Ordered(Gathering):
        def log_config(self, config):
            order.append(("config", len(self.entries)))

    backend = Ordered()
    component = MultiLogger("task")
    with LoggerGroup([backend], RunContext(tmp_path, clock=FakeClock())) as logs:
        for step in (1, 2):
            component.log_scalar("loss", step)
            logs.write([component], State(num_steps=step))
        backend.gate.wait_for_arrival()
        logs.log_config({"a": 1})
        component.log_scalar("loss", 3)
        logs.write([component], State(num_steps=3))
        backend.gate.open()
        logs.flush()

    assert order == [("config", 2)]
