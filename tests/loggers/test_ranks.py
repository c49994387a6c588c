"""Only the primary rank writes, and only it computes; a callable that needs the other ranks is stopped."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.distributed as dist

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.snapshot import CollectiveError, Snapshots


@pytest.fixture
def process_group():
    """A process group of one rank, in which collectives return at once."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_rank_that_is_not_the_primary_one_computes_and_writes_nothing(tmp_path):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path / "run", rank=1, world_size=2)) as group:
        group.log_config({"lr": 0.1})
        component.log_scalar("loss", lambda: pytest.fail("computed"))
        component.log_image("image", lambda: pytest.fail("computed"))
        group.write([component], State(num_steps=1), force=True)
        assert group.flush()
        assert len(component) == 0

    assert memory.entries == []
    assert not (tmp_path / "run").exists()
    assert group.stats() == {}


COLLECTIVES = {
    "all_reduce": lambda: dist.all_reduce(torch.ones(1)),
    "all_reduce async": lambda: dist.all_reduce(torch.ones(1), async_op=True),
    "broadcast": lambda: dist.broadcast(torch.ones(1), 0),
    "all_gather": lambda: dist.all_gather([torch.ones(1)], torch.ones(1)),
    "reduce_scatter": lambda: dist.reduce_scatter(torch.ones(1), [torch.ones(1)]),
    "barrier": dist.barrier,
    "all_gather_object": lambda: dist.all_gather_object([None], {"a": 1}),
}


@pytest.mark.parametrize("name", COLLECTIVES)
def test_every_collective_is_stopped_before_it_starts(process_group, name):
    with pytest.raises(CollectiveError, match="would wait for the other ranks for ever"):
        Snapshots(world_size=2).compute(COLLECTIVES[name])


def test_a_collective_fails_its_value_alone_and_names_key_and_cure(process_group, tmp_path, caplog):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")

    def reduced():
        loss = torch.ones(1)
        dist.all_reduce(loss)
        return loss

    with LoggerGroup([memory], RunContext(tmp_path, world_size=2)) as group:
        for phase in ("train", "valid"):
            component.log_scalar("loss", reduced)
            component.log_scalar("other", lambda: torch.ones(2).sum())
            group.write([component], State(phase))

    assert [entry.key for entry in memory.entries] == ["other", "other"]
    assert group.stats()["memory"].failed == {"collective": 2}
    assert "Cannot log 'model/loss'" in caplog.text
    assert "Call it on every rank, and log its result." in caplog.text


def test_a_callable_that_catches_the_refusal_goes_on_without_the_collective(process_group, tmp_path):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")

    def careful():
        try:
            dist.all_reduce(torch.ones(1))
        except ValueError:
            return -1.0
        return 1.0

    with LoggerGroup([memory], RunContext(tmp_path, world_size=2)) as group:
        component.log_scalar("loss", careful)
        group.write([component], State(num_steps=1))

    assert [entry.value for entry in memory.entries] == [-1.0]


def test_collectives_work_again_outside_of_callables(process_group, tmp_path):
    component = MultiLogger("model")
    with LoggerGroup([MemoryLogger(BaseLoggerConfig("memory"))], RunContext(tmp_path, world_size=2)) as group:
        component.log_scalar("loss", lambda: dist.all_reduce(torch.ones(1)))
        group.write([component], State(num_steps=1))

    dist.all_reduce(torch.ones(1))


SCRIPT = """
    import json, sys
    import torch
    import torch.distributed as dist
    from ml.core.run import RunContext
    from ml.core.state import State
    from ml.loggers.base import BaseLoggerConfig
    from ml.loggers.group import LoggerGroup
    from ml.loggers.memory import MemoryLogger
    from ml.loggers.multi import MultiLogger

    rank, store, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    memory, component, computed = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model"), []

    def reduced():
        loss = torch.ones(1)
        dist.all_reduce(loss)
        return loss

    with LoggerGroup([memory], RunContext(directory, rank=rank, world_size=2)) as group:
        for step in (1, 2, 3):
            mean = torch.full((1,), float(rank))
            dist.all_reduce(mean)
            component.log_scalar("collective", reduced)
            component.log_scalar("mean", mean)
            component.log_scalar("own", lambda: computed.append(rank) or 1.0)
            group.write([component], State(num_steps=step))
        component.log_scalar("collective", reduced)
        group.write([component], State("valid", num_steps=3))
    print(json.dumps([[entry.key, entry.value] for entry in memory.entries]), len(computed))
    print({name: stats.failed for name, stats in group.stats().items()}, file=sys.stderr)
    dist.destroy_process_group()
"""


@pytest.mark.timeout(90)
def test_two_ranks_log_and_exit_although_a_callable_wants_both(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store"), str(tmp_path / "run")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        told = [rank.communicate(timeout=60) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()

    assert [rank.returncode for rank in ranks] == [0, 0], told
    values, computed = told[0][0].rsplit(" ", 1)
    assert json.loads(values) == [["mean", 1.0], ["own", 1.0]] * 3
    assert int(computed) == 3
    assert "Cannot log 'model/collective'" in told[0][1]
    assert "{'memory': {'collective': 4}}" in told[0][1]
    assert told[1][0].strip() == "[] 0"
