"""GPUs: read from made-up devices, and from real ones where there are some; without one, a notice and no value."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from ml.benchmarks import (
    GPUMemoryMetric,
    GPUMetric,
    GPUPowerMetric,
    GPUTimeMetric,
    open_benchmark,
)
from ml.benchmarks.metric import Finding, Metric
from ml.benchmarks.nvml import GpuMeter, Nvml, UnreadableError, open_nvml
from ml.core.errors import ConfigError
from tests.benchmarks.fake_nvml import FakeGpu, FakeNvml

ME = os.getpid()
READING = [GPUMetric, GPUMemoryMetric, GPUPowerMetric]


def found(metric: Metric, *, samples: int = 1) -> Finding:
    probe = metric.begin()
    if probe.interval_s is not None:
        for at_s in range(samples):
            probe.sample(float(at_s))
    (finding,) = probe.end(1.0)
    return finding


def nvml(*gpus: FakeGpu, instances: Sequence[FakeGpu] = (), visible: str | None = None) -> Nvml:
    return Nvml(FakeNvml(gpus, instances), visible)


# what is read


def test_utilization_is_the_mean_of_the_readings_and_they_are_the_series():
    gpu = FakeGpu(utilization=20)
    probe = GPUMetric("training", 0.5, nvml=nvml(gpu)).begin()
    for at_s, gpu.utilization in ((0.5, 20), (1.0, 100), (1.5, 60)):
        probe.sample(at_s)

    (finding,) = probe.end(1.5)

    assert (finding.value, finding.source, finding.reason) == (60.0, "nvml", "")
    assert list(finding.samples) == [(0.5, 20.0), (1.0, 100.0), (1.5, 60.0)]
    assert probe.interval_s == 0.5


def test_power_is_in_watts():
    assert found(GPUPowerMetric("training", nvml=nvml(FakeGpu(power_mw=312_500))))[:2] == (312.5, "nvml")


def test_memory_is_the_highest_share_of_this_process():
    gpu = FakeGpu(memory_mib=9000, processes_mib={ME: 100, 1: 8000})
    probe = GPUMemoryMetric("training", nvml=nvml(gpu)).begin()
    for at_s, gpu.processes_mib[ME] in enumerate((100, 700, 300)):
        probe.sample(float(at_s))

    (finding,) = probe.end(3.0)

    assert (finding.value, finding.source, finding.reason) == (700.0, "nvml", "")
    assert [sample.value for sample in finding.samples] == [100.0, 700.0, 300.0]


def test_a_process_takes_nothing_before_it_first_uses_the_gpu():
    gpu = FakeGpu(memory_mib=9000, processes_mib={1: 8000})
    probe = GPUMemoryMetric("training", nvml=nvml(gpu)).begin()
    probe.sample(0.0)
    gpu.processes_mib[ME] = 500
    probe.sample(1.0)

    assert [sample.value for sample in probe.end(2.0)[0].samples] == [0.0, 500.0]


def test_a_process_takes_nothing_after_it_last_used_the_gpu():
    gpu = FakeGpu(memory_mib=9000, processes_mib={ME: 500, 1: 8000})
    probe = GPUMemoryMetric("training", nvml=nvml(gpu)).begin()
    probe.sample(0.0)
    del gpu.processes_mib[ME]
    probe.sample(1.0)

    assert [sample.value for sample in probe.end(2.0)[0].samples] == [500.0, 0.0]


def test_memory_of_children_belongs_to_the_process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        gpu = FakeGpu(memory_mib=9000, processes_mib={ME: 100, child.pid: 50, 1: 8000})

        assert found(GPUMemoryMetric("training", nvml=nvml(gpu))).value == 150.0
        child.communicate(b"\n")


def test_a_process_that_computes_and_draws_is_counted_once():
    gpu = FakeGpu(memory_mib=9000, processes_mib={ME: 100}, drawing_mib={ME: 100})

    assert found(GPUMemoryMetric("training", nvml=nvml(gpu))).value == 100.0


@pytest.mark.parametrize("processes_mib", [{}, {1: 8000}, {ME: None}])
def test_where_a_process_is_not_listed_memory_is_that_of_the_device_and_says_so(processes_mib):
    finding = found(GPUMemoryMetric("training", nvml=nvml(FakeGpu(memory_mib=9000, processes_mib=processes_mib))))

    assert (finding.value, finding.source) == (9000.0, "nvml")
    assert "of the whole device" in finding.reason


def test_what_a_device_does_not_tell_is_unavailable_with_the_reason():
    device = nvml(FakeGpu(utilization=None, memory_mib=None, power_mw=None))

    for metric in READING:
        finding = found(metric("training", nvml=device), samples=3)
        assert (finding.value, finding.source) == (None, "unavailable")
        assert finding.reason == "gpu-0: NVML says 'Not Supported'"


@pytest.mark.parametrize("metric", READING)
def test_a_device_that_is_lost_keeps_what_was_read(metric):
    gpu = FakeGpu(utilization=50, memory_mib=50, power_mw=50_000, processes_mib={ME: 50})
    probe = metric("training", nvml=nvml(gpu)).begin()
    probe.sample(0.0)
    gpu.lost = True
    probe.sample(1.0)

    (finding,) = probe.end(2.0)

    assert (finding.value, finding.source) == (50.0, "nvml")
    assert "GPU is lost" in finding.reason


# which device


def test_a_device_is_chosen_by_number_and_by_uuid():
    gpus = nvml(FakeGpu(power_mw=1000, uuid="GPU-aa11"), FakeGpu(power_mw=2000, uuid="GPU-bb22"))

    assert found(GPUPowerMetric("training", id=1, nvml=gpus)).value == 2.0
    assert found(GPUPowerMetric("training", id="GPU-aa11", nvml=gpus)).value == 1.0
    assert found(GPUPowerMetric("training", 1, 1, nvml=gpus)).value == 2.0


@pytest.mark.parametrize(
    ("visible", "labels"),
    [
        (None, ["gpu-0", "gpu-1", "gpu-2"]),
        ("2,0", ["gpu-2", "gpu-0"]),
        (" 1 , GPU-cc33 ", ["gpu-1", "gpu-2"]),
        ("GPU-b", ["gpu-1"]),
        ("1,-1,0", ["gpu-1"]),
        ("NoDevFiles", []),
        ("", []),
    ],
)
def test_devices_are_counted_as_cuda_counts_them(visible, labels):
    gpus = nvml(*(FakeGpu(uuid=uuid) for uuid in ("GPU-aa11", "GPU-bb22", "GPU-cc33")), visible=visible)

    assert [gpus.device(number).label for number in range(len(labels))] == labels
    with pytest.raises(UnreadableError, match=f"There is no GPU {len(labels)}: this process has {len(labels)}"):
        gpus.device(len(labels))


@pytest.mark.parametrize("id", [-1, 1.5, True, None, ""])
def test_an_id_that_is_none_is_found_at_the_start(id):
    with pytest.raises(ConfigError, match="'id' must be the number of a GPU"):
        GPUMetric("training", id=id, nvml=nvml())


def test_an_interval_that_is_none_is_found_at_the_start():
    with pytest.raises(ConfigError, match="interval"):
        GPUMetric("training", 0, nvml=nvml())


# instances (MIG)


def test_an_instance_has_memory_of_its_own_and_the_power_of_the_whole():
    whole = FakeGpu(power_mw=400_000, memory_mib=70_000, divided=True, utilization=None)
    instance = FakeGpu(
        uuid="MIG-1", parent=whole, memory_mib=5_000, utilization=None, power_mw=None, processes_mib={ME: 4_000}
    )
    gpus = nvml(whole, instances=[instance], visible="MIG-1")

    memory, power, busy = (
        found(metric("training", nvml=gpus)) for metric in (GPUMemoryMetric, GPUPowerMetric, GPUMetric)
    )

    assert (memory.value, memory.reason) == (4_000.0, "")
    assert power.value == 400.0
    assert power.reason.startswith("of the whole GPU: an instance (MIG)")
    assert (busy.value, busy.source) == (None, "unavailable")
    assert "MIG" in busy.reason


def test_a_divided_device_says_how_to_ask_for_an_instance():
    finding = found(GPUMemoryMetric("training", nvml=nvml(FakeGpu(memory_mib=70_000, divided=True))))

    assert finding.value == 70_000.0
    assert "the UUID of an instance" in finding.reason


def test_two_instances_of_a_device_count_its_energy_once():
    whole = FakeGpu(energy_mj=1_000, divided=True)
    instances = [FakeGpu(uuid=f"MIG-{name}", parent=whole) for name in "ab"]
    meter = GpuMeter(nvml(whole, instances=instances, visible="MIG-a,MIG-b"))

    whole.energy_mj = 1_500
    meter.read()

    assert [(counter.label, counter.total_uj) for counter in meter.counters()] == [("gpu-0", 500_000)]


# energy


def test_only_devices_that_the_process_may_use_are_counted():
    gpus = [FakeGpu(energy_mj=1), FakeGpu(energy_mj=1)]
    meter = GpuMeter(nvml(*gpus, visible="1"))
    for gpu in gpus:
        gpu.energy_mj = 3
    meter.read()

    assert [(counter.label, counter.total_uj) for counter in meter.counters()] == [("gpu-1", 2_000)]


def test_a_driver_that_was_loaded_anew_makes_nothing_up():
    gpu = FakeGpu(energy_mj=10_000)
    meter = GpuMeter(nvml(gpu))
    gpu.energy_mj = 10
    meter.read()
    gpu.energy_mj = 30
    meter.read()

    assert meter.counters()[0].total_uj == 20_000
    assert "went back" in meter.counters()[0].notes


@pytest.mark.parametrize("gpu", [FakeGpu(energy_mj=None), FakeGpu(lost=True)])
def test_a_device_without_a_counter_is_told(gpu):
    meter = GpuMeter(nvml(gpu))
    meter.read()

    assert "NVML says" in meter.problem()


# without a GPU


def test_without_a_driver_there_is_one_notice_for_all_metrics_and_no_value(caplog):
    absent = Nvml(FakeNvml([], driver=False))

    findings = [found(metric("training", nvml=absent)) for metric in READING for _ in range(2)]

    assert {finding[:3] for finding in findings} == {
        (None, "unavailable", "No NVIDIA driver can be asked (Driver Not Loaded)")
    }
    assert caplog.messages == [
        "The GPU is not measured: No NVIDIA driver can be asked (Driver Not Loaded). Its values are 'unavailable'."
    ]


def test_without_the_library_the_notice_says_how_to_install_it(caplog):
    finding = found(GPUMetric("training", nvml=Nvml(None)))

    assert (finding.value, finding.source) == (None, "unavailable")
    assert "pip install 'ml-logbook[benchmarks]'" in finding.reason
    assert len(caplog.messages) == 1


def test_without_the_device_the_notice_has_how_many_there_are(caplog):
    gpus = nvml(FakeGpu(), FakeGpu(), visible="1")

    finding = found(GPUMetric("training", id=1, nvml=gpus))

    assert finding.reason == "There is no GPU 1: this process has 1 (CUDA_VISIBLE_DEVICES=1)"
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("functions", [(), ("nvmlInit",), ("nvmlInit", "nvmlDeviceGetCount")])
def test_an_old_library_without_a_function_is_no_error(functions):
    old = SimpleNamespace(**{name: lambda: 1 for name in functions})

    for metric in READING:
        finding = found(metric("training", nvml=Nvml(old)))
        assert (finding.value, finding.source) == (None, "unavailable")
        assert "has no attribute" in finding.reason
    assert not GpuMeter(Nvml(old)).counters() or "has no attribute" in GpuMeter(Nvml(old)).problem()


def test_nothing_is_imported_or_opened_until_a_metric_needs_it():
    program = (
        "import sys; import ml.benchmarks.gpu, ml.benchmarks.energy; "
        "assert not {'pynvml', 'torch'} & set(sys.modules), sorted(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_program_on_a_machine_without_a_gpu_gets_one_line_and_its_result(tmp_path):
    if _gpus():
        pytest.skip("this machine has a GPU")
    program = f"""
