"""What our ``SummaryWriter`` costs the training loop, beside ``torch.utils.tensorboard``'s in the same run.

Every figure is the median of several repeats; the two alternate, so that a busy machine slows both. Times on the
training thread are wall-clock times of the calls; CPU is that of the whole process, from the first call to the
closed file. ``back to back`` adds without a pause, so that the writer's own thread takes its time from the loop's;
``in a loop`` computes for a millisecond in between, as training does.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarking.measuring import turns
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from ml.integrations.summary_writer import SummaryWriter

MakeWriter = Callable[[str], Any]


class Cost(NamedTuple):
    """Seconds for each item: on the training thread, and CPU of the process to the closed file."""

    thread_s: float
    cpu_s: float


def busy(seconds: float) -> None:
    """Computes on the training thread, as a step does: sleeping would leave its caches cold."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def scalars(directory: str, make: MakeWriter, per_step: int, steps: int, pause_s: float) -> Cost:
    """The cost of an ``add_scalar``; a pause is busy, and taken off the CPU."""
    tags = [f"task/key_{index}" for index in range(per_step)]
    spent_s = paused_s = 0.0
    with make(directory) as writer:
        writer.add_scalar("first", 0.5, 0)
        cpu_s = time.process_time()
        for step in range(1, steps + 1):
            start_s = time.perf_counter()
            for tag in tags:
                writer.add_scalar(tag, 0.5, step)
            spent_s += time.perf_counter() - start_s
            if pause_s:
                before_s = time.thread_time()
                busy(pause_s)
                paused_s += time.thread_time() - before_s
    count = per_step * steps
    return Cost(spent_s / count, (time.process_time() - cpu_s - paused_s) / count)


def media(directory: str, make: MakeWriter, method: str, value: torch.Tensor, count: int) -> Cost:
    """The cost of a medium, 25 ms of sleep after each: a step of training on an accelerator."""
    spent_s = []
    with make(directory) as writer:
        add = getattr(writer, method)
        add("task/first", value, 0)
        cpu_s = time.process_time()
        for step in range(1, count + 1):
            start_s = time.perf_counter()
            add("task/value", value, step)
            spent_s.append(time.perf_counter() - start_s)
            time.sleep(0.025)
    return Cost(statistics.median(spent_s), (time.process_time() - cpu_s) / count)


def repeat(repeats: int, measure: Callable[[str, MakeWriter], Cost]) -> tuple[list[Cost], list[Cost]]:
    """Measures ours and torch's in turn, each in a directory of its own."""
    makers: tuple[MakeWriter, MakeWriter] = (SummaryWriter, TorchWriter)
    results: tuple[list[Cost], list[Cost]] = ([], [])
    for which in turns(2, repeats):
        gc.collect()
        with tempfile.TemporaryDirectory() as directory:
            results[which].append(measure(str(Path(directory) / "run"), makers[which]))
    return results


def report(name: str, results: tuple[list[Cost], list[Cost]], unit: str, scale: float) -> None:
    """Prints a line for the training thread and one for the CPU: ours, torch's, and how often ours goes into it."""
    for field, what in (("thread_s", "training thread"), ("cpu_s", "CPU to the closed file")):
        ours, theirs = (statistics.median(getattr(cost, field) for cost in costs) * scale for costs in results)
        print(
            f"{name:44} {what:24} ours {ours:8.2f} {unit}   torch {theirs:8.2f} {unit}   {theirs / ours:5.1f} x",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", default="", help="a part of the name of what to measure")
    arguments = parser.parse_args()

    for per_step in (1, 5, 20):
        for name, pause_s in (("back to back", 0.0), ("in a loop", 0.001)):
            title = f"add_scalar, {per_step} a step, {name}"
            if arguments.only in title:
                steps = max(200, arguments.steps // per_step)
                measure = partial(scalars, per_step=per_step, steps=steps, pause_s=pause_s)
                report(title, repeat(arguments.repeats, measure), "us", 1e6)
    for title, method, value, count in (
        ("add_histogram, 10^6 floats", "add_histogram", torch.randn(1_000_000), 20),
        ("add_image, 3 x 256 x 256 floats", "add_image", torch.rand(3, 256, 256), 40),
    ):
        if arguments.only in title:
            measure = partial(media, method=method, value=value, count=count)
            report(title, repeat(arguments.repeats, measure), "ms", 1e3)


if __name__ == "__main__":
    main()
