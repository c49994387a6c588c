"""What values across ranks cost: a training loop of two ranks, and the messages of up to 1,024 of them.

``scripts/bench ranks [--pairs 7] [--steps 200] [--keys 10] [--only loop|merge]``

The loop is synchronous, as DDP is: every step ends with an all_reduce over gloo. Each pair runs it without logging and
with, ``--keys`` values across ranks a step and the JSON backend at every step, in the same two processes. The
simulation sends the messages of so many ranks through one real ``TCPStore``, read and merged as the primary rank does.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from ml import start_run
from ml.core.state import State
from ml.io.ranks import Ranks
from ml.io.worker import Event
from ml.loggers.shares import Share, encode, merge

ROOT = Path(__file__).parents[1]
WIDTH, LAYERS = 256, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--only", choices=("loop", "merge"), default=None)
    arguments = parser.parse_args()
    if "RANK" in os.environ:
        run_rank(arguments.pairs, arguments.steps, arguments.keys)
        return
    if arguments.only != "merge":
        start_two_ranks()
    if arguments.only != "loop":
        for num_ranks in (64, 256, 1024):
            for num_keys in (40, 200):
                simulate(num_ranks, num_keys)


def start_two_ranks() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, **shared, "RANK": str(rank)}, cwd=ROOT)
        for rank in (0, 1)
    ]
    statuses = [rank.wait() for rank in ranks]
    if any(statuses):
        sys.exit("A rank failed.")


def run_rank(pairs: int, steps: int, keys: int) -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    rates: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    train(steps, nothing)
    with tempfile.TemporaryDirectory() as directory:
        for pair in range(pairs):
            # Alternating also within the pairs: what comes second is no slower for it.
            for name in ("without", "with") if pair % 2 else ("with", "without"):
                rates[name].append(
                    logged(Path(directory, str(pair)), steps, keys) if name == "with" else train(steps, nothing)
                )
    if dist.get_rank() == 0:
        ratios = [a / b for (a, _), (b, _) in zip(rates["with"], rates["without"], strict=True)]
        for name, of_name in rates.items():
            rate, cpu_s = map(statistics.median, zip(*of_name, strict=True))
            print(
                f"2 ranks, {name:8} logging: {rate:8.1f} steps/s, {1e3 * cpu_s:6.2f} ms of CPU each (median of {pairs})"
            )
        print(
            f"2 ranks, ratio of the pairs: median {statistics.median(ratios):.3f}, {min(ratios):.3f} ..."
            f" {max(ratios):.3f} (goal >= 0.95)",
            flush=True,
        )
    dist.destroy_process_group()


def nothing(step: int) -> None:
    """Logs nothing."""


def train(steps: int, log: Callable[[int], None]) -> tuple[float, float]:
    """Returns steps per second, and CPU seconds of this process for each."""
    weights, gradient = torch.randn(WIDTH, WIDTH), torch.zeros(1000)
    dist.barrier()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for step in range(steps):
        for _ in range(LAYERS):
            weights = torch.tanh(weights @ weights / WIDTH)
        dist.all_reduce(gradient)
        log(step)
    return steps / (time.perf_counter() - began_s), (time.process_time() - began_cpu_s) / steps


def logged(directory: Path, steps: int, keys: int) -> tuple[float, float]:
    """Returns the same, with logging."""
    loss = torch.ones(())
    with start_run(directory, loggers=[{"name": "json", "write_every_n_seconds": 0}]) as run:

        def log(step: int) -> None:
            run.log({f"task/{key}": lambda: loss for key in range(keys)}, across_ranks="mean")
            run.step()

        return train(steps, log)


def simulate(num_ranks: int, num_keys: int) -> None:
    """Prints how long the messages of so many ranks take, from the first to be sent to the last to be merged."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    settled, messages = Event(), {}

    def take(name: str, of_ranks: dict[int, str]) -> None:
        messages.update(of_ranks)
        settled.set()

    primary = Ranks(server, rank=0, primary_rank=0, world_size=num_ranks, settled=take, failed=print)
    shares = [Share("task", f"layer/{key}/norm", "mean", 32.0, 0.1 * key) for key in range(num_keys)]
    text = encode({State(num_steps=1000, time_s=1.7e9, elapsed_time_s=1e3): shares})
    client = server.clone()
    prefix = f"ml/ranks/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/1/train/1"
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for rank in range(1, num_ranks):
        client.append(f"{prefix}/{rank // 32}", f"{rank} {text}\n")
        client.add(f"{prefix}/count", 1)
    sent_s, sent_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    began_s = time.perf_counter()
    primary.send("train/1", lambda: text, wait_s=60.0)
    settled.wait(60.0)
    read_s = time.perf_counter() - began_s
    began_cpu_s = time.thread_time()  # others on the machine would show in the clock on the wall
    merged = merge(messages, 0, lambda: None)
    merge_s = time.thread_time() - began_cpu_s
    primary.stop(0.0)
    assert [value.num_ranks for value in merged] == [num_ranks] * num_keys
    print(
        f"{num_ranks:5} ranks, {num_keys:3} keys ({len(text) / 1e3:4.1f} kB each): sent in {1e3 * sent_s:6.1f} ms"
        f" (CPU of both ends {1e3 * sent_cpu_s:6.1f}), read in {1e3 * read_s:6.1f} ms,"
        f" merged in {1e3 * merge_s:6.1f} ms of CPU",
        flush=True,
    )


if __name__ == "__main__":
    main()
