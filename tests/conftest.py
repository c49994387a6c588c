"""What every test stands on: an environment that says nothing about ranks, runs and colours."""

import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.s3_server import S3Bucket, S3Server, s3_server

# Tests run side by side, each on a core. Threads of torch would wait for one another, and use up the other's core.
# Here, as it is read when torch is loaded; what tests start inherits it.
os.environ["OMP_NUM_THREADS"] = "1"

# No deadline: a busy machine is no failure.
hypothesis.settings.register_profile("ml", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ml")

_PREFIXES = ("ML_", "OMPI_", "SLURM_", "TORCHELASTIC_", "HYDRA_")
_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")

_LONGEST = (
    "test_docs.py",
    "integrations/test_wandb.py",
    "integrations/test_mlflow.py",
    "benchmarks/test_database.py",
    "e2e/test_torchrun_ranks.py",
    "e2e/test_digits.py",
    "trainers/test_distributed.py",
    "tracing/test_ranks.py",
    "test_hydra.py",
    "faults/test_torch.py",
    "integrations/test_sql.py",
    "cli/test_bench.py",
    "io/test_object_store.py",
    "e2e/test_torchrun.py",
    "test_train.py",
    "integrations/test_accelerate.py",
    "tracing/test_kill.py",
)
"""The files that take longest, in the order of what they take."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # else the files with the most tests begin, and long ones of few tests end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first: whoever is done waits for the last file to end, which had better be a short one."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


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


@pytest.fixture(scope="session")
def _s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(_s3_server: S3Server) -> S3Bucket:
    """An empty bucket of a real S3 server, which one test at a time has for itself, and may kill and start again."""
    if not _s3_server.is_running:
        _s3_server.start()
    name = f"test-{secrets.token_hex(8)}"
    _s3_server.make_bucket(name)
    return S3Bucket(_s3_server, name)
