"""Energy and power: exact joules of a made-up powercap tree, and never a number without a source."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from ml.benchmarks import Benchmark, BenchmarkSupervisor, EnergyMetric, PowerMetric, open_benchmark
from ml.benchmarks.energy import Ladder, PowerProbe, Sources
from ml.benchmarks.estimate import CpuMeter
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.nvml import Nvml
from ml.core.errors import ConfigError
from ml.testing import FakeClock
from tests.benchmarks.fake_nvml import FakeGpu, FakeNvml
from tests.benchmarks.powercap import Powercap

RANGE_UJ = 262_143_328_850
NO_GPU = Nvml(FakeNvml([]))


@pytest.fixture
def powercap(tmp_path) -> Iterator[Powercap]:
    """A tree of a package with its memory."""
    with Powercap(tmp_path / "powercap") as tree:
        tree.zone("intel-rapl:0", "package-0", range_uj=RANGE_UJ, energy_uj=RANGE_UJ - 1_000_000)
        tree.zone("intel-rapl:0:0", "core")
        tree.zone("intel-rapl:0:1", "dram", range_uj=65_712_999_613)
        yield tree


def ended(probe: Probe, duration_s: float = 1.0) -> Sequence[Finding]:
    """What a probe finds, as the supervisor asks it."""
    probe.sample(duration_s)
    return probe.end(duration_s)


def measured(metric: Metric, tmp_path, function) -> list:
    """What one call gives, out of the database."""
    with Benchmark(tmp_path / "benchmarks.db") as benchmark:
        BenchmarkSupervisor([metric], benchmark)(function)()
    with open_benchmark(tmp_path / "benchmarks.db") as read:
        return list(read.measurements())


# joules


def test_energy_over_a_wrap_around_is_in_the_database_to_the_microjoule(powercap, tmp_path):
    def train() -> None:
        for _ in range(3):
            powercap.add("intel-rapl:0", 1_234_567)  # the first one is past the range
            powercap.add("intel-rapl:0:0", 1_000_000)
            powercap.add("intel-rapl:0:1", 89_000)

    metric = EnergyMetric("training", root=powercap.root, nvml=NO_GPU)

    rows = measured(metric, tmp_path, train)

    assert [(row.type, row.value, row.unit, row.source) for row in rows] == [
        ("energy", 3.970701, "J", "rapl"),
        ("energy/package-0", 3.703701, "J", "rapl"),
        ("energy/package-0/dram", 0.267, "J", "rapl"),
    ]
    assert int((powercap.root / "intel-rapl:0" / "energy_uj").read_text()) == 3 * 1_234_567 - 1_000_000


def test_a_call_is_sampled_twice_before_its_counters_can_be_full(powercap):
    probe = EnergyMetric("training", root=powercap.root, nvml=NO_GPU).begin()

    assert probe.interval_s == 65_712.999613 / 2000 / 2


def test_a_call_in_which_a_counter_is_full_many_times_is_counted_in_full(powercap):
    probe = EnergyMetric("training", root=powercap.root, nvml=NO_GPU).begin()

    for at_s in range(20):
        powercap.add("intel-rapl:0", 200_000_000_001)
        probe.sample(float(at_s))

    assert ended(probe)[0].value == 20 * 200_000.000001


def test_a_range_that_is_absurdly_short_makes_no_sampler_spin(powercap):
    powercap.zone("intel-rapl:0", "package-0", range_uj=1000)

    assert EnergyMetric("training", root=powercap.root, nvml=NO_GPU).begin().interval_s == 0.1


def test_calls_that_nest_each_have_their_own_energy(powercap):
    metric = EnergyMetric("training", root=powercap.root, nvml=NO_GPU)

    outer = metric.begin()
    powercap.add("intel-rapl:0", 1_000_000)
    inner = metric.begin()
    powercap.add("intel-rapl:0", 2_000_000)

    assert ended(inner)[0].value == 2.0
    assert ended(outer)[0].value == 3.0


def test_a_machine_wide_value_says_that_it_is_one(powercap):
    """The ancestor shows what the whole machine takes as what the process takes."""
    probe = EnergyMetric("training", root=powercap.root, nvml=NO_GPU).begin()
    powercap.add("intel-rapl:0", 1)
    powercap.add("intel-rapl:0:1", 1)

    assert ended(probe)[0].reason == "the whole machine: package-0, package-0/dram"


def test_a_domain_that_vanishes_during_a_call_is_told_with_the_sum(powercap):
    probe = EnergyMetric("training", root=powercap.root, nvml=NO_GPU).begin()
    powercap.add("intel-rapl:0", 5_000_000)
    probe.sample(0.5)
    powercap.add("intel-rapl:0:1", 2_000_000)
    powercap.remove("intel-rapl:0")

    total, package, dram = ended(probe)

    assert (total.value, package.value, dram.value) == (7.0, 5.0, 2.0)
    assert "package-0: vanished" in total.reason


# watts


def test_power_is_energy_by_time_and_the_series_is_that_of_each_interval(powercap):
    clock = FakeClock()
    probe = PowerMetric("training", 2, root=powercap.root, nvml=NO_GPU, clock=clock).begin()
    for joules in (100, 60, 20):
        powercap.add("intel-rapl:0", joules * 10**6)
        clock.advance(2.0)
        probe.sample(10 + clock())

    (found,) = probe.end(6.0)

    assert (found.value, found.source) == (30.0, "rapl")
    assert list(found.samples) == [(12.0, 50.0), (14.0, 30.0), (16.0, 10.0)]


def test_a_short_call_has_one_point_and_the_end_of_a_long_one_none_of_its_own(powercap):
    clock = FakeClock()
    metric = PowerMetric("training", root=powercap.root, nvml=NO_GPU, clock=clock)
    short = metric.begin()
    powercap.add("intel-rapl:0", 10**6)
    clock.advance(0.1)
    short.sample(0.1)
    long = metric.begin()
    for seconds in (1.0, 0.001):
        powercap.add("intel-rapl:0", 5 * 10**6)
        clock.advance(seconds)
        long.sample(clock())

    assert list(short.end(0.1)[0].samples) == [(0.1, 10.0)]
    assert list(long.end(1.001)[0].samples) == [(1.1, 5.0)]
    assert long.end(1.001)[0].value == 10 / 1.001


def test_power_is_sampled_at_its_interval_or_as_often_as_the_counters_need(powercap):
    assert PowerMetric("training", 3, root=powercap.root, nvml=NO_GPU).begin().interval_s == 3.0
    assert PowerMetric("training", 3600, root=powercap.root, nvml=NO_GPU).begin().interval_s == 65_712.999613 / 2000 / 2


def test_an_interval_in_which_nothing_moved_is_no_zero_but_part_of_the_next(powercap):
    clock = FakeClock()
    probe = PowerMetric("training", root=powercap.root, nvml=NO_GPU, clock=clock).begin()
    for joules in (4, 0, 6):
        powercap.add("intel-rapl:0", joules * 10**6)
        clock.advance(1.0)
        probe.sample(clock())

    assert list(probe.end(3.0)[0].samples) == [(1.0, 4.0), (3.0, 3.0)]


# the ladder


def test_processors_and_gpus_are_added_up(powercap):
    gpus = [FakeGpu(energy_mj=5_000), FakeGpu(energy_mj=9_000)]
    probe = EnergyMetric("training", root=powercap.root, nvml=Nvml(FakeNvml(gpus))).begin()

    powercap.add("intel-rapl:0", 1_000_000)
    gpus[0].energy_mj += 2_500
    gpus[1].energy_mj += 10
    total, *parts = ended(probe)

    assert (total.value, total.source) == (3.51, "rapl+nvml")
    assert total.reason.startswith("the whole machine: package-0")
    assert total.reason.endswith("whole GPUs: gpu-0, gpu-1")
    assert [(part.type, part.value, part.source) for part in parts] == [
        ("energy/package-0", 1.0, "rapl"),
        ("energy/package-0/dram", None, "unavailable"),
        ("energy/gpu-0", 2.5, "nvml"),
        ("energy/gpu-1", 0.01, "nvml"),
    ]


def test_gpus_alone_are_not_taken_for_the_whole_machine(tmp_path):
    gpu = FakeGpu(energy_mj=5_000)
    probe = EnergyMetric("training", root=tmp_path / "none", nvml=Nvml(FakeNvml([gpu]))).begin()

    gpu.energy_mj += 4_000
    total = ended(probe)[0]

    assert (total.value, total.source) == (4.0, "nvml")
    assert total.reason.startswith("whole GPUs: gpu-0; no rapl: ")


def test_without_counters_a_stated_tdp_gives_an_estimate_that_says_so(tmp_path):
    def busy() -> None:
        until_s = time.process_time() + 0.2
        while time.process_time() < until_s:
            pass

    rows = measured(EnergyMetric("work", root=tmp_path / "none", tdp_w=100, nvml=NO_GPU), tmp_path, busy)

    assert [row.source for row in rows] == ["estimated"]
    assert rows[0].value > 0
    assert "CPU time" in rows[0].reason
    assert "at 100 W" in rows[0].reason
    assert "does not exist" in rows[0].reason


def test_the_estimate_is_cpu_time_by_the_share_of_a_processor():
    spent_s = iter([10.0, 10.0, 14.0])
    meter = CpuMeter(60.0, lambda: next(spent_s), processors=8)
    ladder = Ladder([], meter, 1.0)

    ladder.read()
    assert ladder.energy().source == "unavailable"
    ladder.read()

    assert ladder.energy().joules == 4.0 * 60 / 8
    assert ladder.energy().source == "estimated"


def test_the_estimate_has_the_children(tmp_path):
    program = "import time\nwhile time.process_time() < 0.3: pass"
    ladder = Sources(tmp_path / "none", 100.0, NO_GPU).begin()
    assert ladder.estimate is not None

    subprocess.run([sys.executable, "-c", program], check=True)
    ladder.read()

    assert ladder.taken_uj() / 1e6 >= 0.3 * 100 / ladder.estimate.processors


def test_what_is_measured_goes_before_an_estimate(powercap):
    probe = EnergyMetric("training", root=powercap.root, tdp_w=100, nvml=NO_GPU).begin()
    powercap.add("intel-rapl:0", 1_000_000)

    assert ended(probe)[0][:2] == (1.0, "rapl")


@pytest.mark.parametrize("metric", [EnergyMetric, PowerMetric])
def test_without_counters_and_a_tdp_there_is_no_value_and_a_reason(metric, tmp_path):
    rows = measured(metric("work", root=tmp_path / "none", nvml=NO_GPU), tmp_path, lambda: None)

    assert [(row.value, row.source) for row in rows] == [(None, "unavailable")]
    assert rows[0].reason.startswith(f"no rapl: {tmp_path}/none does not exist")


@pytest.mark.parametrize("metric", [EnergyMetric, PowerMetric])
def test_counters_that_do_not_move_give_no_zero(metric, powercap):
    total = ended(metric("work", root=powercap.root, nvml=NO_GPU).begin())[0]

    assert (total.value, total.source) == (None, "unavailable")
    assert "did not move" in total.reason


def test_counters_that_stand_still_for_good_give_way_to_the_estimate(powercap):
    """As some virtual machines have them."""
    total = ended(EnergyMetric("work", root=powercap.root, tdp_w=100, nvml=NO_GPU).begin())[0]

    assert total.value > 0
    assert total.source == "estimated"
    assert "did not move" in total.reason


def test_this_machine_has_a_value_with_a_source_or_none_with_a_reason(tmp_path):
    for row in measured(EnergyMetric("work"), tmp_path, lambda: sum(range(10**6))):
        assert (row.value is None) == (row.source == "unavailable")
        assert row.value is None or row.value > 0
        assert row.reason or row.type != "energy"


def test_from_an_estimate_to_a_measurement_the_series_goes_on_without_a_jump():
    class Meter(CpuMeter):
        source = "rapl"

    estimated_s, measured_s = iter([0.0, 5.0, 6.0, 7.0]), iter([0.0, 0.0, 1.0, 2.0])
    clock = FakeClock()
    ladder = Ladder(
        [Meter(1.0, lambda: next(measured_s), processors=1)],
        CpuMeter(1.0, lambda: next(estimated_s), processors=1),
        1.0,
    )
    probe = PowerProbe(ladder, 1.0, clock)
    for _ in range(3):
        clock.advance(1.0)
        probe.sample(clock())

    assert [(sample.at_s, sample.value) for sample in probe.end(3.0)[0].samples] == [(1.0, 5.0), (3.0, 1.0)]
    assert all(earlier.at_s < later.at_s for earlier, later in pairwise(probe.series))


# the ancestor's defects


@pytest.mark.parametrize("metric", [EnergyMetric, PowerMetric])
@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_machine_without_usable_counters_does_not_keep_the_function_from_running(metric, content, tmp_path):
    """On AMD or a virtual machine the ancestor raises before the function runs."""
    root = tmp_path / "powercap"
    if content is not None:
        (root / "intel-rapl:0").mkdir(parents=True)
        for name in ("name", "energy_uj", "max_energy_range_uj"):
            (root / "intel-rapl:0" / name).write_text(content)
    ran: list[bool] = []

    rows = measured(metric("work", root=root, nvml=NO_GPU), tmp_path, lambda: ran.append(True))

    assert ran == [True]
    assert rows[0].source == "unavailable"
    assert rows[0].reason


def test_absent_counters_are_asked_at_the_interval_and_not_in_a_loop(tmp_path):
    """The ancestor's PowerMetric spins where the files are absent, on the very machine that is measured."""
    probe = PowerMetric("work", 5, root=tmp_path / "none", nvml=NO_GPU).begin()

    assert probe.interval_s == 5.0


@pytest.mark.parametrize("tdp_w", [0, -5, float("nan"), float("inf"), True, "65"])
def test_a_tdp_that_is_no_power_is_found_at_the_start(tdp_w):
    with pytest.raises(ConfigError, match="tdp_w"):
        EnergyMetric("work", tdp_w=tdp_w)


@pytest.mark.parametrize("interval", [0, -1, float("nan"), None])
def test_an_interval_that_is_none_is_found_at_the_start(interval):
    with pytest.raises(ConfigError, match="interval"):
        PowerMetric("work", interval)
