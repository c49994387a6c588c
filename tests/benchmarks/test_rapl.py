"""RAPL's counters are read from a made-up powercap tree that another process advances: to the microjoule."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml.benchmarks.counters import MAX_POWER_W
from ml.benchmarks.rapl import RaplMeter, choose, look_into, zone_paths
from ml.testing import FakeClock
from tests.benchmarks.powercap import Powercap

RANGE_UJ = 262_143_328_850


@pytest.fixture
def powercap(tmp_path) -> Iterator[Powercap]:
    """A tree that is still empty."""
    (tmp_path / "powercap").mkdir()
    with Powercap(tmp_path / "powercap") as tree:
        yield tree


def counted(meter: RaplMeter) -> dict[str, int]:
    return {counter.label: counter.total_uj for counter in meter.counters() if counter.measured}


def notes(meter: RaplMeter) -> dict[str, str]:
    return {counter.label: counter.notes for counter in meter.counters() if counter.notes}


def server_with_two_sockets(powercap: Powercap) -> None:
    for socket in (0, 1):
        powercap.zone(f"intel-rapl:{socket}", f"package-{socket}")
        powercap.zone(f"intel-rapl:{socket}:0", "core")
        powercap.zone(f"intel-rapl:{socket}:1", "uncore")
        powercap.zone(f"intel-rapl:{socket}:2", "dram")


# what is counted


def test_packages_and_dram_are_counted_to_the_microjoule(powercap):
    server_with_two_sockets(powercap)
    meter = RaplMeter(powercap.root)

    for zone, energy_uj in (("0", 1_000_001), ("0:2", 20_002), ("1", 3), ("1:2", 4_000_000_000), ("0", 1)):
        powercap.add(f"intel-rapl:{zone}", energy_uj)
    meter.read()

    assert counted(meter) == {
        "package-0": 1_000_002,
        "package-0/dram": 20_002,
        "package-1": 3,
        "package-1/dram": 4_000_000_000,
    }
    assert not notes(meter)


def test_parts_of_a_package_are_not_counted_again(powercap):
    server_with_two_sockets(powercap)
    meter = RaplMeter(powercap.root)

    for zone in ("0:0", "0:1", "1:0", "1:1"):
        powercap.add(f"intel-rapl:{zone}", 999)
    meter.read()

    assert set(counted(meter).values()) == {0}


def test_the_whole_platform_is_not_counted_beside_the_packages_that_it_holds(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.zone("intel-rapl:1", "psys")
    meter = RaplMeter(powercap.root)

    powercap.add("intel-rapl:0", 5)
    powercap.add("intel-rapl:1", 9)
    meter.read()

    assert counted(meter) == {"package-0": 5}


def test_the_whole_platform_stands_in_where_there_are_no_packages(powercap):
    powercap.zone("intel-rapl:0", "psys")
    meter = RaplMeter(powercap.root)

    powercap.add("intel-rapl:0", 9)
    meter.read()

    assert counted(meter) == {"psys": 9}


def test_a_package_that_two_drivers_show_is_counted_once(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.zone("intel-rapl-mmio:0", "package-0")
    meter = RaplMeter(powercap.root)

    for driver in ("intel-rapl", "intel-rapl-mmio"):
        powercap.add(f"{driver}:0", 7)
    meter.read()

    assert [(counter.label, counter.total_uj) for counter in meter.counters()] == [("package-0", 7)]


@pytest.mark.parametrize("name", ["package-0", "package-0-die-1"])
@pytest.mark.parametrize("driver", ["intel-rapl", "amd-rapl"])
def test_packages_of_other_makers_and_with_several_dies_are_counted(powercap, driver, name):
    powercap.zone(f"{driver}:0", name)
    meter = RaplMeter(powercap.root)

    powercap.add(f"{driver}:0", 7)
    meter.read()

    assert counted(meter) == {name: 7}


def test_zones_are_found_once_each_whether_they_lie_beside_or_in_each_other(powercap):
    powercap.zone("intel-rapl/intel-rapl:0", "package-0")
    powercap.zone("intel-rapl/intel-rapl:0/intel-rapl:0:0", "dram")
    (powercap.root / "intel-rapl:0").symlink_to(powercap.root / "intel-rapl" / "intel-rapl:0")
    meter = RaplMeter(powercap.root)

    powercap.add("intel-rapl:0", 7)
    powercap.add("intel-rapl/intel-rapl:0/intel-rapl:0:0", 2)
    meter.read()

    assert counted(meter) == {"package-0": 7, "package-0/dram": 2}


def test_other_zones_of_powercap_are_left_alone(powercap):
    powercap.zone("dtpm:0", "package-0")
    powercap.zone("intel-rapl:0", "package-0")
    (powercap.root / "intel-rapl").mkdir()

    zones = {name: look_into(path, {}) for name, path in zone_paths(powercap.root).items()}

    assert [zone.label for zone in choose(filter(None, zones.values()))] == ["package-0"]
    assert set(zones) == {"intel-rapl:0"}


# going back to zero


def test_a_counter_that_starts_at_zero_again_is_counted_to_the_microjoule(powercap):
    powercap.zone("intel-rapl:0", "package-0", range_uj=RANGE_UJ, energy_uj=RANGE_UJ - 1_000)
    meter = RaplMeter(powercap.root)

    powercap.add("intel-rapl:0", 5_000)
    meter.read()

    assert (powercap.root / "intel-rapl:0" / "energy_uj").read_text() == "4000\n"
    assert counted(meter) == {"package-0": 5_000}
    assert not notes(meter)


def test_a_counter_may_be_full_many_times_if_it_is_read_in_between(powercap):
    powercap.zone("intel-rapl:0", "package-0", range_uj=1_000_000, energy_uj=999_999)
    meter = RaplMeter(powercap.root, clock=FakeClock())

    for _ in range(25):
        powercap.add("intel-rapl:0", 700_001)
        meter.read()

    assert counted(meter) == {"package-0": 25 * 700_001}
    assert not notes(meter)


def test_a_counter_cannot_be_full_before_the_time_that_its_range_takes_at_the_highest_power(powercap):
    powercap.zone("intel-rapl:0", "package-0", range_uj=RANGE_UJ)
    powercap.zone("intel-rapl:0:0", "dram", range_uj=65_712_999_613)

    assert RaplMeter(powercap.root).fills_in_s() == 65_712.999613 / MAX_POWER_W


def test_a_counter_that_was_left_alone_for_too_long_says_that_it_may_have_been_full_twice(powercap):
    powercap.zone("intel-rapl:0", "package-0", range_uj=RANGE_UJ)
    clock = FakeClock()
    meter = RaplMeter(powercap.root, clock=clock)

    powercap.add("intel-rapl:0", 5)
    clock.advance(3600.0)  # a machine that was asleep
    meter.read()

    assert counted(meter) == {"package-0": 5}
    assert notes(meter) == {"package-0": "was not read for 3.6e+03 s and may have been full more than once: at least"}


@pytest.mark.parametrize("range_uj", ["", "0", "garbage"])
def test_a_counter_that_goes_back_and_has_no_range_makes_nothing_up(powercap, range_uj):
    powercap.zone("intel-rapl:0", "package-0", energy_uj=500)
    powercap.write("intel-rapl:0/max_energy_range_uj", range_uj)
    meter = RaplMeter(powercap.root)

    powercap.write("intel-rapl:0/energy_uj", "100")
    meter.read()
    powercap.write("intel-rapl:0/energy_uj", "103")
    meter.read()

    assert counted(meter) == {"package-0": 3}
    assert "went back" in notes(meter)["package-0"]


# what cannot be read


def test_a_machine_without_powercap_says_so(tmp_path):
    meter = RaplMeter(tmp_path / "powercap")
    meter.read()

    assert meter.problem().startswith(f"{tmp_path}/powercap does not exist")
    assert not meter.counters()


def test_powercap_without_energy_says_so(powercap):
    powercap.zone("dtpm:0", "package-0")

    assert "no RAPL domain" in RaplMeter(powercap.root).problem()


@pytest.fixture
def open_to_everyone() -> Iterator[Path]:
    """A directory that another user may enter, as tmp_path is not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may read everything; in here one sees what others see."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