from ml.benchmarks import *
with Benchmark({str(tmp_path / "b.db")!r}) as benchmark:
    metrics = [kind("training") for kind in (GPUMetric, GPUMemoryMetric, GPUPowerMetric, GPUTimeMetric)]
    train = BenchmarkSupervisor(metrics, benchmark)(lambda: 42)
    assert [train(), train()] == [42, 42]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("The GPU is not measured") == 1
    assert len(done.stderr.splitlines()) == 1
    with open_benchmark(tmp_path / "b.db") as read:
        rows = list(read.measurements())
    assert len(rows) == 8
    assert all(row.value is None and row.source == "unavailable" and row.reason for row in rows)


# time


class FakeEvent:
    """An event of a stream whose clock the test moves."""

    def __init__(self, cuda: "FakeCuda") -> None:
        self.cuda, self.at_ms = cuda, -1.0

    def record(self, stream: object) -> None:
        self.cuda.done.append(f"record on {stream}")
        self.at_ms = self.cuda.now_ms

    def synchronize(self) -> None:
        self.cuda.done.append("synchronize")
        if self.cuda.error is not None:
            raise self.cuda.error

    def elapsed_time(self, end: "FakeEvent") -> float:
        return end.at_ms - self.at_ms


class FakeCuda:
    """``torch.cuda``, as far as it is used."""

    def __init__(self, *, initialized: bool = True) -> None:
        self.initialized, self.capturing = initialized, False
        self.now_ms, self.stream = 0.0, "stream 7"
        self.error: RuntimeError | None = None
        self.done: list[str] = []

    def is_initialized(self) -> bool:
        return self.initialized

    def is_current_stream_capturing(self) -> bool:
        return self.capturing

    def current_stream(self) -> object:
        return self.stream

    def Event(self, *, enable_timing: bool) -> FakeEvent:  # noqa: N802
        assert enable_timing
        return FakeEvent(self)


