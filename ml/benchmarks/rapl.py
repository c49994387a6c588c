"""Reads the energy counters of processors and memory: RAPL, in Linux' powercap files.

::

    /sys/class/powercap/intel-rapl:0/name                  package-0      of AMD's processors, too
    /sys/class/powercap/intel-rapl:0/energy_uj             184467440      goes back to 0 at
    /sys/class/powercap/intel-rapl:0/max_energy_range_uj   262143328850
    /sys/class/powercap/intel-rapl:0:0/name                core           a part of package-0: not added
    /sys/class/powercap/intel-rapl:0:1/name                dram           beside package-0: added
    /sys/class/powercap/intel-rapl:1/name                  psys           holds package-0: only where there is none
    /sys/class/powercap/intel-rapl-mmio:0/name             package-0      the same once more: not added

The counters are those of the whole machine: whoever else computes on it is in them.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ml.benchmarks.counters import Counter

ROOT = Path("/sys/class/powercap")

_RAPL = re.compile(r"\w+-rapl")
_ZONE = re.compile(r"(?P<driver>\w+-rapl[\w-]*):\d+(?P<part>(:\d+)*)")
_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR}
_VANISHED = "vanished meanwhile; what it counted until then is in the sum"
_LONGEST = 64  # bytes of a number or name


class Zone(NamedTuple):
    """A directory of powercap.

    Attributes:
        directory: Where its files are.
        driver: What made it: ``intel-rapl``, ``intel-rapl-mmio``.
        label: ``package-0``, ``package-0/dram``, ``psys``; two drivers may give the same one.
        domain: What it counts: ``package``, ``dram``, ``psys``, or anything else, which is a part of a package.
    """

    directory: Path
    driver: str
    label: str
    domain: str


class RaplMeter:
    """Counts what the processors and the memory of this machine take, from when it is made.

    Args:
        root: Where powercap shows its zones.
        clock: Monotonic seconds, to see whether a counter was left alone for too long.
    """

    source = "rapl"

    def __init__(self, root: Path = ROOT, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._clock = clock
        self._zones: dict[str, Zone] = {}
        self._counters: dict[str, Counter] = {}
        self._problem = ""
        self._began = False
        self.read()
        self._began = True

    def read(self) -> None:
        """Reads every domain; one that has come or gone since is told in its counter's notes. Never raises."""
        found = self._look()
        for name in self._counters.keys() - found.keys():
            if self._counters[name].is_open:
                self._counters[name].left(_VANISHED)
        for name, zone in found.items():
            self._read(name, zone)

    def counters(self) -> Sequence[Counter]:
        return list(self._counters.values())

    def problem(self) -> str:
        return "" if any(counter.measured for counter in self._counters.values()) else self._why()

    def fills_in_s(self) -> float | None:
        """Returns how soon a counter may be full once more; ``None`` if none says so."""
        return min((s for counter in self._counters.values() if (s := counter.fills_in_s) is not None), default=None)

    def _look(self) -> dict[str, Zone]:
        """Returns the zones that count, by name; each is looked into once while it is there."""
        try:
            paths = zone_paths(self.root)
        except OSError as error:
            self._problem = _why_no_root(self.root, error)
            return {}
        zones: dict[str, Zone] = {}
        for name in sorted(paths, key=len):  # a zone before its parts
            zone = self._zones.get(name) or look_into(paths[name], zones)
            if zone is None:
                self._counters.setdefault(f"{name}/name", Counter(name)).note("does not say what it is: not counted")
            else:
                zones[name] = zone
        self._zones = zones
        chosen = set(choose(zones.values()))
        if not chosen:
            self._problem = f"{self.root} has no RAPL domain: the processor has none, or its driver is not loaded"
        return {name: zone for name, zone in zones.items() if zone in chosen}

    def _read(self, name: str, zone: Zone) -> None:
        known = self._counters.get(name)
        if known is None:
            known = self._counters[name] = Counter(zone.label, range_uj=_range_uj(zone.directory))
            if self._began:
                known.note("appeared meanwhile; it counts from then on")
        try:
            value_uj = _number(zone.directory / "energy_uj")
            if known.range_uj is not None and value_uj > known.range_uj:
                raise ValueError(f"{value_uj} is past its range of {known.range_uj}")
        except PermissionError:
            known.note(
                f"permission denied: since 2020 Linux lets only root read energy. "
                f"Until the next boot, this lets everyone: sudo chmod a+r {self.root}/*rapl:*/energy_uj"
            )
        except OSError as error:
            if error.errno in _GONE:
                known.left(_VANISHED)
                self._zones.pop(name, None)
            else:
                known.note(f"a reading failed: {error.strerror}")
        except ValueError as error:
            known.note(f"a reading was no energy: {error}")
        else:
            known.advance(value_uj, self._clock())

    def _why(self) -> str:
        told = dict.fromkeys(f"{c.label}: {c.notes}" for c in self._counters.values() if c.notes)
        if not told and self._counters:
            return "RAPL was read only once"
        return "; ".join(told) or self._problem


