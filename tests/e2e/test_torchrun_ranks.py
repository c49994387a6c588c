"""Values across four ranks, as processes: equal to what one process computes, whatever becomes of a rank."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "ranks.py"
LIMIT_S = 100.0
RANKS = range(4)


def torchrun(directory, *arguments, restarts=0):
    """Runs the program on four ranks of torchrun, to its end."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    return subprocess.run(
        [*launcher, f"--max-restarts={restarts}", str(PROGRAM), str(directory), *map(str, arguments)],
        capture_output=True,
        env={
            **os.environ,
            **{"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # with the shared one, gloo finds the addresses of dead ranks
        },
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture
def start_ranks():
    """Starts four ranks without a launcher, which would end all of them with the first; kills what is left."""
    started = []

    def start(directory, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in RANKS:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(directory), *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={
                    **os.environ,
                    **{"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": "4"},
                    **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
                },
                text=True,
            )
            started.append(process)
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines_of(run, phase="train"):
    lines = map(json.loads, (run / "json" / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["phase"] == phase]


def values_of(run, key, phase="train", section="scalars"):
    return [(line["step"], line[section][key]) for line in lines_of(run, phase) if key in line.get(section, {})]


def ranks_in(step, value):
    """Which ranks are in a trace; each with its number of exactly this step."""
    found = [rank for rank in RANKS if value // 10 ** (6 * rank) % 10**6]
    assert value == sum(step * 10 ** (6 * rank) for rank in found)
    return found


def assert_equal_to_one_process(run):
    """Every value that was written is that of exactly its step and of the ranks that it says it holds."""
    traces = values_of(run, "task/trace")
    assert [step for step, _ in traces] == sorted({step for step, _ in traces})
    means = dict(values_of(run, "task/mean"))
    for step, value in traces:
        expected = statistics.fmean(step + rank / 7 for rank in ranks_in(step, value))
        assert means[step] == pytest.approx(expected, rel=1e-6)
    return [(step, ranks_in(step, value)) for step, value in traces]


@pytest.mark.timeout(120)
def test_four_ranks_of_torchrun_equal_one_process(tmp_path):
    ran = torchrun(tmp_path / "run", 400, 0)

    assert ran.returncode == 0, ran.stderr
    held = assert_equal_to_one_process(tmp_path / "run")
    assert [ranks for _, ranks in held].count([0, 1, 2, 3]) >= 2
    assert held[-1][0] == 400
    for rank in RANKS:  # keys that differ from rank to rank
        of_rank = values_of(tmp_path / "run", f"task/only/{rank}")
        assert len(of_rank) >= 2
        assert all(value == step for step, value in of_rank)
    numbers = {rank: [float(batch + rank) for batch in range(rank + 1)] for rank in RANKS}
    weighted = sum((rank + 1) * sum(of_rank) for rank, of_rank in numbers.items())
    expected = weighted / sum((rank + 1) * len(of_rank) for rank, of_rank in numbers.items())
    assert values_of(tmp_path / "run", "task/loss", "valid") == [(200, pytest.approx(expected))]


@pytest.mark.timeout(120)
def test_a_killed_and_a_stopped_rank_hold_up_nobody(tmp_path, start_ranks):
    processes = start_ranks(tmp_path / "run", 1500, 0, "2:KILL:300", "3:STOP:300")
    told = [process.communicate(timeout=LIMIT_S) for process in processes[:3]]

    assert [process.returncode for process in processes[:3]] == [0, 0, -signal.SIGKILL], told
    assert processes[3].poll() is None
    held = assert_equal_to_one_process(tmp_path / "run")
    assert held[-1][0] == 1500
    assert [0, 1] in [ranks for step, ranks in held if step > 300]
    assert ["2/4 ranks"] in [texts for _, texts in values_of(tmp_path / "run", "task/trace.ranks", section="strings")]
    assert "did not answer in time" in told[0][1]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_last_rank_may_be_the_primary_one_and_outlive_the_host_of_the_store(tmp_path, start_ranks):
    processes = start_ranks(tmp_path / "run", 1000, -1, "0:KILL:300")
    told = [process.communicate(timeout=LIMIT_S) for process in processes]

    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0, 0, 0], told
    held = assert_equal_to_one_process(tmp_path / "run")
    assert held[-1] == (1000, [3])
    assert told[3][1].count("The store of the process group does not answer") == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_stopped_host_of_the_store_holds_up_neither_training_nor_exit(tmp_path, start_ranks):
    processes = start_ranks(tmp_path / "run", 1000, -1, "0:STOP:300")
    told = [process.communicate(timeout=LIMIT_S) for process in processes[1:]]

    assert [process.returncode for process in processes[1:]] == [0, 0, 0], told
    assert assert_equal_to_one_process(tmp_path / "run")[-1] == (1000, [3])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_elastic_restart_reduces_over_the_ranks_of_its_own_start(tmp_path):
    ran = torchrun(tmp_path / "run", 600, 0, "1:EXIT:300", restarts=1)

    assert ran.returncode == 0, ran.stderr
    (second,) = [[line for line in lines_of(tmp_path / "run") if line["attempt"] == 2]]
    traces = [
        (line["step"], line["scalars"]["task/trace"]) for line in second if "task/trace" in line.get("scalars", {})
    ]
    assert traces[-1][0] == 600
    assert [0, 1, 2, 3] in [ranks_in(*trace) for trace in traces]
