"""What a failing backend costs: itself, and nothing of the others."""

import errno

import pytest

from ml.core.errors import ClosedError, ConfigError, WriteError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.report import Reporter
from ml.loggers.runner import Runner
from ml.loggers.stats import Tally
from ml.loggers.values import Batch
from ml.testing import BlockingLogger, RaisingLogger
from tests.loggers.helpers import failing, memory, step, steps_of

FULL = OSError(errno.ENOSPC, "disk full")


def runner_of(backend, directory, clock):
    """What calls a backend, on this thread."""
    context = RunContext(directory, clock=clock)
    backend.initialize(context)
    return Runner(backend, Tally(), Reporter(context, Redactor({}), "warn"))


# starting


def test_a_configuration_error_at_the_start_is_raised_and_closes_what_was_started(start):
    class Wrong(MemoryLogger):
        def initialize(self, context):
            raise ConfigError("no such thing")

    class Closing(MemoryLogger):
        closed = False

        def close(self):
            self.closed = True

    first = Closing(BaseLoggerConfig("first"))

    with pytest.raises(ConfigError, match="no such thing"):
        start(first, Wrong(BaseLoggerConfig("wrong")))
    assert first.closed


def test_a_backend_that_cannot_start_is_off_and_what_it_would_have_got_is_counted(start, component, caplog):
    class Off(MemoryLogger):
        def initialize(self, context):
            raise PermissionError(errno.EACCES, "Permission denied")

    off, other = Off(BaseLoggerConfig("off")), memory()
    group = start(off, other)
    for number in (1, 2):
        step(group, component, number)
    stats = group.close()

    assert steps_of(other) == [1, 2]
    assert "'off' cannot start and stays off" in caplog.text
    assert stats["off"].accepted >= 1
    assert stats["off"].failed == {"write": stats["off"].accepted}


def test_two_backends_of_one_name_are_refused(start):
    with pytest.raises(ConfigError, match="Two backends are called 'memory'"):
        start(memory(), memory())
    start(memory(), memory(id="second"))


def test_a_backend_that_was_not_prepared_is_refused_with_the_cure(start):
    class Unprepared(BaseLogger[BaseLoggerConfig]):
        def initialize(self, context):
            pass  # super().initialize(context) is forgotten

        def write(self, state):
            pass

    with pytest.raises(ConfigError, match=r"super\(\)\.initialize\(context\)"):
        start(Unprepared(BaseLoggerConfig("unprepared")))


def test_how_to_fail_is_warn_or_raise(start):
    with pytest.raises(ConfigError, match="'warn' or 'raise', got 'ignore'"):
        start(memory(), on_error="ignore")


# writing


@pytest.mark.parametrize(
    "error", [FULL, OSError(errno.EIO, "I/O error"), WriteError("not now"), BlockingIOError()], ids=repr
)
def test_what_cannot_be_written_now_is_offered_again_in_order_and_once(start, component, error):
    bad, other = failing(error), memory()
    group = start(bad, other)
    for number in (1, 2, 3):
        step(group, component, number)
    assert not group.flush(timeout_s=0.01)
    assert group.stats()["failing"].pending == 3

    bad.error = None
    assert group.flush()

    assert steps_of(bad) == steps_of(other) == [1, 2, 3]
    assert group.stats()["failing"].written == 3
    assert bad.attempts == len(bad.states) + 1 or bad.attempts >= 4


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ClosedError("closed"), KeyError("key")], ids=repr)
def test_any_other_error_of_a_write_fails_that_batch_alone(start, component, error):
    bad = failing(error)
    group = start(bad)
    step(group, component, 1, a=1.0, b=2.0)
    group.flush()
    bad.error = None
    step(group, component, 2)
    group.close()

    assert steps_of(bad) == [2]
    stats = group.stats()["failing"]
    assert (stats.accepted, stats.written, stats.failed) == (3, 1, {"write": 2})


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.ENOSPC, "disk full")], ids=repr)
def test_an_error_that_takes_a_value_fails_that_value_alone(start, component, error):
    class Picky(MemoryLogger):
        def log_scalar(self, key, value, state, namespace):
            if key == "bad":
                raise error
            super().log_scalar(key, value, state, namespace)

    picky = Picky(BaseLoggerConfig("picky"))
    group = start(picky)
    step(group, component, 1, a=1.0, bad=2.0, b=3.0)
    group.close()

    assert [entry.key for entry in picky.entries] == ["a", "b"]
    assert group.stats()["picky"].failed == {"write": 1}