def zone_paths(root: Path) -> dict[str, Path]:
    """Returns the directories of RAPL's zones, by name; what is part of a zone lies beside it, or in it.

    Raises:
        OSError: ``root`` cannot be read.
    """
    found: dict[str, Path] = {}
    waiting = [root]
    for directory in waiting:
        try:
            with os.scandir(directory) as entries:
                paths = [Path(entry.path) for entry in entries if _RAPL.match(entry.name)]
        except OSError:
            if directory == root:
                raise
            continue  # gone since it was listed
        new = [path for path in paths if path.name not in found]
        found |= {path.name: path for path in new}
        waiting += new
    return {name: path for name, path in found.items() if _ZONE.fullmatch(name)}


def look_into(directory: Path, above: dict[str, Zone]) -> Zone | None:
    """Returns what a directory of powercap is, or ``None`` if it does not say.

    Args:
        directory: ``intel-rapl:0:1``.
        above: The zones that are known, by name: what it is a part of has its label.
    """
    try:
        with (directory / "name").open("rb", buffering=0) as file:
            name = file.read(_LONGEST).decode("utf-8", "replace").strip()
    except OSError:
        return None
    match = _ZONE.fullmatch(directory.name)
    if match is None or not name:
        return None
    parent = above.get(directory.name.rpartition(":")[0]) if match["part"] else None
    label = f"{parent.label}/{name}" if parent is not None else name
    is_package = name.startswith("package") and not match["part"]
    return Zone(directory, match["driver"], label, "package" if is_package else name)


def choose(zones: Iterable[Zone]) -> list[Zone]:
    """Returns the zones whose sum is what the machine takes: every package and every dram, each of them once.

    What is part of a package is left out; ``psys``, which holds the packages, stands in where there are none.
    """
    domains = list(zones)
    counted = [zone for zone in domains if zone.domain in ("package", "dram")]
    if not any(zone.domain == "package" for zone in counted):
        counted = [zone for zone in domains if zone.domain == "psys"] or counted
    # The shortest name is the driver of the processor itself, the others show the same domains in other ways.
    drivers: dict[str, str] = {}
    for zone in counted:
        drivers[zone.label] = min(drivers.get(zone.label, zone.driver), zone.driver, key=lambda name: (len(name), name))
    return [zone for zone in counted if zone.driver == drivers[zone.label]]


def _number(path: Path) -> int:
    with path.open("rb", buffering=0) as file:
        content = file.read(_LONGEST).strip()
    if not content.isdigit():
        raise ValueError(f"{path} holds {content[:20]!r}")
    return int(content)


def _range_uj(directory: Path) -> int | None:
    try:
        return _number(directory / "max_energy_range_uj") or None
    except (OSError, ValueError):
        return None


def _why_no_root(root: Path, error: OSError) -> str:
    if error.errno in _GONE:
        return f"{root} does not exist, so there are no energy counters, as in most virtual machines and containers"
    return f"{root} cannot be read: {error.strerror}"
