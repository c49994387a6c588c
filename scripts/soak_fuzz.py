"""Reads damaged records, and says what came of it: ``scripts/soak_fuzz.py [COUNT] [PROCESSES] [FIRST_SEED]``.

Every input is made of a seed, which is printed for each that raises anything but ``FormatError`` or takes over a
second; ``tests.predictions.fuzzing.mutant`` makes it again. The exit status is 1 if there was one, or if a process
took 256 MiB.
"""

import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from ml.core.errors import FormatError
from tests.predictions.fuzzing import corpus, mutant, read_all

MAX_S = 1.0
MAX_RESIDENT_MIB = 256
PART = 10_000


class Found(NamedTuple):
    """What came of some inputs."""

    inputs: int
    accepted: int
    refused: int
    others: list[str]
    slowest_s: float
    slowest_seed: int
    process: int
    peak_mib: float


def fuzz(seeds: range) -> Found:
    """Reads the inputs of these seeds."""
    records = corpus()
    accepted = refused = slowest_seed = 0
    slowest_s, others = 0.0, []
    for seed in seeds:
        data = mutant(records, seed)
        start = time.perf_counter()
        try:
            read_all(data)
            accepted += 1
        except FormatError:
            refused += 1
        except Exception as error:  # what this program is looking for
            others.append(f"seed {seed}: {type(error).__name__}: {error}")
        took_s = time.perf_counter() - start
        if took_s > slowest_s:
            slowest_s, slowest_seed = took_s, seed
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
    return Found(len(seeds), accepted, refused, others, slowest_s, slowest_seed, os.getpid(), peak_mib)


def main(count: int = 1_000_000, processes: int = 2, first_seed: int = 0) -> int:
    end = first_seed + count
    parts = [range(start, min(start + PART, end)) for start in range(first_seed, end, PART)]
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = []
        for one in pool.imap_unordered(fuzz, parts):
            found.append(one)
            print("\n".join(one.others), end="\n" if one.others else "", flush=True)
    slowest = max(found, key=lambda one: one.slowest_s)
    peaks_mib = {one.process: max(other.peak_mib for other in found if other.process == one.process) for one in found}
    others = sum(len(one.others) for one in found)
    print(f"inputs               {sum(one.inputs for one in found):>12,}")
    print(f"accepted             {sum(one.accepted for one in found):>12,}")
    print(f"FormatError          {sum(one.refused for one in found):>12,}")
    print(f"other errors         {others:>12,}")
    print(f"slowest (ms)         {slowest.slowest_s * 1000:>12,.1f}  seed {slowest.slowest_seed}")
    print(f"peak resident (MiB)  {max(peaks_mib.values()):>12,.0f}  of {len(peaks_mib)} processes")
    print(f"took (s)             {time.perf_counter() - start:>12,.0f}")
    return int(bool(others) or slowest.slowest_s > MAX_S or max(peaks_mib.values()) >= MAX_RESIDENT_MIB)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