def test_gpu_time_is_between_two_events_of_the_stream_that_was_current_and_waits_once_at_the_end():
    cuda = FakeCuda()
    probe = GPUTimeMetric("training", cuda=cuda).begin()
    assert cuda.done == ["record on stream 7"]
    assert probe.interval_s is None

    cuda.now_ms, cuda.stream = 250.0, "another"
    (finding,) = probe.end(0.001)

    assert (finding.value, finding.source) == (0.25, "cuda")
    assert cuda.done == ["record on stream 7", "record on stream 7", "synchronize"]


def test_gpu_time_does_not_start_cuda():
    cuda = FakeCuda(initialized=False)

    finding = found(GPUTimeMetric("training", cuda=cuda))

    assert (finding.value, finding.source) == (None, "unavailable")
    assert "had not used CUDA" in finding.reason
    assert cuda.done == []


@pytest.mark.parametrize("when", ["at the beginning", "at the end"])
def test_gpu_time_never_waits_while_a_graph_is_recorded(when):
    cuda = FakeCuda()
    cuda.capturing = when == "at the beginning"
    probe = GPUTimeMetric("training", cuda=cuda).begin()
    cuda.capturing = True

    (finding,) = probe.end(1.0)

    assert finding.source == "unavailable"
    assert "graph" in finding.reason
    assert "synchronize" not in cuda.done


