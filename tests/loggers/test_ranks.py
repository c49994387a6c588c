"""Only the primary rank writes what all share, and computes it; a callable that needs the others is stopped."""

import json

import pytest
import torch
import torch.distributed as dist

from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.collectives import CollectiveError
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.snapshot import Snapshots
from ml.reading import open_run


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


@pytest.mark.parametrize("make", [LoggerGroup, lambda loggers, context: initialized(loggers, context)])
def test_a_backend_of_all_ranks_is_on_every_rank_and_the_others_compute_only_for_it(tmp_path, make):
    of_all, of_one = (MemoryLogger(BaseLoggerConfig("memory", id=id, all_ranks=id == "all")) for id in ("all", "one"))
    component = MultiLogger("model")
    group = make([of_all, of_one], RunContext(tmp_path, rank=1, world_size=2))
    component.log_scalar("loss", lambda: 1.0)
    group.write([component], State(num_steps=1))
    group.close()

    assert [entry.value for entry in of_all.entries] == [1.0]
    assert of_one.entries == []
    assert list(group.stats()) == ["all"]


def initialized(loggers, context):
    for logger in loggers:
        logger.initialize(context)
    return LoggerGroup.in_place(loggers)


def test_ranks_that_all_write_keep_their_files_apart(tmp_path, capsys):
    for rank in (0, 1):
        context = RunContext(tmp_path, rank=rank, world_size=2)
        loggers = [LOGGERS.build({"name": name, "all_ranks": True}) for name in ("json", "tensorboard", "stdout")]
        component = MultiLogger("model")
        with LoggerGroup(loggers, context) as group:
            component.log_scalar("rank", float(rank))
            component.log_scalar("bad", lambda: 1 / 0)
            group.write([component], State(num_steps=1))

    for rank, (log, events, text, errors) in enumerate(
        [
            ("json/log.jsonl", "tensorboard/train", "stdout.log", "errors.jsonl"),
            ("json/rank-1/log.jsonl", "tensorboard/rank-1/train", "stdout-rank-1.log", "errors-rank-1.jsonl"),
        ]
    ):
        (line,) = (tmp_path / log).read_text().splitlines()
        assert json.loads(line)["scalars"] == {"model/rank": float(rank)}
        assert len(list((tmp_path / events).iterdir())) == 1
        assert f"rank {rank}" in (tmp_path / text).read_text()
        assert len((tmp_path / errors).read_text().splitlines()) == 1
    assert capsys.readouterr().out.count("rank 0") == 1
    assert open_run(tmp_path).scalars()["value"].tolist() == [0.0]


@pytest.mark.parametrize("primary_rank", [2, -1])
def test_the_primary_rank_may_be_any(tmp_path, primary_rank):
    for rank in range(3):
        memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
        context = RunContext(tmp_path, rank=rank, world_size=3, primary_rank=primary_rank)
        with LoggerGroup([memory], context) as group:
            component.log_scalar("loss", 1.0)
            group.write([component], State(num_steps=1))

        assert context.is_primary == (rank == 2)
        assert len(memory.entries) == (rank == 2)


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