def test_a_backend_that_raises_everywhere_costs_nothing_but_itself(start, component):
    bad, other = RaisingLogger(BaseLoggerConfig("raising")), memory()
    group = start(bad, other)
    group.log_config({"lr": 0.1})
    for number in range(1, 6):
        step(group, component, number)
    group.flush()
    stats = group.close()

    assert steps_of(other) == [1, 2, 3, 4, 5]
    assert other.config_logged == {"lr": 0.1}
    assert stats["raising"].failed == {"write": stats["raising"].accepted}
    assert stats["raising"].pending == 0


def test_a_backend_that_blocks_for_ever_costs_nothing_but_itself(start, component):
    blocking, other = BlockingLogger(BaseLoggerConfig("blocking")), memory()
    group = start(blocking, other)
    for number in (1, 2, 3):
        step(group, component, number)
    stats = group.close(timeout_s=0.05)
    blocking.gate.open()

    assert steps_of(other) == [1, 2, 3]
    assert stats["blocking"].dropped == {"deadline": 3}
    assert stats["blocking"].pending == 0
    assert group.stats()["blocking"] == stats["blocking"]


@pytest.mark.parametrize(
    ("error", "delays"),
    [
        (OSError(errno.EIO, "I/O error"), [1, 2, 4, 8, 16, 32, 60, 60]),
        (OSError(errno.ENOSPC, "disk full"), [2, 2, 2, 2, 2, 2, 2, 2]),
        (OSError(errno.EDQUOT, "quota"), [2, 2, 2, 2, 2, 2, 2, 2]),
    ],
    ids=["other", "full", "quota"],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_values_are_offered_again_after_1_s_doubling_to_60_s_and_every_2_s_while_a_disk_is_full(
    tmp_path, clock, error, delays, wrapped
):
    raised = error
    if wrapped:
        raised = WriteError("cannot append")
        raised.__cause__ = error
    bad = failing(raised)
    runner = runner_of(bad, tmp_path, clock)
    run = [Batch(State(), [], 0)]

    assert [runner.handle(run) for _ in delays] == delays
    bad.error = None
    assert runner.handle(run) is None
    bad.error = raised
    assert runner.handle(run) == delays[0]


def test_closing_twice_is_closing_once(start, component):
    class Counting(MemoryLogger):
        closed = flushed = 0

        def flush(self):
            self.flushed += 1

        def close(self):
            assert self.flushed
            self.closed += 1

    backend = Counting(BaseLoggerConfig("counting"))
    group = start(backend)
    step(group, component, 1)

    assert group.close() == group.close() == group.stats()
    assert backend.closed == 1


def test_a_backend_that_cannot_flush_or_close_is_reported(start, component, caplog):
    class Bad(MemoryLogger):
        def flush(self):
            raise OSError(errno.EIO, "cannot flush")

        def close(self):
            raise WriteError("cannot close")

    group = start(Bad(BaseLoggerConfig("bad")))
    step(group, component, 1)
    assert not group.flush()
    group.close()

    assert "'bad' cannot flush" in caplog.text
    assert "'bad' failed to close" in caplog.text


def test_flush_is_true_only_when_all_is_durable(start, component):
    bad, blocking = failing(), BlockingLogger(BaseLoggerConfig("blocking"))
    group = start(bad, blocking)
    assert group.flush()

    step(group, component, 1)
    assert not group.flush(timeout_s=0.01)
    bad.error = None
    assert not group.flush(timeout_s=0.01)
    blocking.gate.open()
    assert group.flush()


def test_what_was_lost_is_said_by_the_next_flush_whoever_asked_before(start, component):
    class Refusing(MemoryLogger):
        def write(self, state):
            raise ValueError("not this one")

    group = start(Refusing(BaseLoggerConfig("refusing", write_every_n_seconds=0)), memory())
    step(group, component, 1)

    assert not group.secure(5)
    assert not group.secure(5), "asking changes nothing"
    assert not group.flush()
    assert group.flush(), "what was accepted since the last flush is durable: nothing"
    step(group, component, 2)
    assert not group.flush()
    group.close()
