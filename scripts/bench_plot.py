"""A run of a million samples: how long `mlog bench plot` takes, and how much memory.

    scripts/bench plot [--samples N] [--calls N]

prints seconds and the highest memory of writing the run and of drawing it, each in a process of its own: with all
samples and with a tenth of them, which shows whether memory grows.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ml.benchmarks.database import Benchmark
from ml.benchmarks.measurement import Measurement, Sample

CHUNK = 1000


def write(database: Path, samples: int, calls: int) -> None:
    """Makes a run of calls that have so many samples together, as a supervisor hands them on."""
    with Benchmark(database, f"{samples} samples") as benchmark:
        for call in range(calls):
            measurement = Measurement("wave", "cpu", 50.0, "%", "process", method="wave", call=call + 1)
            series = benchmark.begin_series(measurement)
            first, last = samples * call // calls, samples * (call + 1) // calls
            for start in range(first, last, CHUNK):
                series.add(
                    Sample(number / 1000, 50 + 40 * ((number // 5000) % 2) + number * 7919 % 13)
                    for number in range(start, min(start + CHUNK, last))
                )
                benchmark.flush()  # no more is queued than a real run would
            benchmark.record([measurement._replace(series=series.number)])


def measured(command: list[str]) -> tuple[float, float]:
    """Returns seconds and MiB of a process."""
    start_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - start_s, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10**6, help="of the run (1000000)")
    parser.add_argument("--calls", type=int, default=1, help="that they are of (1)")
    arguments = parser.parse_args()
    print(f"{'samples':>9s} {'':24s} {'seconds':>8s} {'MiB':>6s}")
    with tempfile.TemporaryDirectory(prefix="ml-plot-") as directory:
        for samples in (arguments.samples // 10, arguments.samples):
            database = Path(directory) / f"{samples}.db"
            start_s = time.perf_counter()
            write(database, samples, arguments.calls)
            highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{samples:9d} {'written':24s} {time.perf_counter() - start_s:8.2f} {highest:6.0f}")
            mlog = [sys.executable, "-m", "ml", "bench"]
            for name, options in (("plot", ["--to", "png"]), ("plot --to html", ["--to", "html"])):
                output = Path(directory) / "plot"
                seconds, mib = measured([*mlog, "plot", str(database), *options, "-o", str(output)])
                goal = "  (goal: under 5 s)" if samples == 10**6 else ""
                print(f"{samples:9d} {'mlog bench ' + name:24s} {seconds:8.2f} {mib:6.0f}{goal}")


if __name__ == "__main__":
    main()
