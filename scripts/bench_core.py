"""What logging costs the training loop, beside ``torch.utils.tensorboard.SummaryWriter`` in the same run.

Every figure is the median of several repeats; ours and the peer's alternate, so that
a busy machine slows both. Times on the training thread are wall-clock times of the
calls; CPU is that of the whole process, from the first call to the closed file.
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from benchmarking.measuring import turns
from torch.utils.tensorboard import SummaryWriter

from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger

PAUSE_S = 0.025
"""Between two media: a step of training, in which a backend can do its work."""


class Cost(NamedTuple):
    """Seconds for each item: on the training thread, and CPU of the process to the closed file."""

    thread_s: float
    cpu_s: float


def open_group(directory: str, names: list[str], **settings: object) -> LoggerGroup:
    loggers = [LOGGERS.build({"name": name, **settings}) for name in names]
    return LoggerGroup(loggers, RunContext(directory), close_timeout_s=60)


def nothing_due(directory: str, steps: int = 2000) -> float:
    """Seconds for each ``log_scalar``, ``group.write`` included, when every backend has all keys of its window."""
    components = [MultiLogger(name) for name in ("trainer", "task", "model")]
    keys = [f"key_{index}" for index in range(10)]
    with open_group(directory, ["json", "tensorboard", "memory"], write_every_n_seconds=3600) as group:

        def run(first: int, count: int) -> float:
            start_s = time.perf_counter()
            for step in range(first, first + count):
                for component in components:
                    for key in keys:
                        component.log_scalar(key, lambda: 1.0)
                group.write(components, State(num_steps=step, time_s=1.0))
            return time.perf_counter() - start_s

        run(1, 100)
        return run(101, steps) / (steps * len(components) * len(keys))


def scalars_ours(directory: str, steps: int = 3000) -> Cost:
    component = MultiLogger("task")
    keys = [f"key_{index}" for index in range(10)]
    cpu_s = time.process_time()
    spent_s = 0.0
    with open_group(directory, ["tensorboard"], write_every_n_seconds=0) as group:
        for step in range(1, steps + 1):
            start_s = time.perf_counter()
            for key in keys:
                component.log_scalar(key, 0.5)
            group.write([component], State(num_steps=step))
            spent_s += time.perf_counter() - start_s
    return Cost(spent_s / (steps * 10), (time.process_time() - cpu_s) / (steps * 10))


def scalars_peer(directory: str, steps: int = 3000) -> Cost:
    keys = [f"task/key_{index}" for index in range(10)]
    cpu_s = time.process_time()
    spent_s = 0.0
    with SummaryWriter(directory) as writer:
        for step in range(1, steps + 1):
            start_s = time.perf_counter()
            for key in keys:
                writer.add_scalar(key, 0.5, step)
            spent_s += time.perf_counter() - start_s
    return Cost(spent_s / (steps * 10), (time.process_time() - cpu_s) / (steps * 10))


def busy(seconds: float) -> None:
    """Computes on the training thread, as a step does: sleeping would leave its caches cold."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def media_ours(directory: str, kind: str, value: torch.Tensor, count: int, pause: Callable[[float], None]) -> Cost:
    component = MultiLogger("task")
    log = getattr(component, f"log_{kind}")
    cpu_s = time.process_time()
    spent_s = []
    settings = {"write_every_n_seconds": 0.0, "write_media_every_n_seconds": 0.0, "max_queue_bytes": 2**30}
    with open_group(directory, ["tensorboard"], **settings) as group:
        for step in range(1, count + 1):
            start_s = time.perf_counter()
            log("value", value)
            group.write([component], State(num_steps=step))
            spent_s.append(time.perf_counter() - start_s)
            pause(PAUSE_S)
    return Cost(statistics.median(spent_s), (time.process_time() - cpu_s) / count)


def media_peer(directory: str, kind: str, value: torch.Tensor, count: int, pause: Callable[[float], None]) -> Cost:
    cpu_s = time.process_time()
    spent_s = []
    with SummaryWriter(directory) as writer:
        add = getattr(writer, f"add_{kind}")
        for step in range(1, count + 1):
            start_s = time.perf_counter()
            add("task/value", value, step)
            spent_s.append(time.perf_counter() - start_s)
            pause(PAUSE_S)
    return Cost(statistics.median(spent_s), (time.process_time() - cpu_s) / count)


class Steps(NamedTuple):
    """A training loop's steps: seconds each, in order."""

    seconds: list[float]

    @property
    def total_s(self) -> float:
        return sum(self.seconds)

    @property
    def longest_s(self) -> float:
        return max(self.seconds)


def python_work(rounds: int) -> None:
    for _ in range(rounds):
        pass


def rounds_of(seconds: float) -> int:
    """How much of ``python_work`` takes so long on a quiet machine."""
    best_s = min(timeit.repeat(partial(python_work, 10_000), number=1, repeat=50))
    return int(10_000 * seconds / best_s)


ROUNDS = rounds_of(0.005)


def training_loop(steps: int, end_step: Callable[[int], None]) -> Steps:
    """5 ms of Python and 200 small torch operations a step, then ``end_step``."""
    vector = torch.ones(64)
    seconds = []
    for step in range(1, steps + 1):
        start_s = time.perf_counter()
        python_work(ROUNDS)
        for _ in range(200):
            vector = vector * 1.0
        end_step(step)
        seconds.append(time.perf_counter() - start_s)
    return Steps(seconds)


