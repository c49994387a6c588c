"""What a call takes of energy, in joules, and of power, in watts.

Every value has its source, the best one that there is::

    rapl+nvml      counted by the processors and the memory of the machine, and by its GPUs
    rapl, nvml     counted by the former, or by the latter alone
    estimated      from the CPU time of this process and its children, where a TDP is stated
    unavailable    no value; also where a call was over before a counter moved, as nothing takes zero joules

What is counted is the whole machine and whole GPUs: what others do there at the same time is in it. ``reason`` says
what is in a value and what is missing. Measuring never raises, and never makes up a number.
"""

import time
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from ml.benchmarks.counters import Counter, Meter
from ml.benchmarks.cpu import FamilyCPU
from ml.benchmarks.estimate import CpuMeter
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.nvml import GpuMeter, Nvml, open_nvml
from ml.benchmarks.rapl import ROOT, RaplMeter
from ml.benchmarks.series import Series
from ml.core.errors import ConfigError
from ml.io.process import Family

_OFTEN_S = 1.0  # for children, whose CPU time must be seen before they are gone
_RELAXED_S = 60.0  # where no counter can be full
_SHORTEST_S = 0.1  # whatever a range says, reading costs less than what is measured

_WHOLE = {"rapl": "the whole machine", "nvml": "whole GPUs"}


class Energy(NamedTuple):
    """What was taken, from the best source that there is.

    Attributes:
        joules: ``None`` where nothing is known.
        source: As ``Measurement`` has it.
        reason: What is in it and what is missing, or why there is nothing.
    """

    joules: float | None
    source: str
    reason: str


class Sources:
    """Where energy comes from on this machine; ``begin`` starts counting.

    Args:
        root: Where Linux shows the counters of the processors.
        tdp_w: What all processors together take when they are busy, in watts; for the estimate.
        nvml: The GPUs; by default those that this process may use.

    Raises:
        ConfigError: ``tdp_w`` is no power.
    """

    def __init__(self, root: str | Path, tdp_w: float | None, nvml: Nvml | None) -> None:
        self.root, self._nvml = Path(root), nvml
        self._tdp_w = None if tdp_w is None else positive("tdp_w", tdp_w)
        self._family = Family()
        if tdp_w is not None:
            self._family.find()
        if nvml is None:
            open_nvml()  # now, as it takes a moment: not when the first call is measured

    def begin(self) -> "Ladder":
        rapl = RaplMeter(self.root)
        gpus = GpuMeter(open_nvml() if self._nvml is None else self._nvml)
        fills_in_s = rapl.fills_in_s()
        poll_s = _RELAXED_S if fills_in_s is None else max(fills_in_s / 2, _SHORTEST_S)
        if self._tdp_w is None:
            return Ladder([rapl, gpus], None, poll_s)
        cpu_s = FamilyCPU(self._family, with_parent=True)
        return Ladder([rapl, gpus], CpuMeter(self._tdp_w, cpu_s), min(poll_s, _OFTEN_S))


class Ladder:
    """Counts in every way there is; the best one that has something to say is taken.

    Args:
        meters: What is measured, and added up.
        estimate: What is taken where nothing is measured.
        poll_s: How often ``read`` must be called, so that no counter is full twice in between.
    """

    def __init__(self, meters: Sequence[Meter], estimate: CpuMeter | None, poll_s: float) -> None:
        self.meters, self.estimate, self.poll_s = meters, estimate, poll_s

    def read(self) -> None:
        """Reads all counters."""
        for meter in self.meters:
            meter.read()
        if self.estimate is not None:
            self.estimate.read()

    def taken_uj(self) -> int:
        """Returns what was taken from the beginning to the last reading, in microjoules; 0 where nothing is known."""
        measured_uj = sum(map(total_uj, self.meters))
        return total_uj(self.estimate) if self.estimate is not None and not measured_uj else measured_uj

    def energy(self) -> Energy:
        """Returns the same, and what it is."""
        moved = [meter for meter in self.meters if total_uj(meter)]
        missing = [_why_not(meter) for meter in self.meters if meter not in moved and not _is_absent(meter)]
        joules = self.taken_uj() / 1e6
        if moved:
            return Energy(joules, "+".join(m.source for m in moved), "; ".join([*map(_contents, moved), *missing]))
        if self.estimate is not None and joules:
            return Energy(joules, self.estimate.source, "; ".join([self.estimate.explanation(), *missing]))
        return Energy(None, "unavailable", "; ".join(missing))


class EnergyMetric(Metric):
    """Measures joules of each call; one further row has what each package, memory and GPU took (``energy/package-0``).

    Args:
        description: What its measurements are called in the database.
        root: Where Linux shows the counters of the processors.
        tdp_w: What all processors of the machine together take when they are busy, in watts. Given, the energy is
            estimated where nothing measures it.
        nvml: The GPUs; by default those that this process may use.

    Raises:
        ConfigError: ``tdp_w`` is not greater than 0.
    """

    type, unit = "energy", "J"

    def __init__(
        self, description: str, *, root: str | Path = ROOT, tdp_w: float | None = None, nvml: Nvml | None = None
    ) -> None:
        super().__init__(description)
        self._sources = Sources(root, tdp_w, nvml)

    def begin(self) -> Probe:
        return _EnergyProbe(self._sources.begin())


