"""What measuring costs, and whether it measures what is there: a supervised no-op call, a long call, a busy loop.

The busy loop is compared with the CPU time that it had, as the machine may be busy with something else: then it has
less than the whole core, and CPUMetric must say so.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ml.benchmarks import Benchmark, BenchmarkSupervisor, CPUMetric, MemoryMetric, Metric, TimeMetric, open_benchmark
from ml.benchmarks.nvml import open_nvml
from ml.benchmarks.system_reader import SystemReader
from ml.benchmarks.time_metrics import LatencyMetric, ThroughputMetric
from ml.io.sampler import process_sampler

MB, MIB = 10**6, 2**20


def no_op() -> None:
    """Does nothing."""


def busy(seconds: float) -> float:
    """Computes for so many wall seconds; returns how busy it was, in percent of a core."""
    start_s, cpu_s = time.perf_counter(), time.thread_time()
    while time.perf_counter() - start_s < seconds:
        pass
    return 100 * (time.thread_time() - cpu_s) / (time.perf_counter() - start_s)


def allocate() -> None:
    """Makes and frees 200 MB."""
    del bytearray(200 * MB)[:1]


def print_no_op(benchmark: Benchmark, name: str, metrics: Sequence[Metric], repeats: int, pause_s: float) -> None:
    """Prints what a call costs the thread that makes it."""
    measured = BenchmarkSupervisor(metrics, benchmark, name=f"no-op, {name}")(no_op)
    measured()
    calls_s, cpu_s = [], time.thread_time()
    for _ in range(repeats):
        start_s = time.perf_counter()
        measured()
        calls_s.append(time.perf_counter() - start_s)
        if pause_s:
            time.sleep(pause_s)
    cpu_s = time.thread_time() - cpu_s
    p99_s = sorted(calls_s)[int(0.99 * (repeats - 1))]
    print(f"  {name:46s} {1e6 * statistics.median(calls_s):8.0f} {1e6 * p99_s:8.0f} {1e6 * cpu_s / repeats:8.0f}")


def own_metrics() -> list[Metric]:
    """What is measured of a process alone."""
    return [TimeMetric("t"), CPUMetric("c"), MemoryMetric("m")]


def print_overhead(benchmark: Benchmark, long_s: float, repeats: int) -> None:
    """Prints what no-op calls and a long call cost."""
    print("A supervised no-op call (us)")
    print(f"  {'':46s} {'median':>8s} {'p99':>8s} {'cpu':>8s}")
    more = [*own_metrics(), LatencyMetric("l"), ThroughputMetric("th")]
    tree: list[Metric] = [TimeMetric("t"), CPUMetric("c", of="tree"), MemoryMetric("m", of="tree")]
    for pause_s, how in ((0.002, "a call each 2 ms"), (0.0, "one after the other")):
        print_no_op(benchmark, f"time, cpu, memory; {how}", own_metrics(), repeats, pause_s)
        print_no_op(benchmark, f"and latency, throughput; {how}", more, repeats, pause_s)
    print_no_op(benchmark, "time, cpu, memory of the tree; a call each 2 ms", tree, repeats, 0.002)
    print("  goal: the median of time, cpu and memory at most 150 us")

    for of in ("process", "tree"):
        metrics = [TimeMetric("t"), CPUMetric("c", of=of), MemoryMetric("m", of=of)]
        before_s = process_sampler().cost_s
        with BenchmarkSupervisor(metrics, benchmark).measure(f"long, {of}"):
            time.sleep(long_s)
        percent = 100 * (process_sampler().cost_s - before_s) / long_s
        print(f"A call of {long_s:g} s that is sampled each second ({of}): {percent:.4f} % CPU (goal: under 1 %)")


def print_system(repeats: int) -> None:
    """Prints what one reading of the callback ``system`` costs."""
    reader = SystemReader(open_nvml())
    cpu_s = time.thread_time()
    for _ in range(repeats):
        reader.read()
    each_ms = 1e3 * (time.thread_time() - cpu_s) / repeats
    print(f"A reading of the callback system: {each_ms:.2f} ms, so {each_ms / 100:.3f} % CPU at one each 10 s")


def print_truth(benchmark: Benchmark, busy_s: float) -> dict[str, float]:
    """Runs what is known beforehand; returns how busy the busy loop really was."""
    loops = BenchmarkSupervisor([CPUMetric("cpu")], benchmark, name="busy loop")(busy)
    BenchmarkSupervisor([MemoryMetric("memory", 1e3)], benchmark, name="200 MB")(allocate)()
    short = BenchmarkSupervisor([TimeMetric("t"), MemoryMetric("m", 2), CPUMetric("c", 2)], benchmark, name="0.1 s")
    took_s = []
    for _ in range(20):
        start_s = time.perf_counter()
        short(time.sleep)(0.1)
        took_s.append(time.perf_counter() - start_s)
    return {"busy": loops(busy_s), "short_s": statistics.median(took_s), "longest_s": max(took_s)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000, help="no-op calls (2000)")
    parser.add_argument("--long", type=float, default=10.0, help="seconds of the long call (10)")
    parser.add_argument("--busy", type=float, default=5.0, help="seconds of the busy loop (5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml-supervisor-") as directory:
        path = Path(directory) / "benchmarks.db"
        with Benchmark(path, "what measuring costs") as benchmark:
            print_overhead(benchmark, arguments.long, arguments.repeats)
            print_system(100)
            truth = print_truth(benchmark, arguments.busy)
        print_stored(path, truth)


def print_stored(path: Path, truth: dict[str, float]) -> None:
    """Prints what the database has of the calls whose cost is known."""
    stored = open_benchmark(path)
    rows = {(row.method, row.type): row for row in stored.measurements(types=["cpu", "memory", "memory_growth"])}
    cpu, grown = rows["busy loop", "cpu"].value, rows["200 MB", "memory_growth"].value
    assert cpu is not None, rows["busy loop", "cpu"].reason
    assert grown is not None, rows["200 MB", "memory_growth"].reason
    print(f"A busy loop reads {cpu:.1f} %, and had {truth['busy']:.1f} % of a core (goal: 100 +- 5 on an idle machine)")
    print(f"An allocation of 200 MB reads {grown * MIB / MB:.1f} MB (goal: 200 +- 10)")
    samples = [stored.count_samples(rows["0.1 s", type_]) for type_ in ("memory", "cpu")]
    print(
        f"A function of 0.1 s with an interval of 2 s took {truth['short_s']:.4f} s (median; the longest"
        f" {truth['longest_s']:.4f}; goal: under 0.12) and has {samples[0]} and {samples[1]} samples"
    )


if __name__ == "__main__":
    main()
