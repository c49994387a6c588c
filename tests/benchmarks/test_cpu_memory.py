"""CPU and memory: the arithmetic on readings that the test makes up, and the readings on real processes."""

import subprocess
import sys
import time

import pytest

from ml.benchmarks.cpu import CPUMetric, CPUProbe, FamilyCPU
from ml.benchmarks.memory import MIB, MemoryMetric, MemoryProbe, Readers
from ml.benchmarks.supervisor import BenchmarkSupervisor
from ml.core.errors import ConfigError
from ml.io.process import Family, ThisProcess
from ml.testing import FakeClock
from tests.benchmarks.recorder import ListRecorder

BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"


class Burner:
    """A process that burns CPU time: so much for every wall second of a fake clock."""

    def __init__(self) -> None:
        self.clock = FakeClock(50.0)
        self.cpu_s = 1000.0

    def run(self, seconds: float, cores: float) -> None:
        self.clock.advance(seconds)
        self.cpu_s += seconds * cores

    def probe(self, interval_s: float = 1.0) -> CPUProbe:
        return CPUProbe(interval_s, "process", lambda: self.cpu_s, self.clock)


def test_cpu_is_cpu_time_over_wall_time_in_percent_of_one_core():
    burner = Burner()
    probe = burner.probe()
    burner.run(3.0, 1.5)
    probe.sample(3.0)

    (found,) = probe.end(3.0)
    assert found.value == pytest.approx(150.0)
    assert (found.source, [tuple(sample) for sample in found.samples]) == ("process", [(3.0, pytest.approx(150.0))])


def test_the_mean_is_of_time_and_not_of_samples():
    burner = Burner()
    probe = burner.probe()
    burner.run(1.0, 2.0)
    probe.sample(1.0)
    burner.run(0.5, 0.0)
    probe.sample(1.5)

    (found,) = probe.end(1.5)
    assert found.value == pytest.approx(100 * 2.0 / 1.5)
    assert [sample.value for sample in found.samples] == pytest.approx([200.0, 0.0])


def test_the_first_samples_are_kept():
    burner = Burner()
    probe = burner.probe()
    for number in range(1, 4):
        burner.run(1.0, number)
        probe.sample(float(number))

    (found,) = probe.end(3.0)
    assert [sample.value for sample in found.samples] == pytest.approx([100.0, 200.0, 300.0])


def test_a_last_sample_right_after_another_counts_for_the_value_and_is_no_point():
    burner = Burner()
    probe = burner.probe()
    burner.run(1.0, 1.0)
    probe.sample(1.0)
    burner.run(0.001, 1000.0)
    probe.sample(1.001)

    (found,) = probe.end(1.001)
    assert len(found.samples) == 1
    assert found.value == pytest.approx(100 * 2.0 / 1.001)


def test_a_call_shorter_than_the_clock_has_no_value():
    probe = Burner().probe()
    probe.sample(0.0)

    (found,) = probe.end(0.0)
    assert found.value is None
    assert "shorter" in found.reason


@pytest.mark.parametrize("of", ["process", "tree"])
def test_a_busy_call_has_the_cpu_time_that_it_used(of):
    recorder = ListRecorder(FakeClock())
    metric = CPUMetric("cpu", of=of)
    start_s = time.monotonic()
    with BenchmarkSupervisor([metric], recorder).measure("busy"):
        end_s = time.process_time() + 0.1
        while time.process_time() < end_s:
            pass
    passed_s = time.monotonic() - start_s

    (row,) = recorder.rows
    assert (row.source, row.unit) == (of, "%")
    assert row.value >= 100 * 0.1 / passed_s  # the call is shorter


@pytest.mark.parametrize(("of", "includes"), [("process", False), ("tree", True), ("children", True)])
def test_the_cpu_time_of_a_child_that_came_and_went_counts_for_the_tree(of, includes):
    recorder = ListRecorder(FakeClock())
    start_s = time.monotonic()
    with BenchmarkSupervisor([CPUMetric("cpu", of=of)], recorder).measure("child"):
        subprocess.run([sys.executable, "-c", BURN.format(seconds=0.5)], check=True)
    passed_s = time.monotonic() - start_s  # at least what the call took

    assert (recorder.rows[0].value * passed_s / 100 >= 0.48) == includes


def test_a_child_that_is_seen_while_it_runs_was_not_there_before():
    cpu = FamilyCPU(Family(), with_parent=False)
    code = BURN.format(seconds=0.2) + "\nimport sys; print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    cpu._family.find()  # as the sampler does
    seen_s = cpu()
    child.communicate()

    assert seen_s >= 0.18
    assert cpu() >= seen_s


def test_what_a_child_used_before_the_call_does_not_count_even_when_it_ends_in_it():
    code = BURN.format(seconds=0.3) + "\nimport sys; print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    family = Family()
    family.find()
    cpu = FamilyCPU(family, with_parent=False)
    first_s = cpu()
    child.communicate()

    assert first_s == pytest.approx(0.0, abs=0.05)
    assert cpu() == pytest.approx(0.0, abs=0.15)  # what ending took


