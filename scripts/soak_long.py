"""A long run that writes every step: does memory, the number of descriptors or threads, or a file grow without bound?

It trains a small model with every backend that a laptop has, validates now and then, and prints a line a minute.
The laws are those of the last line: from minute 5 to the end, resident memory grows by at most 4 MiB, allocated
blocks by at most 0.1 %, descriptors and threads not at all; and every value that was accepted is written.
"""

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from ml import Run, start_run
from ml.core.registry import LOGGERS

BACKENDS = ("json", "tensorboard", "journal", "stdout")
SETTLED_MINUTE = 5
STEP_S = 0.01
"""A step takes this long: 100 a second, so that files stay small enough to keep."""

VALIDATE_EVERY, PASS_STEPS, EPOCH_STEPS = 500, 10, 1000
MAX_GROWTH_BYTES, MAX_BLOCKS = 4 * 2**20, 0.001


class Sample(NamedTuple):
    """What the process has at one moment, with nothing under way."""

    minute: float
    steps: int
    resident_bytes: int
    blocks: int
    descriptors: int
    threads: int
    file_bytes: int


def sample(run: Run, start_s: float) -> Sample:
    """Flushes the run, collects garbage, and looks."""
    assert run.flush(60.0), "flush failed"
    gc.collect()
    process = psutil.Process()
    return Sample(
        minute=(time.monotonic() - start_s) / 60,
        steps=run.state.num_steps,
        resident_bytes=process.memory_info().rss,
        blocks=sys.getallocatedblocks(),
        descriptors=process.num_fds(),
        threads=threading.active_count(),
        file_bytes=sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()),
    )


class Loop:
    """A training loop, one step at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.trainer, self.model = run.component("trainer"), run.component("model")
        self.network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01)

    def step(self) -> None:
        inputs, targets = torch.randn(32, 64), torch.randint(10, (32,))
        output = self.network(inputs)
        loss = torch.nn.functional.cross_entropy(output, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        number = self.run.state.num_steps + 1
        self.run.log({"loss": loss, "accuracy": lambda: (output.argmax(1) == targets).float().mean()})
        self.trainer.log_scalar("rate", 0.01 / number)
        for index in range(6):
            self.model.log_scalar(f"norm/{index}", lambda: self.network[0].weight.norm())
        self.model.log_scalar("loss/mean", loss.detach(), reduce="mean")
        self.model.log_histogram("weights", lambda: self.network[0].weight)
        self.model.log_image("inputs", lambda: inputs[0].view(1, 8, 8))
        if number % 100 == 0:
            self.trainer.log_string("note", f"step {number}")
        self.run.step(samples=32)
        if number % VALIDATE_EVERY == 0:
            self._validate()
        if number % EPOCH_STEPS == 0:
            self.run.end_epoch()

    def _validate(self) -> None:
        with self.run.phase("valid"), torch.no_grad():
            for _ in range(PASS_STEPS):
                output = self.network(torch.randn(32, 64))
                self.run.log({"loss": output.square().mean()}, weight=32)
                self.run.step()


def soak(directory: Path, minutes: float) -> list[Sample]:
    """Trains for so long; returns a sample of every minute."""
    names = [name for name in BACKENDS if name in LOGGERS.names()]
    loggers = [{"name": name, "write_every_n_seconds": 0.0} for name in names]
    samples: list[Sample] = []
    with start_run(directory / "run", config={"minutes": minutes}, loggers=loggers) as run:
        loop, start_s = Loop(run), time.monotonic()
        say(f"{', '.join(names)}: {minutes:g} minutes at {1 / STEP_S:g} steps a second, in {run.path}")
        say("minute    steps  resident(MiB)     blocks  descriptors  threads  files(MiB)")
        while not samples or samples[-1].minute < minutes:
            until_s = start_s + 60 * min(minutes, len(samples) + 1)
            while (now_s := time.monotonic()) < until_s:
                loop.step()
                time.sleep(max(0.0, STEP_S - (time.monotonic() - now_s)))
            samples.append(sample(run, start_s))
            say(row(samples[-1]))
    for name, stats in run.stats().items():
        assert stats.accepted == stats.written, f"{name}: {stats}"
    return samples


def row(one: Sample) -> str:
    return (
        f"{one.minute:6.1f} {one.steps:8d} {one.resident_bytes / 2**20:14.2f} {one.blocks:10d} {one.descriptors:12d}"
        f" {one.threads:8d} {one.file_bytes / 2**20:11.1f}"
    )


def verdict(samples: list[Sample], settled_minute: float) -> tuple[bool, str]:
    """Compares the last sample with that of the minute from which on nothing may grow."""
    settled = next((one for one in samples if one.minute >= settled_minute), samples[0])
    last = samples[-1]
    growth_bytes = last.resident_bytes - settled.resident_bytes
    blocks = last.blocks / settled.blocks - 1
    constant = (last.descriptors, last.threads) == (settled.descriptors, settled.threads)
    good = growth_bytes <= MAX_GROWTH_BYTES and blocks <= MAX_BLOCKS and constant
    text = (
        f"From minute {settled.minute:.1f} to {last.minute:.1f}: resident memory {growth_bytes / 2**20:+.2f} MiB"
        f" (at most +4), blocks {100 * blocks:+.3f} % (at most +0.1),"
        f" descriptors {last.descriptors - settled.descriptors:+d}, threads {last.threads - settled.threads:+d}:"
        f" {'good' if good else 'NOT GOOD'}."
    )
    return good, text


def say(text: str) -> None:
    """Prints where the run does not: its terminal backend has standard output."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("minutes", nargs="?", type=float, default=30.0, help="how long it trains (30)")
    parser.add_argument("--settled", type=float, default=SETTLED_MINUTE, help="the minute the end is compared with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ml-soak-") as directory, open(os.devnull, "w") as nowhere:
        sys.stdout = nowhere
        samples = soak(Path(directory), arguments.minutes)
    good, text = verdict(samples, arguments.settled)
    say(text)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
