"""What is done with each contender, in a process of its own: the same values, the same order, its default settings."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from benchmarking.contenders import CONTENDERS, RATES, Contender
from benchmarking.measuring import bytes_on_disk, cpu_of_tree_s, quantile

SCALARS_A_STEP = 10
IMAGE_SHAPE = (256, 256, 3)
HISTOGRAM_NUMBERS = 100_000
MEDIA_EVERY_STEPS = 100
"""Of the training loop: one picture and one histogram in so many steps."""
WARM_UP_STEPS = 30
KILL_RATE_HZ = 100
WAYS_TO_BE_KILLED = ("process", "flush", "job")
PAUSE_S = 0.02
"""Computing between two media, as a step of training would."""

_KEYS = tuple(f"key_{index}" for index in range(SCALARS_A_STEP))


def values_of(step: int) -> dict[str, float]:
    """Returns the numbers of a step: floats that no encoding makes short."""
    return {key: (step * 0.7390851 + place * 0.5671433) % 1.0 for place, key in enumerate(_KEYS)}


def scalars(contender: str, directory: str, count: int) -> dict[str, float]:
    """Logs 10 numbers a step, one step after the other; ``count`` steps."""

    values = [values_of(step) for step in range(count + 1)]

    def log(logger: Contender, step: int) -> None:
        logger.log(values[step], step)

    figures = _run(contender, directory, count, log, pause_s=0.0)
    found = CONTENDERS[contender].rows(Path(directory))
    figures["missing_rows"] = count * SCALARS_A_STEP - len(found & expected(count))
    return figures


def images(contender: str, directory: str, count: int) -> dict[str, float]:
    """Logs a picture of noise a step, 256 x 256: one that no compression makes small."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, *IMAGE_SHAPE), dtype=np.uint8)

    def log(logger: Contender, step: int) -> None:
        logger.log_image("picture", pixels[step % len(pixels)], step)

    return _run(contender, directory, count, log, pause_s=PAUSE_S)


def histograms(contender: str, directory: str, count: int) -> dict[str, float]:
    """Logs the distribution of 10^5 normal numbers a step."""
    numbers = np.random.default_rng(0).standard_normal((4, HISTOGRAM_NUMBERS), dtype=np.float32)

    def log(logger: Contender, step: int) -> None:
        logger.log_histogram("weights", numbers[step % len(numbers)], step)

    return _run(contender, directory, count, log, pause_s=PAUSE_S)


def _run(
    name: str, directory: str, count: int, log: Callable[[Contender, int], None], *, pause_s: float
) -> dict[str, float]:
    """Opens, logs ``count`` steps, closes; returns seconds, CPU seconds and bytes, for each step where not said."""
    logger = CONTENDERS[name]()
    logger.open(Path(directory))
    cpu_s, paused_s = cpu_of_tree_s(), 0.0
    spent_s = []
    for step in range(1, count + 1):
        start_s = time.perf_counter()
        log(logger, step)
        logger.end_step()
        spent_s.append(time.perf_counter() - start_s)
        if pause_s:
            paused_s += _compute(pause_s)
    start_s = time.perf_counter()
    logger.close()
    close_s = time.perf_counter() - start_s
    return {
        "p50_s": quantile(spent_s, 0.5),
        "p99_s": quantile(spent_s, 0.99),
        "max_s": max(spent_s),
        "mean_s": sum(spent_s) / count,
        "cpu_s": (cpu_of_tree_s() - cpu_s - paused_s) / count,
        "bytes": bytes_on_disk(Path(directory)) / count,
        "close_s": close_s,
    }


def _compute(seconds: float) -> float:
    """Keeps this thread computing, as a step of training does, without the interpreter's lock; returns its CPU."""
    start_s, until_s = time.thread_time(), time.perf_counter() + seconds
    matrix = np.ones((128, 128), np.float32)
    while time.perf_counter() < until_s:
        matrix = matrix @ matrix * np.float32(1 / 128)
    return time.thread_time() - start_s


