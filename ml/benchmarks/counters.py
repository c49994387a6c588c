"""Adds up what counters of energy advance while something is measured.

Such a counter only grows, from a time that nobody knows, starts at zero again when it is full, and may be gone, come
later or be unreadable for a while. Energies are whole microjoules, so a sum of many small ones is exact. What could
not be counted is said in ``notes``; it is never replaced by anything.
"""

from collections.abc import Sequence
from typing import Protocol

MAX_POWER_W = 2000.0
"""What one counter may see, at most: four times what the largest processors take. Filling up takes at least so long."""


class Counter:
    """One counter, read now and then.

    Args:
        label: What it is called: ``package-0``.
        range_uj: Where it starts at zero again; ``None`` of one that never does, or does not say.

    Attributes:
        total_uj: What it has advanced from the first reading to the last.
        measured: Whether there were two readings, so ``total_uj`` says something.
        notes: What is missing in ``total_uj``, and why.
    """

    def __init__(self, label: str, *, range_uj: int | None = None) -> None:
        self.label, self.range_uj = label, range_uj
        self.total_uj = 0
        self.measured = False
        self._last: tuple[int, float] | None = None
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> str:
        return "; ".join(self._notes)

    @property
    def is_open(self) -> bool:
        """Whether it was read, and has not left since."""
        return self._last is not None

    @property
    def fills_in_s(self) -> float | None:
        """The least time from zero to full; ``None`` where that never happens."""
        return None if self.range_uj is None else self.range_uj / 1e6 / MAX_POWER_W

    def advance(self, value_uj: int, now_s: float) -> None:
        """Takes a reading. A smaller one than the last is one past the end of the range.

        Args:
            value_uj: What the counter says.
            now_s: Monotonic seconds.
        """
        if self._last is not None:
            last_uj, last_s = self._last
            gained_uj, fills_in_s = value_uj - last_uj, self.fills_in_s
            if gained_uj < 0 and self.range_uj is None:
                self.note("went back, which loses what it counted since it was read last")
                gained_uj = 0
            elif gained_uj < 0:
                assert self.range_uj is not None
                gained_uj += self.range_uj
            if fills_in_s is not None and now_s - last_s > fills_in_s:
                self.note(f"was not read for {now_s - last_s:.3g} s and may have been full more than once: at least")
            self.total_uj += gained_uj
            self.measured = True
        self._last = value_uj, now_s

    def note(self, reason: str) -> None:
        """Says that a reading is missing, and why; the next one has what was counted meanwhile."""
        self._notes[reason] = None

    def left(self, reason: str) -> None:
        """Says that the counter is gone, and why; one that comes back starts anew."""
        self._last = None
        self.note(reason)


class Meter(Protocol):
    """Counters of one source. Making it reads them for the first time; none of this raises."""

    source: str
    """As ``Measurement.source`` has it."""

    def read(self) -> None:
        """Reads all counters."""

    def counters(self) -> Sequence[Counter]:
        """Returns every counter that was ever there."""

    def problem(self) -> str:
        """Returns why nothing is counted; empty where something is."""
