"""The same work done with this package and with its peers: time, CPU, bytes, and what survives being killed.

Every measurement is a process of its own, without a network where the system can do that. Contenders take turns;
a figure is the median of the repeats. Writes ``docs/benchmarks.md`` and ``docs/benchmarks.svg``.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarking import workloads
from benchmarking.alone import AloneError, is_isolated, run_alone
from benchmarking.contenders import CONTENDERS, RATES, Kind
from benchmarking.measuring import turns
from benchmarking.page import write_page
from benchmarking.plot import write_plot
from benchmarking.results import load_results, save_results

Figures = dict[str, float]


class Workload(NamedTuple):
    """What every contender that logs ``kind`` is measured at: so many steps, fewer where it is to be quick."""

    function: Callable[..., Figures]
    kind: Kind
    steps: int
    quick_steps: int

    @property
    def name(self) -> str:
        return self.function.__name__


WORKLOADS = (
    Workload(workloads.scalars, "scalars", 1000, 200),
    Workload(workloads.images, "images", 40, 8),
    Workload(workloads.histograms, "histograms", 40, 8),
)
TRAINING_STEPS, QUICK_TRAINING_STEPS = 400, 100
KILLED_STEPS, QUICK_KILLED_STEPS = 310, 60
KILLED_STEPS_MORE = 37
"""By so much a run is longer than the one before it: who writes every 100 steps is not killed at the best moment."""
KILLED_AT_ONCE = 3
"""Runs that are killed are idle most of the time, and not timed."""


class Measurement(NamedTuple):
    """One process to start: its place in the results, and what it calls with a directory."""

    workload: str
    contender: str
    function: Callable[[str], Figures]


class Measured:
    """What was measured so far.

    Attributes:
        failed: What could not be measured, or lost values without being killed, and why.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self._figures: dict[tuple[str, str], list[Figures]] = defaultdict(list)

    def measure(self, measurements: list[Measurement], *, at_once: int) -> None:
        """Makes measurements in their order, ``at_once`` at a time."""
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self._measure, measurements))

    def _measure(self, measurement: Measurement) -> None:
        workload, contender, function = measurement
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            try:
                figures = function(directory)
            except AloneError as error:
                self.failed[f"{contender}, {workload}"] = str(error).strip().rsplit("\n", 1)[-1]
                print(error, file=sys.stderr)
                return
        if figures.pop("missing_rows", 0):
            self.failed[f"{contender}, {workload}"] = "not every value is in its files after it was closed"
        self._figures[workload, contender].append(figures)
        print(f"{workload}, {contender}", flush=True)

    def medians(self) -> dict[str, dict[str, Figures]]:
        """Returns figures by workload and contender, contenders in the order of the page."""
        table: dict[str, dict[str, Figures]] = defaultdict(dict)
        for contender in CONTENDERS | RATES:
            for (workload, name), repeats in self._figures.items():
                if name == contender:
                    table[workload][name] = {
                        figure: statistics.median(figures[figure] for figures in repeats) for figure in repeats[0]
                    }
        return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten: one repeat, two at a time")
    arguments = parser.parse_args()
    quick, repeats = arguments.quick, 1 if arguments.quick else arguments.repeats

    measured = Measured()
    for group in timed_measurements(quick=quick):
        measured.measure([group[which] for which in turns(len(group), repeats)], at_once=2 if quick else 1)
    measured.measure(kill_measurements(repeats, quick=quick), at_once=KILLED_AT_ONCE)
    about = {
        name: {"versions": contender.versions(), "remark": contender.remark}
        for name, contender in (CONTENDERS | RATES).items()
    }
    save_results(
        "peers",
        {
            "isolated": is_isolated(),
            "repeats": repeats,
            "contenders": about,
            "failed": measured.failed,
            "figures": measured.medians(),
        },
        quick=quick,
    )
    results = load_results()
    write_plot(results["peers"])
    write_page(results)


def timed_measurements(*, quick: bool) -> list[list[Measurement]]:
    """Returns what is timed, in groups whose members take turns."""
    groups = []
    for workload in WORKLOADS:
        steps = workload.quick_steps if quick else workload.steps
        takers = [name for name, contender in CONTENDERS.items() if workload.kind in contender.kinds]
        groups.append([Measurement(workload.name, name, alone(workload.function, name, steps)) for name in takers])
    steps = QUICK_TRAINING_STEPS if quick else TRAINING_STEPS
    loops = [Measurement("training", name, alone(workloads.training, name, steps)) for name in CONTENDERS | RATES]
    return [*groups, loops]


def kill_measurements(repeats: int, *, quick: bool) -> list[Measurement]:
    measurements = []
    for repeat in range(repeats):
        steps = QUICK_KILLED_STEPS if quick else KILLED_STEPS + KILLED_STEPS_MORE * repeat
        for name, contender in CONTENDERS.items():
            ways = [way for way in workloads.WAYS_TO_BE_KILLED if way != "flush" or contender.flushes]
            for how in ways[-1:] if quick else ways:
                measurements.append(Measurement(f"killed_{how}", name, survival(name, steps, how)))
    return measurements


def alone(function: Callable[..., Figures], contender: str, count: int) -> Callable[[str], Figures]:
    """Returns what measures a contender, given a directory."""
    return lambda directory: run_alone(function, {"contender": contender, "directory": directory, "count": count})


def survival(contender: str, steps: int, how: str) -> Callable[[str], Figures]:
    """Returns what kills a run in a directory and counts what it lost."""

    def measure(directory: str) -> Figures:
        run = {"contender": contender, "directory": directory, "count": steps}
        if run_alone(workloads.killed, {**run, "how": how}) is not None:
            raise AloneError(f"{contender} was to be killed, and was not")
        lost = steps * workloads.SCALARS_A_STEP - run_alone(workloads.surviving, run)
        return {"lost_rows": lost, "lost_s": lost / workloads.SCALARS_A_STEP / workloads.KILL_RATE_HZ}

    return measure


if __name__ == "__main__":
    main()
