"""Ranks that share a directory, wait for one another, or do not: rows 24, 59, 60 and 61."""

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.faults.reading_back import run_together

ROOT = Path(__file__).parents[2]

# "Our code" is all but these, which train and therefore talk to other ranks.
TRAINS = {"trainers", "tasks", "models"}
ALLOWED = {
    "is_available",
    "is_initialized",
    "get_rank",
    "get_world_size",
    "distributed_c10d._get_default_store",
}
COLLECTIVES = {
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast_object_list",
    "full_tensor",
    "gather_object",
    "monitored_barrier",
    "redistribute",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter_object_list",
}


def collectives_in(source):
    """Returns where a module may call a collective: what it uses of ``torch.distributed`` beyond what is allowed."""
    tree = ast.parse(source)
    names, found = {"dist"}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for alias in node.names:
                if f"{module}.{alias.name}".strip(".").startswith("torch.distributed"):
                    found.append(f"{node.lineno}: imports torch.distributed")
        if isinstance(node, ast.Assign) and "'torch.distributed'" in ast.unparse(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        first, _, rest = called.partition(".")
        is_distributed = first in names or called.startswith("torch.distributed.")
        if called.rpartition(".")[2] in COLLECTIVES or (is_distributed and rest not in ALLOWED):
            found.append(f"{node.lineno}: calls {called}")
    return found


def test_61_our_code_calls_no_collective_and_no_barrier():
    modules = [path for path in (ROOT / "ml").rglob("*.py") if path.relative_to(ROOT).parts[1] not in TRAINS]

    found = {path.name: collectives_in(path.read_text("utf-8")) for path in modules}

    assert len(modules) > 50
    assert not any(found.values()), {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize(
    "source",
    [
        "import torch.distributed as dist",
        "from torch.distributed import all_reduce",
        "from torch import distributed",
        "import sys\nfound = sys.modules.get('torch.distributed')\nfound.broadcast(value, 0)",
        "import torch\ntorch.distributed.send(value, 1)",
        "group.barrier()",
        "value = shard.full_tensor()",
    ],
)
def test_61_a_collective_is_found(source):
    assert collectives_in(source)


STARTER = """
    import sys
    from ml import start_run
    sys.stdin.readline()
    with start_run(sys.argv[1], loggers=["json", "tensorboard"]) as run:
        for step in range(20):
            run.log({"task/loss": float(step)})
            run.step()
    print(run.path, run.context.attempt)
"""


def test_24_eight_processes_that_start_in_one_directory_keep_apart(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(STARTER), str(tmp_path / "run")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    try:
        for process in started:  # all have their interpreter: now they race
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=100) for process in started]
    finally:
        for process in started:
            process.kill()

    assert [process.returncode for process in started] == [0] * 8, told
    places = {out.strip() for out, _ in told}
    assert len(places) == 8
    for place in places:
        run = Path(place.split()[0])
        lines = [json.loads(line) for line in (run / "json" / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, 21))
        assert len(list((run / "tensorboard" / "train").iterdir())) == 1


RANKS = """
    import json, sys
    import torch
    import torch.distributed as dist
    from ml.core.run import RunContext
    from ml.core.state import State
    from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
    from ml.loggers.memory import MemoryLogger

    rank, store, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    context = RunContext(directory, rank=rank, world_size=2)
    component = MultiLogger("model")
"""

WANTS_BOTH = """
    def reduced():
        loss = torch.ones(1)
        dist.all_reduce(loss)
        return loss

    memory, shared = MemoryLogger(BaseLoggerConfig("memory")), dist.distributed_c10d._get_default_store()
    with LoggerGroup([memory], context, store=shared) as group:
        for step in (1, 2, 3):
            component.log_scalar("alone", reduced)
            component.log_scalar("everywhere", reduced, across_ranks="mean")
            component.log_scalar("mean", float(rank), across_ranks="mean")
            group.write([component], State(num_steps=step))
            dist.barrier()
    print(json.dumps([[entry.key, entry.step, entry.value] for entry in memory.entries]))
    print({name: stats.failed for name, stats in group.stats().items()}, file=sys.stderr)
    dist.destroy_process_group()
"""


@pytest.fixture
def run_two_ranks(tmp_path):
    def run(script):
        command = [sys.executable, "-c", textwrap.dedent(RANKS) + textwrap.dedent(script)]
        told = run_together(*([*command, str(rank), str(tmp_path / "store"), str(tmp_path / "run")] for rank in (0, 1)))
        return [json.loads(out) for out, _ in told], [errors for _, errors in told]

    return run


@pytest.mark.timeout(90)
def test_60_a_collective_in_a_callable_is_stopped_on_every_rank_also_in_one_that_all_compute(run_two_ranks):
    (values, others), errors = run_two_ranks(WANTS_BOTH)

    # On a busy machine a rank may be late for a value, which then says so.
    assert {key for key, _, _ in values} - {"mean.ranks"} == {"mean"}
    assert {value for key, _, value in values if key == "mean"} <= {0.0, 0.5}
    assert others == []
    assert "Cannot log 'model/alone'" in errors[0]
    assert "Cannot log 'model/alone'" not in errors[1]
    assert "{'memory': {'collective': 6}}" in errors[0]
    for told in errors:
        assert "Cannot log 'model/everywhere'" in told
        assert "Call it on every rank, and log its result." in told