def test_a_kernel_that_failed_costs_the_value_alone():
    cuda = FakeCuda()
    probe = GPUTimeMetric("training", cuda=cuda).begin()
    cuda.error = RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    (finding,) = probe.end(1.0)

    assert (finding.value, finding.source) == (None, "unavailable")
    assert finding.reason == "CUDA says 'CUDA error: an illegal memory access was encountered'"


def test_on_a_cpu_gpu_time_is_unavailable():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")

    finding = found(GPUTimeMetric("training"))

    assert (finding.value, finding.source) == (None, "unavailable")
    assert "had not used CUDA" in finding.reason


# a real one


def _gpus() -> int:
    if importlib.util.find_spec("pynvml") is None:
        return 0
    return len(open_nvml().entries())


needs_gpu = pytest.mark.skipif(not _gpus(), reason="needs an NVIDIA GPU with its driver, and nvidia-ml-py")


@needs_gpu
def test_a_real_gpu_is_read():
    busy, memory, power = (found(metric("training")) for metric in READING)

    assert 0 <= busy.value <= 100
    assert memory.value >= 0
    assert power.value > 0


@needs_gpu
def test_a_real_gpu_counts_energy():
    meter = GpuMeter(open_nvml())
    while not meter.counters()[0].total_uj and not meter.counters()[0].notes:
        meter.read()

    assert meter.counters()[0].measured or meter.problem()


@needs_gpu
def test_the_time_of_a_real_gpu_is_at_least_that_of_its_sleep():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    torch.zeros(1, device="cuda")
    probe = GPUTimeMetric("training").begin()
    torch.cuda._sleep(10**8)  # clock ticks

    (finding,) = probe.end(1.0)

    assert finding.value > 0.01


@needs_gpu
def test_memory_of_a_real_gpu_grows_with_what_is_allocated():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    torch.zeros(1, device="cuda")
    before = found(GPUMemoryMetric("training"))
    kept = torch.zeros(200, 2**20, dtype=torch.uint8, device="cuda")

    assert found(GPUMemoryMetric("training")).value - before.value >= 190, kept.shape
