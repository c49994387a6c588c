"""The callback ``system`` and what it reads."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ml.benchmarks.config import SystemCallbackConfig
from ml.benchmarks.nvml import Nvml
from ml.benchmarks.system import SystemCallback
from ml.benchmarks.system_reader import Rates, SystemReader
from ml.core.errors import ConfigError
from ml.core.registry import CALLBACKS
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.process import ThisProcess
from ml.io.sampler import process_sampler
from ml.loggers import MultiLogger
from ml.testing import FakeClock
from tests.test_hydra import train
from tests.trainers.tiny import Training, tiny_config

ALWAYS = {
    "process_cpu_percent",
    "host_cpu_percent",
    "sampling_cpu_percent",
    "process_memory_mib",
    "process_children",
    "host_memory_mib",
    "host_network_receive_mib_s",
    "host_network_send_mib_s",
}


def callback(**settings: object) -> SystemCallback:
    return SystemCallback(SystemCallbackConfig("system", **settings))  # type: ignore[arg-type]


def wait_for_readings() -> None:
    """Returns when everything that is read every millisecond was read twice: what is due first is read first."""
    counted, done = [], threading.Event()

    def count() -> None:
        counted.append(True)
        if len(counted) == 5:
            done.set()

    subscription = process_sampler().subscribe(0.005, count)
    assert done.wait(30)
    subscription.stop()


class Waiting:
    """A callback that lets the sampler read during a step."""

    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def on_start(self, trainer) -> None: ...

    def on_step_end(self, trainer, state) -> None:
        if state.num_steps == self.at_step:
            wait_for_readings()

    def on_valid_end(self, trainer, state, metrics) -> None: ...

    def on_close(self, trainer) -> None: ...


def test_what_was_read_is_logged_with_the_step_that_ends_next_and_none_later(tmp_path):
    training = Training(tmp_path, tiny_config(), callbacks=[Waiting(4), callback(every_n_seconds=0.001)])

    logged = {entry.step: entry for entry in training.entries if entry.key == "process_memory_mib"}
    assert 4 in logged
    assert logged[4].namespace == "system"
    assert logged[4].phase == "train"
    keys = {entry.key for entry in training.entries if entry.namespace == "system" and entry.step == 4}
    assert keys >= ALWAYS
    assert not process_sampler()._subscriptions


def test_training_reads_nothing_itself():
    trainer = SimpleNamespace(logger=MultiLogger("trainer"), attempt=SimpleNamespace(context=RunContext(".")))
    system = callback(every_n_seconds=1e6)
    system.on_start(trainer)
    system.on_step_end(trainer, State(num_steps=1))
    system.on_close(trainer)
    system.on_close(trainer)

    assert len(trainer.logger) == 0


def test_ranks_that_write_nothing_read_nothing():
    context = RunContext(".", rank=1, world_size=2)
    trainer = SimpleNamespace(logger=MultiLogger("trainer"), attempt=SimpleNamespace(context=context))
    system = callback(every_n_seconds=0.001)
    system.on_start(trainer)

    assert not process_sampler()._subscriptions
    system.on_close(trainer)


@pytest.mark.parametrize("every_s", [0.0, -1.0, float("nan"), float("inf")])
def test_an_interval_that_cannot_be_is_refused(every_s):
    with pytest.raises(ConfigError, match="every_n_seconds must be above 0"):
        callback(every_n_seconds=every_s)


def test_it_is_built_by_its_name():
    assert isinstance(CALLBACKS.build({"name": "system", "every_n_seconds": 2.0}), SystemCallback)


def test_readings_have_units_and_are_those_of_this_process_and_machine():
    reader = SystemReader()
    end_s = ThisProcess.cpu_s() + 0.02
    while ThisProcess.cpu_s() < end_s:
        pass
    values = reader.read()

    assert values.keys() >= ALWAYS
    assert values["process_cpu_percent"] > 0
    assert 0 < values["host_memory_mib"] < psutil.virtual_memory().total / 2**20
    assert values["process_memory_mib"] >= 0.9 * ThisProcess().rss_bytes() / 2**20
    assert all(value >= 0 for value in values.values())


def test_children_are_part_of_the_process():
    code = "block = bytearray(60 << 20); print(flush=True); import sys; sys.stdin.read()"
    reader = SystemReader()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    found: list[dict[str, float]] = []
    read = threading.Event()

    def look() -> None:
        found.append(reader.read())
        read.set()

    subscription = process_sampler().subscribe(1e6, look, first_s=0.0)  # children are looked for on its thread
    assert read.wait(30)
    subscription.stop()
    child.communicate()

    assert found[0]["process_children"] >= 1
    assert found[0]["process_memory_mib"] > ThisProcess().rss_bytes() / 2**20 + 50


def test_a_total_that_grows_is_a_rate_and_one_that_falls_is_zero():
    clock = FakeClock()
    rates = Rates(clock)

    assert list(rates.of("a", 100.0, 2.0)) == []
    clock.advance(5.0)
    assert list(rates.of("a", 150.0, 2.0)) == [("a", 20.0)]
    assert list(rates.of("a", 160.0)) == []  # no time has passed
    clock.advance(5.0)
    assert list(rates.of("a", 20.0)) == [("a", 0.0)]


class Library:
    """Two devices; the second says nothing of its power."""

    NVMLError = RuntimeError

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetIndex(self, handle: int) -> int:  # noqa: N802
        return handle

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:  # noqa: N802
        return SimpleNamespace(gpu=90 - handle)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:  # noqa: N802
        return SimpleNamespace(used=(handle + 1) * 2**30)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle:
            raise RuntimeError("Not Supported")
        return 311_000


def test_every_gpu_is_read_and_what_it_does_not_tell_is_told_once(caplog):
    reader = SystemReader(Nvml(Library()))
    values = reader.read()
    reader.read()

    assert {name: value for name, value in values.items() if name.startswith("gpu")} == {
        "gpu0_percent": 90,
        "gpu0_memory_mib": 1024.0,
        "gpu0_power_w": 311.0,
        "gpu1_percent": 89,
        "gpu1_memory_mib": 2048.0,
    }
    assert [record.getMessage().count("Not Supported") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["+callbacks=systm"], "Did you mean 'system'?"),
        (["+callbacks=system", "callbacks.system.every_n_second=2"], "Did you mean 'every_n_seconds'?"),
    ],
)
def test_a_mistake_in_its_configuration_costs_one_line(tmp_path, overrides, part):
    done = train(tmp_path, *overrides)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert part in done.stderr


def test_the_demo_has_it_with_one_word_on_the_command_line(tmp_path):
    fast = ["callbacks.system.every_n_seconds=0.01", "logger=[json]", "loggers.json.write_every_n_seconds=0"]
    done = train(tmp_path, "+callbacks=system", *fast, "trainer.max_steps=60")

    assert done.returncode == 0, done.stderr
    (log,) = Path(tmp_path).glob("runs/digits/*/json/log.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {key for line in lines for key in line.get("scalars", {})} >= {f"system/{name}" for name in ALWAYS}
