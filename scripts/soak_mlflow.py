"""An MLflow server that is away for a minute in the middle of a training: what the steps take, and what is there after.

It trains a small model at 50 steps a second, and logs every step to a real server on loopback. That one is killed, and
started again a minute later; or frozen, so that it takes connections and answers nothing. The laws are those of the
last lines: every value that the run has on disk is in MLflow, once; and the loop did as many steps as ever.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before MLflow is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from mlflow import MlflowClient

from ml import Run, open_run, start_run
from ml.integrations.mlflow_names import metric_name
from ml.loggers.remote import identity_of
from tests.mlflow_server import MlflowServer

STEP_S = 0.02
AROUND_S = 20.0
"""How long it trains before the server goes, and after it is back."""

LAYERS = 4

COLUMNS = (
    ("steps", 7),
    ("a second", 10),
    ("p50 (ms)", 10),
    ("p99 (ms)", 10),
    ("max (ms)", 10),
    ("at (s)", 8),
    ("longest GC (ms)", 17),
)


class Part(NamedTuple):
    """The steps of a part of the training, in seconds: the work and the logging, without the pause behind it.

    ``began_s`` is when each began, from the start of the part; ``longest_gc_s`` what Python's garbage collector took at
    once: values that wait are objects, and after a while it looks through all that there are, of every library.
    """

    name: str
    steps_s: list[float]
    began_s: list[float]
    wall_s: float
    longest_gc_s: float

    def row(self) -> str:
        """Returns a line of the table."""
        ordered = sorted(self.steps_s)
        p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
        slowest_s = ordered[-1]
        values = (len(ordered), len(ordered) / self.wall_s, 1000 * p50, 1000 * p99, 1000 * slowest_s)
        values += (self.began_s[self.steps_s.index(slowest_s)], 1000 * self.longest_gc_s)
        cells = (
            f"{value:>{width}.{0 if head == 'steps' else 1}f}"
            for value, (head, width) in zip(values, COLUMNS, strict=True)
        )
        return f"{self.name:<28}" + "".join(cells)


class Loop:
    """A training loop, one step at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.network = torch.nn.Sequential(*(torch.nn.Linear(128, 128) for _ in range(LAYERS)))
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3)
        self.collections_s: list[float] = []
        self._collecting_since_s = 0.0
        gc.callbacks.append(self._note_collection)

    def train(self, name: str, seconds: float) -> Part:
        """Trains for so long."""
        self.collections_s.clear()
        steps_s: list[float] = []
        all_began_s: list[float] = []
        start_s = time.perf_counter()
        while (began_s := time.perf_counter()) < start_s + seconds:
            self._step()
            all_began_s.append(began_s - start_s)
            steps_s.append(time.perf_counter() - began_s)
            time.sleep(max(0.0, STEP_S - steps_s[-1]))
        return Part(name, steps_s, all_began_s, time.perf_counter() - start_s, max(self.collections_s, default=0.0))

    def _note_collection(self, phase: str, info: dict[str, int]) -> None:
        now_s = time.perf_counter()
        if phase == "stop":
            self.collections_s.append(now_s - self._collecting_since_s)
        self._collecting_since_s = now_s

    def _step(self) -> None:
        output = self.network(torch.randn(64, 128))
        loss = output.square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.run.log({"loss": loss})
        for index, layer in enumerate(self.network):
            self.run.log({f"norm/{index}": lambda layer=layer: layer.weight.norm()})
        self.run.step(samples=64)


def soak(directory: Path, away_s: float, how: str) -> bool:
    """Trains, with the server away for ``away_s``; prints what the steps took. Returns whether all is there, once."""
    server = MlflowServer(directory / "server")
    logger = {"name": "mlflow", "tracking_uri": server.url, "experiment": "soak", "write_every_n_seconds": 0.0}
    try:
        json = {"name": "json", "write_every_n_seconds": 0.0}
        with start_run(directory / "run", loggers=[json, logger], close_timeout_s=300.0) as run:
            loop = Loop(run)
            loop.train("warm-up", 5.0)
            parts = [loop.train("before", AROUND_S)]
            server.kill() if how == "kill" else server.freeze()
            parts.append(loop.train(f"the server is away ({how})", away_s))
            queued = run.stats()["mlflow"].pending
            server.start() if how == "kill" else server.thaw()
            parts.append(loop.train("after", AROUND_S))
        print(f"{'':<28}" + "".join(f"{head:>{width}}" for head, width in COLUMNS))
        print("\n".join(part.row() for part in parts))
        print(f"Values that waited when the server came back: {queued}.")
        return is_complete(run, server.url)
    finally:
        server.kill()


def is_complete(run: Run, uri: str) -> bool:
    """Compares what MLflow has with what the run has on disk; prints what is missing, and what is there twice."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("soak")
    found = client.search_runs([experiment.experiment_id], f"tags.`ml.run` = '{identity_of(run.path / 'mlflow')}'")
    frame = open_run(run.path).scalars()
    expected = Counter((metric_name(row.phase, row.key), row.step, row.value) for row in frame.itertuples())
    there: Counter[tuple[str, int, float]] = Counter()
    for one in found:
        for name in one.data.metrics:
            there.update((name, point.step, point.value) for point in client.get_metric_history(one.info.run_id, name))
    stats = run.stats()["mlflow"]
    print(
        f"Runs in MLflow: {len(found)}. Values on disk: {expected.total()}; in MLflow: {there.total()}; "
        f"missing: {(expected - there).total()}; twice or unknown: {(there - expected).total()}; "
        f"accepted {stats.accepted}, written {stats.written}, dropped {sum(stats.dropped.values())}."
    )
    return len(found) == 1 and expected == there and stats.accepted == stats.written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="how long the server is away (60)")
    parser.add_argument("--how", choices=("kill", "freeze"), default="kill", help="killed and started again, or frozen")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ml-soak-") as directory:
        good = soak(Path(directory), arguments.seconds, arguments.how)
    print("good" if good else "NOT GOOD")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