class PowerMetric(Metric):
    """Measures watts of each call: the mean, which is energy by time, and the mean of each interval.

    Args:
        description: What its measurements are called in the database.
        interval: Seconds of an interval.
        root: As of ``EnergyMetric``; so are ``tdp_w`` and ``nvml``.
        tdp_w: See there.
        nvml: See there.
        clock: Monotonic seconds.

    Raises:
        ConfigError: ``interval`` or ``tdp_w`` is not greater than 0.
    """

    type, unit = "power", "W"

    def __init__(
        self,
        description: str,
        interval: float = 1,
        *,
        root: str | Path = ROOT,
        tdp_w: float | None = None,
        nvml: Nvml | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(description)
        self._clock = clock
        self._interval_s = positive("interval", interval)
        self._sources = Sources(root, tdp_w, nvml)

    def begin(self) -> Probe:
        return PowerProbe(self._sources.begin(), self._interval_s, self._clock)


class _EnergyProbe(Probe):
    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder
        self.interval_s = ladder.poll_s

    def sample(self, at_s: float) -> None:
        self._ladder.read()

    def end(self, duration_s: float) -> Sequence[Finding]:
        energy = self._ladder.energy()
        parts = [
            Finding(counter.total_uj / 1e6, meter.source, counter.notes, type=f"energy/{counter.label}")
            if counter.total_uj
            else Finding(None, "unavailable", _why_counter(counter), type=f"energy/{counter.label}")
            for meter in self._ladder.meters
            for counter in meter.counters()
        ]
        return [Finding(energy.joules, energy.source, energy.reason), *parts]


class PowerProbe(Probe):
    """Measures one call.

    Args:
        ladder: Counts since right now.
        step_s: How far two points of the series lie apart.
        clock: Monotonic seconds.
    """

    series: Series

    def __init__(self, ladder: Ladder, step_s: float, clock: Callable[[], float]) -> None:
        self._ladder, self._step_s, self._clock = ladder, step_s, clock
        self.interval_s = min(step_s, ladder.poll_s)
        self.series = Series()
        self._last_s, self._last_uj = clock(), 0

    def sample(self, at_s: float) -> None:
        """Reads, and adds a point: the mean power since the one before.

        Counters move in ticks, of a millisecond or, those of GPUs, a tenth of a second: two readings that are close
        say nothing, nor do two that are alike. Their time is in the next point.
        """
        self._ladder.read()
        now_s, now_uj = self._clock(), self._ladder.taken_uj()
        passed_s, gained_uj = now_s - self._last_s, now_uj - self._last_uj
        is_first = not self.series.added
        if gained_uj < 0:  # from an estimate to what is measured
            self._last_s, self._last_uj = now_s, now_uj
        elif gained_uj and passed_s > 0 and (is_first or passed_s >= self._step_s / 2):
            self.series.add(at_s, gained_uj / 1e6 / passed_s)
            self._last_s, self._last_uj = now_s, now_uj

    def end(self, duration_s: float) -> Sequence[Finding]:
        """Returns energy by time, and the series."""
        energy = self._ladder.energy()
        if energy.joules is None:
            return [Finding(None, energy.source, energy.reason)]
        if duration_s <= 0:
            return [Finding(None, "unavailable", "the call was shorter than the clock can tell")]
        return [Finding(energy.joules / duration_s, energy.source, energy.reason, samples=self.series)]


def positive(name: str, value: float) -> float:
    """Returns a setting that must be a number above 0.

    Raises:
        ConfigError: It is not.
    """
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int | float) or not (isfinite(given) and given > 0):
        raise ConfigError(f"'{name}' must be a number greater than 0, got {value!r}.")
    return float(value)


def total_uj(meter: Meter) -> int:
    """Returns what all counters of a meter have advanced."""
    return sum(counter.total_uj for counter in meter.counters())


def _contents(meter: Meter) -> str:
    """What is in the sum, and what is not."""
    counted = ", ".join(counter.label for counter in meter.counters() if counter.total_uj)
    others = (
        f"{counter.label}: {counter.notes if counter.total_uj else _why_counter(counter)}"
        for counter in meter.counters()
        if counter.notes or not counter.total_uj
    )
    return "; ".join([f"{_WHOLE.get(meter.source, meter.source)}: {counted}", *others])


def _why_not(meter: Meter) -> str:
    return f"no {meter.source}: {meter.problem() or 'its counters did not move while the call ran'}"


def _why_counter(counter: Counter) -> str:
    return counter.notes or ("did not move while the call ran" if counter.measured else "was read only once")


def _is_absent(meter: Meter) -> bool:
    """Whether nobody would miss a meter: a machine without GPUs is no reason to speak of them."""
    return meter.source == "nvml" and not meter.counters()