def loop_bare(directory: str, steps: int) -> Steps:
    return training_loop(steps, lambda step: None)


def loop_ours(directory: str, steps: int, first: int) -> Steps:
    """The three default backends at their default rates; ``first`` is the training step that the loop begins at."""
    component = MultiLogger("task")
    keys = [f"key_{index}" for index in range(50)]
    image = torch.rand(3, 256, 256)
    started_s = time.perf_counter()
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
        open_group(directory, ["stdout", "json", "tensorboard"], write_media_every_n_seconds=1) as group,
    ):

        def end_step(step: int) -> None:
            for key in keys:
                component.log_scalar(key, lambda: 0.5)
            component.log_image("image", lambda: image)
            group.write([component], State(num_steps=first + step, elapsed_time_s=time.perf_counter() - started_s))

        return training_loop(steps, end_step)


def loop_peer(directory: str, steps: int, every_s: float) -> Steps:
    """Scalars every ``every_s`` seconds, an image every second."""
    keys = [f"task/key_{index}" for index in range(50)]
    image = torch.rand(3, 256, 256)
    last_s = last_image_s = time.perf_counter()
    with SummaryWriter(directory) as writer:

        def end_step(step: int) -> None:
            nonlocal last_s, last_image_s
            now_s = time.perf_counter()
            if now_s - last_s >= every_s:
                last_s = now_s
                for key in keys:
                    writer.add_scalar(key, 0.5, step)
            if now_s - last_image_s >= 1:
                last_image_s = now_s
                writer.add_image("task/image", image, step)

        return training_loop(steps, end_step)


def repeat(repeats: int, *functions: Callable[[str], object]) -> list[list[object]]:
    """Calls the functions in turn, ``repeats`` times, each in a directory of its own; each is first in its turn."""
    results: list[list[object]] = [[] for _ in functions]
    for which in turns(len(functions), repeats):
        gc.collect()
        with tempfile.TemporaryDirectory() as directory:
            results[which].append(functions[which](str(Path(directory) / "run")))
    return results


def median(costs: list[object], field: str) -> float:
    return statistics.median(getattr(cost, field) for cost in costs)


def report(name: str, ours: float, peer: float | None, unit: str, goal: str) -> None:
    beside = "" if peer is None else f"  SummaryWriter {peer:9.3f}"
    if peer is not None and unit in ("ns", "us", "ms"):
        beside += f"  ratio {ours / peer:6.3f}"
    print(f"{name:58} {ours:9.3f} {unit:10}{beside}  {goal}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--loop-steps", type=int, default=1000)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    repeats = arguments.repeats

    def wanted(name: str) -> bool:
        return arguments.only in name

    if wanted("scalar"):
        (idle,) = repeat(repeats, nothing_due)
        ours, peer = repeat(repeats, scalars_ours, scalars_peer)
        peer_ns = median(peer, "thread_s") * 1e9
        report(
            "log_scalar, nothing due, 3 x 10 keys, 3 backends",
            statistics.median(idle) * 1e9,
            peer_ns,
            "ns",
            "goal <= 800",
        )
        report(
            "scalar written every step, training thread",
            median(ours, "thread_s") * 1e6,
            peer_ns / 1e3,
            "us",
            "goal <= 3",
        )
        report(
            "scalar written every step, CPU to closed file",
            median(ours, "cpu_s") * 1e6,
            median(peer, "cpu_s") * 1e6,
            "us",
            "goal <= 5",
        )
    for kind, value, count, goal in (
        ("image", torch.rand(3, 256, 256), 40, "goal <= 0.2"),
        ("histogram", torch.randn(1_000_000), 20, "goal <= 1"),
    ):
        if wanted(kind):
            for field, pause, unit_goal in (("thread_s", busy, goal), ("cpu_s", time.sleep, "below the peer")):
                ours, peer = repeat(
                    repeats,
                    partial(media_ours, kind=kind, value=value, count=count, pause=pause),
                    partial(media_peer, kind=kind, value=value, count=count, pause=pause),
                )
                what = "training thread" if field == "thread_s" else "CPU to closed file"
                report(f"{kind}, {what}", median(ours, field) * 1e3, median(peer, field) * 1e3, "ms", unit_goal)
    for name, first, every_s, goal in (
        ("loop at the default rates", 1000, 1.0, ("goal <= 2", "goal <= 10")),
        ("loop, every step written (the first 1,000)", 0, 0.0, ("", "")),
    ):
        if wanted("loop"):
            bare, ours, peer = repeat(
                repeats,
                partial(loop_bare, steps=arguments.loop_steps),
                partial(loop_ours, steps=arguments.loop_steps, first=first),
                partial(loop_peer, steps=arguments.loop_steps, every_s=every_s),
            )
            report(f"{name}: slower by", slower(ours, bare), slower(peer, bare), "%", goal[0])
            report(f"{name}: longest step", longer(ours, bare), longer(peer, bare), "ms more", goal[1])


def slower(steps: list[Steps], bare: list[Steps]) -> float:
    """Percent, the median of the pairs that ran one after the other."""
    return statistics.median(100 * (a.total_s / b.total_s - 1) for a, b in zip(steps, bare, strict=True))


def longer(steps: list[Steps], bare: list[Steps]) -> float:
    """Milliseconds, the median of the pairs."""
    return statistics.median(1e3 * (a.longest_s - b.longest_s) for a, b in zip(steps, bare, strict=True))


if __name__ == "__main__":
    main()
