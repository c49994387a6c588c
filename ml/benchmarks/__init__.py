"""What a training or inference pipeline costs: time, latency, throughput, CPU, memory, energy, power, in one database.

::

    with Benchmark("benchmarks.db", description="digits, batch size 64") as benchmark:

        @BenchmarkSupervisor([TimeMetric("epoch"), CPUMetric("epoch"), MemoryMetric("epoch")], benchmark)
        def train_epoch(): ...

    open_benchmark("benchmarks.db").to_pandas()
"""

from typing import TYPE_CHECKING

from ml.core.lazy import loaded_on_use

if TYPE_CHECKING:
    from ml.benchmarks.confusion import confusion_matrix
    from ml.benchmarks.cpu import CPUMetric
    from ml.benchmarks.database import Benchmark
    from ml.benchmarks.energy import EnergyMetric, PowerMetric
    from ml.benchmarks.gpu import GPUMemoryMetric, GPUMetric, GPUPowerMetric, GPUTimeMetric
    from ml.benchmarks.measurement import Measurement, Sample
    from ml.benchmarks.memory import MemoryMetric
    from ml.benchmarks.merging import merge
    from ml.benchmarks.metric import Finding, Metric, Probe
    from ml.benchmarks.reading import Benchmarks, open_benchmark
    from ml.benchmarks.supervisor import BenchmarkSupervisor
    from ml.benchmarks.time_metrics import LatencyMetric, ThroughputMetric, TimeMetric
    from ml.benchmarks.trackers import (
        ConfusionMatrixTracker,
        HyperparameterTracker,
        LossTracker,
        TimedTTATracker,
        TTATracker,
    )

_HOMES = {
    "ml.benchmarks.confusion": ("confusion_matrix",),
    "ml.benchmarks.cpu": ("CPUMetric",),
    "ml.benchmarks.database": ("Benchmark",),
    "ml.benchmarks.energy": ("EnergyMetric", "PowerMetric"),
    "ml.benchmarks.gpu": ("GPUMemoryMetric", "GPUMetric", "GPUPowerMetric", "GPUTimeMetric"),
    "ml.benchmarks.measurement": ("Measurement", "Sample"),
    "ml.benchmarks.memory": ("MemoryMetric",),
    "ml.benchmarks.merging": ("merge",),
    "ml.benchmarks.metric": ("Finding", "Metric", "Probe"),
    "ml.benchmarks.reading": ("Benchmarks", "open_benchmark"),
    "ml.benchmarks.supervisor": ("BenchmarkSupervisor",),
    "ml.benchmarks.time_metrics": ("LatencyMetric", "ThroughputMetric", "TimeMetric"),
    "ml.benchmarks.trackers": (
        "ConfusionMatrixTracker",
        "HyperparameterTracker",
        "LossTracker",
        "TTATracker",
        "TimedTTATracker",
    ),
}

__all__ = [
    "Benchmark",
    "BenchmarkSupervisor",
    "Benchmarks",
    "CPUMetric",
    "ConfusionMatrixTracker",
    "EnergyMetric",
    "Finding",
    "GPUMemoryMetric",
    "GPUMetric",
    "GPUPowerMetric",
    "GPUTimeMetric",
    "HyperparameterTracker",
    "LatencyMetric",
    "LossTracker",
    "Measurement",
    "MemoryMetric",
    "Metric",
    "PowerMetric",
    "Probe",
    "Sample",
    "TTATracker",
    "ThroughputMetric",
    "TimeMetric",
    "TimedTTATracker",
    "confusion_matrix",
    "merge",
    "open_benchmark",
]

__getattr__ = loaded_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