@pytest.mark.parametrize("of", ["system", "cgroup"])
def test_the_whole_system_and_the_control_group_are_read(of):
    recorder = ListRecorder(FakeClock())
    metrics = [CPUMetric("cpu", of=of), MemoryMetric("memory", of=of)]
    with BenchmarkSupervisor(metrics, recorder).measure("busy"):
        sum(range(300_000))

    for row in recorder.rows:
        # Where there is no control group that counts, that is said.
        assert row.value is not None or (of == "cgroup" and "control group" in row.reason)


# memory


class Held:
    """Memory that a test holds in its hand, in MiB."""

    def __init__(self, now: float, peak: float | None) -> None:
        self.now, self.peak = now, peak

    def probe(self) -> MemoryProbe:
        return MemoryProbe(
            1.0,
            "process",
            Readers(lambda: int(self.now * MIB), lambda: None if self.peak is None else int(self.peak * MIB)),
        )


def test_memory_is_the_highest_sample_and_growth_how_much_that_is_above_the_first_reading():
    held = Held(100.0, None)
    probe = held.probe()
    for at_s, now in enumerate((150.0, 400.0, 120.0)):
        held.now = now
        probe.sample(float(at_s))

    peak, growth = probe.end(3.0)
    assert (peak.value, growth.value, growth.type) == (400.0, 300.0, "memory_growth")
    assert [sample.value for sample in peak.samples] == [150.0, 400.0, 120.0]


def test_a_peak_between_two_samples_is_seen_where_the_system_keeps_it():
    held = Held(100.0, 180.0)
    probe = held.probe()
    held.peak = 500.0
    probe.sample(1.0)

    assert [found.value for found in probe.end(1.0)] == [500.0, 400.0]


def test_a_peak_of_before_the_call_says_nothing():
    held = Held(100.0, 500.0)
    probe = held.probe()
    held.now = 130.0
    probe.sample(1.0)

    assert [found.value for found in probe.end(1.0)] == [130.0, 30.0]


def test_memory_that_shrinks_has_not_grown():
    held = Held(100.0, None)
    probe = held.probe()
    held.now = 40.0
    probe.sample(1.0)

    assert [found.value for found in probe.end(1.0)] == [100.0, 0.0]


def test_memory_that_was_freed_before_the_call_returned_is_seen():
    process, recorder = ThisProcess(), ListRecorder(FakeClock())
    above_any_peak = process.peak_rss_bytes() - process.rss_bytes() + 50 * MIB
    with BenchmarkSupervisor([MemoryMetric("memory", interval=1000)], recorder).measure("load"):
        block = bytearray(above_any_peak)
        del block

    peak, growth = recorder.rows
    assert (peak.source, peak.unit, growth.type) == ("process", "MiB", "memory_growth")
    assert growth.value == pytest.approx(above_any_peak / MIB, abs=5)
    assert peak.samples[-1].value < peak.value - 40


@pytest.mark.parametrize("kind", ["uss", "pss"])
def test_other_kinds_of_memory_are_read(kind):
    recorder, before = ListRecorder(FakeClock()), ThisProcess().memory_bytes(kind)
    with BenchmarkSupervisor([MemoryMetric("memory", kind=kind)], recorder).measure("load"):
        pass

    assert recorder.rows[0].value == pytest.approx(before / MIB, abs=20)
    assert recorder.rows[0].source == f"process {kind}"


def test_the_memory_of_a_tree_has_that_of_children():
    before = MemoryMetric("before", of="children").begin().end(0.0)[0].value or 0.0  # servers of other tests
    code = "import sys; block = bytearray(80 << 20); print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    recorder = ListRecorder(FakeClock())
    metrics = [MemoryMetric(of, of=of) for of in ("process", "tree", "children")]  # children are found here
    with BenchmarkSupervisor(metrics, recorder).measure("nothing"):
        pass
    child.communicate()

    process, tree, children = (row.value for row in recorder.rows if row.type == "memory")
    assert 80 < children - before < 200
    assert tree == pytest.approx(process + children, abs=10)


@pytest.mark.parametrize("metric", [CPUMetric, MemoryMetric])
@pytest.mark.parametrize("settings", [{"of": "host"}, {"interval": 0}, {"interval": -1}, {"interval": float("nan")}])
def test_a_metric_that_cannot_be_is_refused(metric, settings):
    with pytest.raises(ConfigError, match=metric.__name__):
        metric("d", **settings)


@pytest.mark.parametrize(
    "settings", [{"kind": "vms"}, {"kind": "uss", "of": "system"}, {"kind": "pss", "of": "cgroup"}]
)
def test_a_kind_of_memory_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match="kind="):
        MemoryMetric("d", **settings)


@pytest.mark.parametrize("metric", [CPUMetric, MemoryMetric])
def test_the_interval_is_the_second_argument_as_it_was(metric):
    assert metric("d").interval_s == 1.0
    assert metric("d", 5).interval_s == 5.0


def test_children_that_were_never_seen_have_no_memory_and_not_none():
    (finding,) = MemoryProbe(1.0, "children", Readers(lambda: 0, lambda: None)).end(0.1)

    assert (finding.value, finding.source) == (None, "unavailable")
    assert "a smaller interval" in finding.reason
