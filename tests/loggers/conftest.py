from contextlib import suppress

import pytest

from ml.core.run import RunContext
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.testing import FakeClock
from tests.loggers.helpers import Loop


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def component():
    return MultiLogger("model")


@pytest.fixture
def start(tmp_path, clock):
    """Starts a group of backends, and closes it in the end."""
    groups = []

    def start(*backends, **settings):
        settings = {"close_timeout_s": 0.2, **settings}
        groups.append(LoggerGroup(backends, RunContext(tmp_path, clock=clock, wall_clock=clock), **settings))
        return groups[-1]

    yield start
    for group in groups:
        with suppress(Exception):
            group.close()


@pytest.fixture
def make_loop(tmp_path):
    loops = []

    def make(**settings):
        loops.append(Loop(tmp_path, **settings))
        return loops[-1]

    yield make
    for loop in loops:
        loop.group.close()
