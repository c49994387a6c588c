"""What every test stands on: an environment that says nothing about ranks, runs and colours."""

import os
from collections.abc import Generator, Iterator

import hypothesis
import pytest

# No deadline: a busy machine is no failure.
hypothesis.settings.register_profile("ml", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ml")

_PREFIXES = ("ML_", "OMPI_", "SLURM_", "TORCHELASTIC_", "HYDRA_")
_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what a test logged text that can be sent from one process to another: some log half a surrogate pair."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True, scope="session")
def _neutral_environment() -> Iterator[None]:
    """Tests see the same environment on a laptop, under torchrun and in a cluster's job."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_PREFIXES) or name in (*_NAMES, *_TERMINAL):
                patch.delenv(name)
        yield
