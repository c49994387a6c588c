"""A publication that is killed at any call to the operating system leaves a store that reads, and that can go on."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.checking import fsck
from ml.evaluation.collection import gc
from ml.io.local_store import LocalStore
from ml.testing import FakeClock
from ml.testing.disk import CALLS, TestDisk
from tests.evaluation.opaque import DAY_S, NOW_S
from tests.evaluation.tables import ground_truth, predictions


class KillingDisk(TestDisk):
    """A disk that kills the process before its Nth call, or in the middle of it, if that writes.

    Args:
        at: Which call, from 1 on; 0: none, they are counted.
        does_half: Whether half of a write is done first.
    """

    def __init__(self, at: int, *, does_half: bool = False) -> None:
        super().__init__()
        self._at, self._does_half, self.calls = at, does_half, 0
        for name in CALLS:
            setattr(self, name, self._counted(name, getattr(self, name)))

    def _counted(self, name, call):
        def counted(*arguments):
            self.calls += 1
            if self.calls == self._at:
                if name == "write" and self._does_half:
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return counted


def publish(directory: Path, tables) -> None:
    """Publishes as a run does after its second epoch: there is a version, and it refers to another artifact."""
    artifacts = Artifacts(LocalStore(directory), run_id="run", wall_clock=lambda: NOW_S)
    artifacts.publish(
        "pred", tables, type="evaluation", aliases=["epoch_1"], metrics={"loss": 0.5}, best=("loss", "min"),
        used=[artifacts.get("val")],
    )  # fmt: skip


def prepare(directory: Path):
    """Makes the versions that were there before; returns the tables of the one that is going to be published."""
    artifacts = Artifacts(directory, run_id="run", wall_clock=lambda: NOW_S)
    artifacts.publish("val", {"val_data": ground_truth()}, type="dataset")
    artifacts.publish(
        "pred", {"eval_data": predictions(0)}, type="evaluation", metrics={"loss": 1.0}, best=("loss", "min")
    )
    tables = {"eval_data": predictions(1), "images": ground_truth(5)}
    for table in tables.values():
        table.finish()  # in this process: pyarrow has threads, which a forked child lacks
    return tables


def killed_at(directory: Path, tables, at: int, *, does_half: bool) -> bool:
    """Publishes in a child that is killed at a call; returns whether it was, before it had done everything."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            KillingDisk(at, does_half=does_half).__enter__()  # in the place of the one of the test
            publish(directory, tables)
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the child failed"
    return os.WIFSIGNALED(status)


def check_and_go_on(directory: Path, tables) -> int:
    """Checks the store of a publication that was killed; returns how many versions were visible."""
    clock = FakeClock(NOW_S)
    artifacts = Artifacts(directory, run_id="run", wall_clock=clock)
    found = fsck(artifacts, deep=True)
    assert [problem for problem in found if problem.severity == "problem"] == []
    versions = artifacts.versions("pred")
    assert [version.number for version in versions] == list(range(len(versions)))
    for version in versions:
        for name in version.tables:
            assert len(list(version.table(name).data)) in (4, 5)
    assert artifacts.get("pred:best").number in (0, 1)

    publish(directory, tables)  # as the run that goes on does
    assert [version.number for version in artifacts.versions("pred")] == [0, 1]
    assert artifacts.aliases("pred") == {"latest": 1, "best": 1, "epoch_1": 1}
    assert artifacts.used_by(artifacts.get("val")) == ["run"]
    clock.advance(2 * DAY_S)
    gc(artifacts)
    assert fsck(artifacts, deep=True) == []
    return len(versions)


def test_sigkill_at_calls_of_a_publication_leaves_a_store_that_reads_and_can_go_on(tmp_path):
    kill_at_every(tmp_path, 9, does_half=True)


@pytest.mark.slow
@pytest.mark.parametrize("does_half", [False, True], ids=["before", "within"])
def test_sigkill_at_every_call_of_a_publication_leaves_a_store_that_reads_and_can_go_on(tmp_path, does_half):
    kill_at_every(tmp_path, 1, does_half=does_half)


def kill_at_every(directory: Path, step: int, *, does_half: bool) -> None:
    """Kills a publication at each call, or at some of them."""
    with TestDisk():
        tables = prepare(directory / "before")
        shutil.copytree(directory / "before", directory / "counted")
    with KillingDisk(0) as disk:
        publish(directory / "counted", tables)
    visible = []
    with TestDisk():
        for at in range(1, disk.calls + 1, step):
            store = directory / str(at)
            shutil.copytree(directory / "before", store)
            assert killed_at(store, tables, at, does_half=does_half)
            visible.append(check_and_go_on(store, tables))
        assert not killed_at(directory / "counted", tables, disk.calls + 1, does_half=does_half)
    print(f"killed at {len(visible)} of {disk.calls} calls; {visible.count(2)} times the version was visible")
    assert sorted(visible) == visible, "once it is visible it is"
    assert set(visible) == {1, 2}