def test_counters_that_only_root_may_read_say_how_to_open_them_and_that_works(open_to_everyone):
    with Powercap(open_to_everyone) as powercap:
        server_with_two_sockets(powercap)
        for file in open_to_everyone.glob("*/energy_uj"):
            file.chmod(0)
        with as_an_ordinary_user():
            denied = RaplMeter(open_to_everyone)
            denied.read()

        assert counted(denied) == {}
        assert "package-0: permission denied" in denied.problem()
        assert "only root" in denied.problem()
        cure = f"chmod a+r {open_to_everyone}/*rapl:*/energy_uj"
        assert f"sudo {cure}" in denied.problem()

        subprocess.run(cure, shell=True, check=True)
        with as_an_ordinary_user():
            meter = RaplMeter(open_to_everyone)
            powercap.add("intel-rapl:1", 12)
            meter.read()

        assert counted(meter) == {"package-0": 0, "package-0/dram": 0, "package-1": 12, "package-1/dram": 0}


@pytest.mark.parametrize("content", ["", "garbage", "-5", "1e6", "1_000", "99999999999999999999", "\x00\x01"])
def test_a_reading_that_is_no_energy_is_left_out_and_the_next_one_has_all(powercap, content):
    powercap.zone("intel-rapl:0", "package-0", range_uj=RANGE_UJ, energy_uj=1_000)
    meter = RaplMeter(powercap.root)

    powercap.write("intel-rapl:0/energy_uj", content)
    meter.read()
    assert counted(meter) == {}

    powercap.write("intel-rapl:0/energy_uj", "1700")
    meter.read()

    assert counted(meter) == {"package-0": 700}
    assert "no energy" in notes(meter)["package-0"]


