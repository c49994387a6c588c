"""Guesses energy from CPU time, where nothing measures it.

A second on one of N processors is taken for TDP / N joules. That leaves out memory, disks, fans and what the machine
takes when it is idle, and takes every busy second for a hot one. Whoever reads the value is told so.
"""

import os
import time
from collections.abc import Callable, Sequence

from ml.benchmarks.counters import Counter


class CpuMeter:
    """Turns CPU time into energy, from when it is made; see ``counters.Meter``.

    Args:
        tdp_w: What all processors of the machine take together when they are busy, in watts.
        cpu_s: Returns CPU time of this process and its children, in seconds since any beginning; it never falls.
        processors: How many share ``tdp_w``; by default those of the machine.
        clock: Monotonic seconds.
    """

    source = "estimated"

    def __init__(
        self,
        tdp_w: float,
        cpu_s: Callable[[], float],
        *,
        processors: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tdp_w, self.processors = tdp_w, processors or os.cpu_count() or 1
        self._cpu_s, self._clock = cpu_s, clock
        self._counter = Counter("cpu time")
        self._began_s, self._spent_s = cpu_s(), 0.0
        self._counter.advance(0, clock())

    def read(self) -> None:
        self._spent_s = self._cpu_s() - self._began_s
        self._counter.advance(round(self._spent_s * self.tdp_w / self.processors * 1e6), self._clock())

    def counters(self) -> Sequence[Counter]:
        return [self._counter]

    def problem(self) -> str:
        return "" if self._counter.measured else "CPU time was read only once"

    def explanation(self) -> str:
        """Returns what the value was guessed from."""
        return (
            f"guessed from {self._spent_s:.3g} s of CPU time of this process and its children, "
            f"at {self.tdp_w:g} W for all {self.processors} processors"
        )
