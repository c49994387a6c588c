"""``mlog bench run -- COMMAND``: measures a program and all that it starts, as a call in a benchmark database."""

import argparse
import shlex
import sys
from pathlib import Path

from ml.benchmarks.cpu import CPUMetric
from ml.benchmarks.database import Benchmark
from ml.benchmarks.energy import EnergyMetric, PowerMetric
from ml.benchmarks.memory import MemoryMetric
from ml.benchmarks.reading import StoredMeasurement, open_benchmark
from ml.benchmarks.supervisor import BenchmarkSupervisor
from ml.benchmarks.time_metrics import TimeMetric
from ml.cli.numbers import compact
from ml.cli.output import Output, printable
from ml.core.errors import ConfigError, MLError
from ml.io.child import run_child

_TOLD = ("time", "cpu", "memory", "energy")


class ProgramError(Exception):
    """The program ended with a status other than 0, so what it cost is not what it costs."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"exit status {status}")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Runs the program; returns its exit status.

    Raises:
        ConfigError: There is none, it cannot be started, or the database is none.
    """
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise ConfigError("There is no command to run: mlog bench run -- python train.py.")
    output.flush()  # what the program prints comes after
    name = arguments.name or Path(command[0]).name
    metrics = [
        TimeMetric(name),
        CPUMetric(name, arguments.interval, of="children"),
        MemoryMetric(name, arguments.interval, of="children"),
        EnergyMetric(name, tdp_w=arguments.tdp),
        PowerMetric(name, arguments.interval, tdp_w=arguments.tdp),
    ]
    benchmark = Benchmark(arguments.db, arguments.description or shlex.join(command), name=Path(command[0]).name)
    try:
        with benchmark, BenchmarkSupervisor(metrics, benchmark).measure(name):
            if status := run_child(command).wait():
                raise ProgramError(status)
    except ProgramError as failed:
        status = failed.status
    print(f"mlog: {printable(_costs(arguments.db, benchmark.uuid))}", file=sys.stderr)
    return status


def _costs(database: str, uuid: str) -> str:
    """Returns what the program has cost; of a database that took nothing, why: the program has run all the same."""
    try:
        with open_benchmark(database) as benchmarks:
            costs = [_shown(one) for one in benchmarks.measurements([uuid]) if one.type in _TOLD]
    except (MLError, OSError) as error:
        return f"what it cost is lost: {error}"
    return f"{', '.join(costs)}; run {uuid[:8]} in {database}" if costs else f"what it cost is not in {database}"


def _shown(one: StoredMeasurement) -> str:
    if one.value is None:
        return f"{one.type} {one.source}"
    estimated = " (estimated)" if one.source == "estimated" else ""
    return f"{one.type} {compact(one.value)} {one.unit}{estimated}"