def training(contender: str, directory: str, count: int) -> dict[str, float]:
    """Trains a small CNN with a logger, before and after that half as long without; returns what the logger adds.

    A step logs 10 numbers, every hundredth a picture and a histogram where the logger has such.
    """
    train = _training_step()
    pixels = np.random.default_rng(0).integers(0, 256, IMAGE_SHAPE, dtype=np.uint8)
    logger = (CONTENDERS | RATES)[contender]()

    def log(step: int, loss: float, weights: np.ndarray) -> None:
        logger.log({**values_of(step), "key_0": loss}, step)
        if step % MEDIA_EVERY_STEPS == 0:
            if "images" in logger.kinds:
                logger.log_image("picture", pixels, step)
            if "histograms" in logger.kinds:
                logger.log_histogram("weights", weights.copy(), step)
        logger.end_step()

    def ignore(step: int, loss: float, weights: np.ndarray) -> None:
        values_of(step)  # what makes the values is no part of what logs them

    def loop(steps: int, end_step: Callable[[int, float, np.ndarray], None]) -> list[float]:
        spent_s = []
        for step in range(1, steps + 1):
            start_s = time.perf_counter()
            end_step(step, *train())
            spent_s.append(time.perf_counter() - start_s)
        return spent_s

    loop(WARM_UP_STEPS, ignore)
    start_s = cpu_of_tree_s()
    bare_s = loop(count // 2, ignore)
    bare_cpu_s = cpu_of_tree_s() - start_s
    logger.open(Path(directory))
    start_s = cpu_of_tree_s()
    logged_s = loop(count, log)
    logger.close()
    logged_cpu_s = cpu_of_tree_s() - start_s
    start_s = cpu_of_tree_s()
    bare_s += loop(count - count // 2, ignore)
    bare_cpu_s += cpu_of_tree_s() - start_s
    return {
        "step_s": sum(bare_s) / count,
        "slower_percent": 100 * (sum(logged_s) / sum(bare_s) - 1),
        "p99_more_s": quantile(logged_s, 0.99) - quantile(bare_s, 0.99),
        "longest_more_s": max(logged_s) - max(bare_s),
        "cpu_more_s": (logged_cpu_s - bare_cpu_s) / count,
    }


def _training_step() -> Callable[[], tuple[float, np.ndarray]]:
    """Returns what trains a step, about 3 ms of it, and returns the loss and the weights of the last layer."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 6 * 6, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batch, targets = torch.rand(64, 1, 28, 28), torch.randint(10, (64,))
    weights = model[5].weight.detach().numpy().ravel()

    def train() -> tuple[float, np.ndarray]:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch), targets)
        loss.backward()
        optimizer.step()
        return loss.item(), weights

    return train


def killed(contender: str, directory: str, count: int, how: str) -> None:
    """Logs 10 numbers a step, 100 steps a second, and is killed when ``count`` steps are logged.

    ``how`` is ``process`` (as by the kernel that runs out of memory: what it started lives on), ``job`` (as by a
    scheduler: everything at once), or ``flush`` (the job again, right after the contender's own flush).
    """
    logger = CONTENDERS[contender]()
    logger.open(Path(directory))
    start_s = time.perf_counter()
    for step in range(1, count + 1):
        logger.log(values_of(step), step)
        logger.end_step()
        if step < count:
            time.sleep(max(0.0, start_s + step / KILL_RATE_HZ - time.perf_counter()))
    if how == "flush":
        logger.flush()
    children = psutil.Process().children(recursive=True)
    Path(directory, "children.txt").write_text(" ".join(str(child.pid) for child in children))
    if how != "process":
        for child in children:
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def surviving(contender: str, directory: str, count: int, settle_s: float = 10.0) -> int:
    """Returns how many of the numbers of a run that was killed are in its files, once what it left behind has ended."""
    listed = Path(directory, "children.txt").read_text().split()
    left = [psutil.Process(int(pid)) for pid in listed if psutil.pid_exists(int(pid))]
    for process in psutil.wait_procs(left, settle_s)[1]:
        process.kill()
    return len(CONTENDERS[contender].rows(Path(directory)) & expected(count))


def expected(count: int) -> set[tuple[int, str]]:
    return {(step, key) for step in range(1, count + 1) for key in _KEYS}
