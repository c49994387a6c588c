"""What it costs a training to keep what its model predicts for 500 images after every epoch, and what that stores.

Three models, small ones and one of a usual size, are trained and evaluated inline, with their tables in a directory on
this disk. Each training is a process of its own with one thread for torch, and the trainings take turns. An evaluation
is what the model predicts, with what is computed from it (suppression of overlapping boxes, matching with the truth,
conversion to plain values), and logging: all the rest of its wall time. The first evaluation publishes the ground truth
too, and so encodes the images; those after it refer to them. CPU time is that of the thread that trains and of all
others; on a machine that is busy it says more than the clock does.
"""

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from benchmarking.alone import run_alone
from benchmarking.evaluation_work import SAMPLES, Spent, train
from benchmarking.measuring import turns

GOAL_PERCENT = 5
"""Logging's part of an evaluation is under this."""


class Plan(NamedTuple):
    """A training.

    Attributes:
        title: What is trained.
        epochs: Each with an evaluation.
    """

    title: str
    epochs: int


PLANS = {
    "classifier": Plan("classifier: CNN of 3 blocks, digits at 64 x 64, 1,297 for training", 20),
    "detector": Plan("detector: CNN of 5 blocks, NMS and matching, scenes of 64 x 64, 1,000 for training", 20),
    "resnet18": Plan("classifier: ResNet-18, parts of photographs at 128 x 128, 500 for training", 3),
}
LOGGING = {
    "truth": "  images and rows of the ground truth, ms",
    "publish truth": "  publish the ground truth, ms",
    "rows": "  rows of predictions, ms",
    "publish": "  publish predictions, ms",
}
"""What logging consists of, by the names that ``evaluation_work`` has for it."""


class Epoch:
    """What an epoch took.

    Args:
        parts: Of the epoch, as ``evaluation_work.train`` returns them.
    """

    def __init__(self, parts: dict[str, Sequence[float]]) -> None:
        self._parts = {name: Spent(*spent) for name, spent in parts.items() if name != "store"}
        self.training, self.evaluation, self.predicting = (self._parts[p] for p in ("train", "evaluate", "predict"))
        self.logging = self.evaluation - self.predicting
        self.media_files, self.media_bytes, self.other_bytes = map(int, parts["store"])

    def part_ms(self, name: str) -> float:
        return 1e3 * self._parts.get(name, Spent()).wall_s

    @property
    def rest_ms(self) -> float:
        """What neither predicts nor has a name: to leave training alone, and to begin and end."""
        return 1e3 * self.logging.wall_s - sum(map(self.part_ms, LOGGING))

    @property
    def share_percent(self) -> float:
        """The evaluation's part of the epoch."""
        return 100 * self.evaluation.wall_s / (self.training.wall_s + self.evaluation.wall_s)

    @property
    def logging_percent(self) -> float:
        return 100 * self.logging.wall_s / self.evaluation.wall_s

    @property
    def logging_cpu_percent(self) -> float:
        return 100 * cpu_s(self.logging) / cpu_s(self.evaluation)


def cpu_s(spent: Spent) -> float:
    """Returns the CPU seconds of all threads."""
    return spent.own_cpu_s + spent.other_cpu_s


FIGURES: dict[str, Callable[[Epoch], float]] = {
    "training, s an epoch": lambda epoch: epoch.training.wall_s,
    "evaluation, s": lambda epoch: epoch.evaluation.wall_s,
    "evaluation, % of the epoch": lambda epoch: epoch.share_percent,
    "predicting, s": lambda epoch: epoch.predicting.wall_s,
    "predicting, s of CPU": lambda epoch: cpu_s(epoch.predicting),
    "logging, ms": lambda epoch: 1e3 * epoch.logging.wall_s,
    **{name: lambda epoch, part=part: epoch.part_ms(part) for part, name in LOGGING.items()},  # type: ignore[misc]
    "  the rest, ms": lambda epoch: epoch.rest_ms,
    "  ms of CPU on the thread that trains": lambda epoch: 1e3 * epoch.logging.own_cpu_s,
    "  ms of CPU on other threads": lambda epoch: 1e3 * max(0.0, epoch.logging.other_cpu_s),
    "LOGGING, % of the evaluation": lambda epoch: epoch.logging_percent,
    "LOGGING, % of the evaluation's CPU": lambda epoch: epoch.logging_cpu_percent,
}


def print_training(plan: Plan, runs: Sequence[Sequence[Epoch]]) -> None:
    """Prints what was measured of one model: first evaluations and later ones, each of all runs."""
    first, later = [run[0] for run in runs], [epoch for run in runs for epoch in run[1:]]
    print(f"\n{plan.title}\n{'':<40}{f'first evaluation ({len(first)})':>30}{f'later ones ({len(later)})':>30}")
    for name, figure in FIGURES.items():
        print(f"{name:<40}{spread(map(figure, first)):>30}{spread(map(figure, later)):>30}")
    logging_s = statistics.median(epoch.logging.wall_s for epoch in later)
    reached = statistics.median(epoch.logging_percent for epoch in later) < GOAL_PERCENT
    print(
        f"goal: later ones under {GOAL_PERCENT} %, {'reached' if reached else 'NOT reached'}; "
        f"{1e3 * logging_s:.0f} ms are {GOAL_PERCENT} % where predicting takes "
        f"{logging_s * (100 / GOAL_PERCENT - 1):.2f} s"
    )
    for number in (1, len(runs[0])):
        epoch = runs[0][number - 1]
        print(
            f"after {number:>2} evaluation{'s' if number > 1 else ' '}: {epoch.media_files} media files of "
            f"{epoch.media_bytes:,} bytes; rows, manifests and all else {epoch.other_bytes:,} bytes",
            flush=True,
        )


def spread(values: "Sequence[float] | map[float]") -> str:
    """Returns the median, the least and the most."""
    ordered = sorted(values)
    return f"{digits(statistics.median(ordered))} ({digits(ordered[0])} to {digits(ordered[-1])})"


def digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each model (3)")
    parser.add_argument("--only", choices=PLANS, help="one model")
    arguments = parser.parse_args()
    names = [name for name in PLANS if arguments.only in (None, name)]
    print(
        f"{SAMPLES} images an evaluation, each training {arguments.repeats} times: median (least to most). "
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}",
        flush=True,
    )
    runs: dict[str, list[list[Epoch]]] = {name: [] for name in names}
    for which in turns(len(names), arguments.repeats):
        name = names[which]
        found = run_alone(train, {"subject": name, "epochs": PLANS[name].epochs}, timeout_s=3600)
        assert isinstance(found, list)
        runs[name].append([Epoch(parts) for parts in found])
    for name in names:
        print_training(PLANS[name], runs[name])


if __name__ == "__main__":
    main()