def test_a_domain_that_vanishes_keeps_what_it_counted(powercap):
    server_with_two_sockets(powercap)
    meter = RaplMeter(powercap.root)

    powercap.add("intel-rapl:1", 40)
    meter.read()
    powercap.remove("intel-rapl:1")
    powercap.add("intel-rapl:0", 2)
    meter.read()

    assert counted(meter) == {"package-0": 2, "package-0/dram": 0, "package-1": 40, "package-1/dram": 0}
    assert notes(meter).keys() == {"package-1"}
    assert "vanished" in notes(meter)["package-1"]


def test_a_domain_that_comes_back_starts_anew(powercap):
    powercap.zone("intel-rapl:0", "package-0", energy_uj=1_000)
    meter = RaplMeter(powercap.root)

    powercap.remove("intel-rapl:0")
    meter.read()
    powercap.zone("intel-rapl:0", "package-0", energy_uj=5)  # not past its range: from another beginning
    meter.read()
    powercap.add("intel-rapl:0", 30)
    meter.read()

    assert counted(meter) == {"package-0": 30}
    assert "vanished" in notes(meter)["package-0"]


def test_a_counter_that_vanishes_alone_is_told_like_its_domain(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    meter = RaplMeter(powercap.root)

    (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    meter.read()

    assert "vanished" in meter.problem()


def test_a_domain_that_appears_counts_from_then_on(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    meter = RaplMeter(powercap.root)

    powercap.zone("intel-rapl:1", "package-1")
    meter.read()
    powercap.add("intel-rapl:1", 6)
    meter.read()

    assert counted(meter) == {"package-0": 0, "package-1": 6}
    assert "appeared" in notes(meter)["package-1"]


def test_powercap_itself_may_vanish_and_appear(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    meter = RaplMeter(powercap.root)
    away = powercap.root.with_name("away")

    powercap.root.rename(away)
    meter.read()
    away.rename(powercap.root)
    meter.read()
    powercap.add("intel-rapl:0", 6)
    meter.read()

    assert counted(meter) == {"package-0": 6}


def test_a_domain_without_a_name_is_not_counted_and_says_so(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    (powercap.root / "intel-rapl:0" / "name").unlink()

    meter = RaplMeter(powercap.root)

    assert "intel-rapl:0: does not say what it is" in meter.problem()
