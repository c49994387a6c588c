"""How long TensorBoard takes to load a run of ours, beside one of ``SummaryWriter``'s with the same scalars.

Both of its loaders: ``EventAccumulator``, in Python, and the server that ``tensorboard`` starts, asked over HTTP
until it returns every point of every tag. Writes its part of ``docs/benchmarks.md``.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from benchmarking.alone import run_alone
from benchmarking.measuring import turns
from benchmarking.page import write_page
from benchmarking.results import load_results, save_results

TAGS = [f"task/key_{index}" for index in range(10)]
POLL_S = 0.1
LOAD_TIMEOUT_S = 300


def write_ours(directory: str, steps: int) -> None:
    from ml.core.registry import LOGGERS
    from ml.core.run import RunContext
    from ml.core.state import State
    from ml.loggers import LoggerGroup, MultiLogger

    component = MultiLogger("task")
    logger = LOGGERS.build({"name": "tensorboard", "write_every_n_seconds": 0.0, "on_full": "wait"})
    with LoggerGroup([logger], RunContext(directory), close_timeout_s=600) as group:
        for step in range(1, steps + 1):
            for tag in TAGS:
                component.log_scalar(tag.partition("/")[2], step / steps)
            group.write([component], State(num_steps=step))


def write_theirs(directory: str, steps: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(f"{directory}/tensorboard/train") as writer:
        for step in range(1, steps + 1):
            for tag in TAGS:
                writer.add_scalar(tag, step / steps, step)


def accumulate(directory: str, steps: int) -> float:
    """Returns the seconds that ``EventAccumulator`` takes to read every point."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    start_s = time.perf_counter()
    accumulator = EventAccumulator(f"{directory}/tensorboard/train", size_guidance={"scalars": 0})
    accumulator.Reload()
    taken_s = time.perf_counter() - start_s
    assert all(len(accumulator.Scalars(tag)) == steps for tag in TAGS), "points are missing"
    return taken_s


def serve(directory: str, steps: int) -> float:
    """Returns the seconds from starting ``tensorboard`` until its scalars plugin returns every point."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", f"{directory}/tensorboard", "--host", "127.0.0.1"]
    start_s = time.perf_counter()
    server = subprocess.Popen(
        [*command, "--port", str(port), "--samples_per_plugin", f"scalars={2 * steps}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not all(count_points(port, tag) == steps for tag in TAGS):
            if time.perf_counter() - start_s > LOAD_TIMEOUT_S or server.poll() is not None:
                raise RuntimeError(f"tensorboard did not return {steps} points of every tag in {LOAD_TIMEOUT_S} s.")
            time.sleep(POLL_S)
        return time.perf_counter() - start_s
    finally:
        server.terminate()
        server.wait()


def count_points(port: int, tag: str) -> int:
    query = urllib.parse.urlencode({"run": "train", "tag": tag})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?{query}") as answer:
            return len(json.load(answer))
    except (urllib.error.URLError, ConnectionError):  # not started, or the tag is not known yet
        return 0


READERS: dict[str, Callable[[str, int], float]] = {"EventAccumulator": accumulate, "server (default loader)": serve}
WRITERS: dict[str, Callable[[str, int], None]] = {"ml": write_ours, "SummaryWriter": write_theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="10^5 scalars instead of 10^6, one repeat")
    arguments = parser.parse_args()
    steps, repeats = (10**4, 1) if arguments.quick else (10**5, arguments.repeats)

    with tempfile.TemporaryDirectory() as directory:
        for name, write in WRITERS.items():
            run_alone(write, {"directory": f"{directory}/{name}", "steps": steps})
        seconds = {}
        for reader, read in READERS.items():
            taken_s: dict[str, list[float]] = {name: [] for name in WRITERS}
            for which in turns(len(WRITERS), repeats):
                name = list(WRITERS)[which]
                taken_s[name].append(run_alone(read, {"directory": f"{directory}/{name}", "steps": steps}))
                print(f"{reader}, {name}: {taken_s[name][-1]:.2f} s", flush=True)
            seconds[reader] = {name: statistics.median(all_s) for name, all_s in taken_s.items()}
    figures = {"scalars": steps * len(TAGS), "repeats": repeats, "seconds": seconds}
    save_results("load", figures, quick=arguments.quick)
    write_page(load_results())


if __name__ == "__main__":
    main()
