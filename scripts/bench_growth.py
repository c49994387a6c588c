"""How time and memory grow: with distinct tags, with scalars, with backends.

Every row is a process of its own. Time is CPU, which a busy machine changes little: of the training
thread alone, and of the whole process to the closed files. Memory is what the process has in use
more than before the run, when everything is written. Writes its part of ``docs/benchmarks.md``.
"""

import argparse
import tempfile
import time
from typing import NamedTuple

from benchmarking.alone import run_alone
from benchmarking.measuring import resident_bytes
from benchmarking.page import write_page
from benchmarking.results import load_results, save_results

from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger

TAGS_A_STEP = 1000
KEYS = 10
MAX_QUEUE_BYTES = 4 * 2**20
"""Of each backend: small, so that what a run keeps is not hidden by what waits."""
BOTH = ("json", "tensorboard")


class Growth(NamedTuple):
    """What a run cost: microseconds of CPU for each scalar, and bytes in use.

    Attributes:
        new_us: On the training thread, where the scalar's tag is new.
        known_us: On the training thread, where it is not.
        cpu_us: Of the whole process, for each scalar and backend.
        used_bytes: In use when everything is written, more than before.
    """

    new_us: float
    known_us: float
    cpu_us: float
    used_bytes: int


def grow(tags: int, scalars: int, backends: list[str]) -> Growth:
    """Logs ``scalars`` numbers under ``tags`` names in turn, at most 1,000 a step; every name twice or more."""
    component = MultiLogger("task")
    names = [f"group_{index // 1000}/metric_{index}" for index in range(tags)]
    at_once = min(tags, TAGS_A_STEP)
    new_s = known_s = 0.0
    with tempfile.TemporaryDirectory() as directory, open_group(directory, backends) as group:
        component.log_scalar("first", 0.5)
        group.write([component], State(num_steps=1))
        assert group.flush(600), "the first step is not durable"  # what is imported and opened once is not counted
        before_bytes, before_s = resident_bytes(), time.process_time()
        for first in range(0, scalars, at_once):
            start_s = time.thread_time()
            for name in names[first % tags : first % tags + at_once]:
                component.log_scalar(name, 0.5)
            group.write([component], State(num_steps=2 + first // at_once, time_s=1.0))
            spent_s = time.thread_time() - start_s
            if first < tags:
                new_s += spent_s
            else:
                known_s += spent_s
        assert group.flush(600), "what was written is not durable"
        cpu_s, used_bytes = time.process_time() - before_s, resident_bytes() - before_bytes
    known = scalars - tags
    return Growth(new_s * 1e6 / tags, known_s * 1e6 / known, cpu_s * 1e6 / scalars / len(backends), used_bytes)


def open_group(directory: str, backends: list[str]) -> LoggerGroup:
    """Returns a group that writes every step, and waits rather than drop: what is counted was written."""
    settings = {"write_every_n_seconds": 0.0, "on_full": "wait", "max_queue_bytes": MAX_QUEUE_BYTES}
    loggers = [LOGGERS.build({"name": name, "id": f"{name}-{n}", **settings}) for n, name in enumerate(backends)]
    return LoggerGroup(loggers, RunContext(directory), on_error="raise", close_timeout_s=600)


def measure(tags: int, scalars: int, backends: list[str]) -> Growth:
    start_s = time.monotonic()
    growth = Growth(*run_alone(grow, {"tags": tags, "scalars": scalars, "backends": backends}))
    print(
        f"{tags:9,} tags {scalars:11,} scalars {len(backends)} backends: {time.monotonic() - start_s:.0f} s", flush=True
    )
    return growth


def by_tags(tags: int) -> dict[str, float]:
    growth = measure(tags, max(2 * tags, 10**5), [*BOTH])
    return {
        "new, us a scalar": growth.new_us,
        "known, us a scalar": growth.known_us,
        "CPU, us a scalar and backend": growth.cpu_us,
        "memory, bytes a tag": growth.used_bytes / tags,
    }


def by_scalars(scalars: int) -> dict[str, float]:
    growth = measure(KEYS, scalars, [*BOTH])
    return {
        "thread, us a scalar": growth.known_us,
        "CPU, us a scalar and backend": growth.cpu_us,
        "memory, MiB": growth.used_bytes / 2**20,
    }


def by_backends(count: int, scalars: int) -> dict[str, float]:
    growth = measure(KEYS, scalars, [BOTH[place % len(BOTH)] for place in range(count)])
    return {
        "thread, us a scalar": growth.known_us,
        "thread, us a scalar and backend": growth.known_us / count,
        "CPU, us a scalar and backend": growth.cpu_us,
        "memory, MiB a backend": growth.used_bytes / 2**20 / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tags and a hundredth of the scalars")
    quick = parser.parse_args().quick
    axes = {
        "tags": {tags: by_tags(tags) for tags in (10**3, 10**4, 10**5, *(() if quick else (10**6,)))},
        "scalars": {count: by_scalars(count) for count in (10**4, 10**5, *(() if quick else (10**6, 10**7)))},
        "backends": {count: by_backends(count, 10**4 if quick else 10**5) for count in (1, 2, 4, 8)},
    }
    save_results("growth", {"axes": axes}, quick=quick)
    write_page(load_results())


if __name__ == "__main__":
    main()
