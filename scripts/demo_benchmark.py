"""What learning to read digits costs: a small network, and gradient boosting on the same images.

Each stage (load, train, evaluate) is measured; losses, the time to 95 % accuracy, a small sweep and both confusion
matrices are tracked. It all goes into one run of a benchmark database, from which the page is made.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from torch.nn import functional

from ml.benchmarks import (
    Benchmark,
    BenchmarkSupervisor,
    ConfusionMatrixTracker,
    CPUMetric,
    EnergyMetric,
    HyperparameterTracker,
    LatencyMetric,
    LossTracker,
    MemoryMetric,
    PowerMetric,
    ThroughputMetric,
    TimedTTATracker,
    TimeMetric,
    TTATracker,
    open_benchmark,
)
from ml.benchmarks.pages import page_of
from ml.benchmarks.trackers import confusion_matrix
from ml.io.atomic import write_atomically
from ml.models.cnn import Cnn
from ml.models.config import CnnConfig
from ml.tasks.config import DigitsConfig
from ml.tasks.digits import DigitsTask

TARGET = 0.95
BATCH = 64
ROUNDS, TREES_A_ROUND = 8, 5
DIGITS = list(range(10))


class Split(NamedTuple):
    """Images, shape (N, 1, 8, 8), and digits, shape (N,)."""

    images: torch.Tensor
    digits: torch.Tensor

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for scikit-learn: shape (N, 64), and shape (N,)."""
        return self.images.flatten(1).numpy(), self.digits.numpy()


class Bench(NamedTuple):
    """What measures the stages of one model."""

    benchmark: Benchmark
    stages: BenchmarkSupervisor
    examples: ThroughputMetric
    latency: LatencyMetric


def bench_of(benchmark: Benchmark, name: str, tdp_w: float | None) -> Bench:
    examples, latency = ThroughputMetric(name), LatencyMetric(name)
    metrics = [
        TimeMetric(name),
        CPUMetric(name, interval=0.1),
        MemoryMetric(name, interval=0.1),
        PowerMetric(name, interval=0.1, tdp_w=tdp_w),
        EnergyMetric(name, tdp_w=tdp_w),
        examples,
        latency,
    ]
    return Bench(benchmark, BenchmarkSupervisor(metrics, benchmark), examples, latency)


def load() -> dict[str, Split]:
    """Returns the same split for both models."""
    task = DigitsTask(DigitsConfig())
    return {phase: Split(*task.dataset(phase)[:]) for phase in ("train", "valid", "test")}


def train_epoch(model: Cnn, optimizer: torch.optim.Optimizer, split: Split, track: Callable[[int], None]) -> float:
    """Returns the mean loss."""
    model.train()
    total = 0.0
    for index in torch.randperm(len(split.digits)).split(BATCH):
        loss = functional.cross_entropy(model(split.images[index]).prediction, split.digits[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(index)
        track(len(index))
    return total / len(split.digits)


def guesses_of(model: Cnn, split: Split) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return model(split.images).prediction.argmax(dim=1).numpy()


def network(bench: Bench, width: int, rate: float, epochs: int) -> None:
    with bench.stages.measure("load"):
        splits = load()
        track(bench, sum(len(split.digits) for split in splits.values()))
    model = Cnn(CnnConfig(width=width))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses, accuracies = [], []
    reached = TimedTTATracker(bench.benchmark, TARGET)
    for _ in range(epochs):
        with bench.stages.measure("train"):
            losses.append(train_epoch(model, optimizer, splits["train"], lambda count: track(bench, count)))
        with bench.stages.measure("evaluate"):
            right = guesses_of(model, splits["valid"]) == splits["valid"].digits.numpy()
            track(bench, len(right))
        accuracies.append(float(right.mean()))
        reached.track(accuracies[-1], "network")
    keep(
        bench.benchmark, "network", losses, accuracies, splits["test"].digits.numpy(), guesses_of(model, splits["test"])
    )


def boosting(bench: Bench) -> None:
    with bench.stages.measure("load"):
        splits = load()
        rows = {phase: split.rows for phase, split in splits.items()}
        track(bench, sum(len(digits) for _, digits in rows.values()))
    model = HistGradientBoostingClassifier(warm_start=True, random_state=0, early_stopping=False)
    losses, accuracies = [], []
    reached = TimedTTATracker(bench.benchmark, TARGET)
    for number in range(1, ROUNDS + 1):
        with bench.stages.measure("train"):
            model.set_params(max_iter=number * TREES_A_ROUND).fit(*rows["train"])
            track(bench, len(rows["train"][1]))
        losses.append(log_loss(rows["train"][1], model.predict_proba(rows["train"][0])))
        with bench.stages.measure("evaluate"):
            accuracies.append(float(model.score(*rows["valid"])))
            track(bench, len(rows["valid"][1]))
        reached.track(accuracies[-1], "boosting")
    keep(bench.benchmark, "boosting", losses, accuracies, rows["test"][1], model.predict(rows["test"][0]))


def track(bench: Bench, count: int) -> None:
    """Counts images for throughput and latency."""
    bench.examples.track(count)
    bench.latency.track(count)


def keep(
    benchmark: Benchmark,
    name: str,
    losses: list[float],
    accuracies: list[float],
    actual: np.ndarray,
    guesses: np.ndarray,
) -> None:
    LossTracker(benchmark).track(losses, f"{name}, training")
    TTATracker(benchmark).track(accuracies, f"{name}, validation")
    matrix = confusion_matrix(actual, guesses, DIGITS)
    ConfusionMatrixTracker(benchmark).track(matrix, DIGITS, f"{name}, test")
    print(f"{name}: {100 * float((actual == guesses).mean()):.1f} % of {len(actual)} test images right")


def sweep(benchmark: Benchmark, epochs: int) -> None:
    """Tries learning rates and widths, a few epochs each."""
    splits = load()
    with HyperparameterTracker(
        benchmark, "network", ["learning rate", "width"], "accuracy", low_means_good=False
    ) as tracker:
        for rate in (0.001, 0.01, 0.03):
            for width in (4, 8):
                torch.manual_seed(0)
                model = Cnn(CnnConfig(width=width))
                optimizer = torch.optim.Adam(model.parameters(), lr=rate)
                for _ in range(epochs):
                    train_epoch(model, optimizer, splits["train"], lambda count: None)
                right = guesses_of(model, splits["valid"]) == splits["valid"].digits.numpy()
                tracker.track({"learning rate": rate, "width": width, "accuracy": float(right.mean())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmark"), help="for database and page")
    parser.add_argument("--epochs", type=int, default=8, help="of the network (8)")
    parser.add_argument(
        "--tdp", type=float, help="watts of all processors when busy: energy that nothing measures is estimated"
    )
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    database, page = arguments.directory / "benchmark.db", arguments.directory / "benchmark.html"
    torch.manual_seed(0)
    with Benchmark(database, f"digits, {arguments.epochs} epochs") as benchmark:
        network(bench_of(benchmark, "network", arguments.tdp), width=8, rate=0.01, epochs=arguments.epochs)
        boosting(bench_of(benchmark, "boosting", arguments.tdp))
        sweep(benchmark, epochs=2)
    with open_benchmark(database) as benchmarks:
        write_atomically(page, page_of(benchmarks, title="What reading digits costs").encoded())
    print(f"{database}: mlog bench show {database}\n{page}: open it in a browser")


if __name__ == "__main__":
    main()
