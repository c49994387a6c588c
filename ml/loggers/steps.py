"""Ends steps: asks every backend once whether it is due, computes every value once, gives each what it is to get.

What a value goes through is drawn in ``values.py``'s terms: an entry of a
``MultiLogger`` becomes a row, rows become a batch of each ``Delivery``.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ml.core.errors import LogValueError
from ml.core.state import State, normalized
from ml.loggers.delivery import Delivery
from ml.loggers.entry import Ident
from ml.loggers.offers import Offers
from ml.loggers.report import Reporter
from ml.loggers.snapshot import Snapshots

if TYPE_CHECKING:
    from ml.loggers.across import Across
    from ml.loggers.multi import MultiLogger

_MAX_COMPONENTS = 1000


class Steps:
    """The steps of a run and their passes, one after the other. One thread at a time, which its group sees to.

    Args:
        deliveries: The backends.
        snapshots: Takes the copies.
        reporter: Takes the failures of values.
        wall_clock: Unix seconds, for a state that has none.
        across: Takes what is reduced over ranks; ``None``: there is but one.
    """

    def __init__(
        self,
        deliveries: list[Delivery],
        snapshots: Snapshots,
        reporter: Reporter,
        wall_clock: Callable[[], float],
        across: "Across | None",
    ) -> None:
        self._deliveries, self._snapshots, self._reporter = deliveries, snapshots, reporter
        self._wall_clock, self._across = wall_clock, across
        self._offers = Offers(deliveries, snapshots, reporter, across)
        self._components: dict[MultiLogger, None] = {}
        self._state: State | None = None
        self._in_pass = self._step_is_open = False

    def end(self, components: "Iterable[MultiLogger]", state: State, *, force: bool) -> None:
        """Ends a step; see ``LoggerGroup.write``."""
        state = self._in_order(state)
        if not state.time_s:
            state = state._replace(time_s=self._wall_clock())
        components = list(components)
        for component in components:
            self._components[component] = None
        if len(self._components) > _MAX_COMPONENTS:  # made anew for each step, they would be kept for ever
            newest = list(self._components)[-_MAX_COMPONENTS // 2 :]
            self._components = {**{held: None for held in self._components if len(held)}, **dict.fromkeys(newest)}
        if not self._deliveries and self._across is None:
            self.refuse(components)
            return
        self._take_in()
        if self._state is not None:
            if self._step_is_open:  # it was interrupted: what it had is written as its own
                for delivery in self._deliveries:
                    delivery.collect(self._state)
            if state.phase != self._state.phase:
                self.end_pass()
                self._offers.unsettle()
        self._state, self._in_pass = state, state.phase != "train"
        for delivery in self._deliveries:
            delivery.due = force or delivery.is_due(state)
        due = [delivery for delivery in self._deliveries if delivery.due]
        if due:
            self._offers.unsettle()
            for delivery in due:
                delivery.open_windows(state, force=force)
        wanted = self._offers.wanted(components, state.phase)
        if not wanted and not due and self._across is None:
            return
        self._step_is_open = True
        with self._snapshots:
            try:
                self._offers.offer(wanted, state)
            finally:
                for delivery in self._deliveries:
                    delivery.end_step(state, self._snapshots, due=delivery.due)
        self._step_is_open = False
        if self._across is not None and state.phase == "train":
            self._across.end_step(state, due=bool(due))

    def end_numbers(self, numbers: "Sequence[tuple[State, Ident, float]]") -> None:
        """Ends steps of training that held numbers alone; see ``LoggerGroup.write_numbers``."""
        state = numbers[-1][0]
        self._take_in()
        if self._state is not None and self._state.phase != "train":
            self.end_pass()
        self._offers.unsettle()
        self._state, self._in_pass = state, False
        self._offers.give_all(numbers)
        for delivery in self._deliveries:
            delivery.hand_over(state)

    def refuse(self, components: "Iterable[MultiLogger]") -> None:
        """Counts what was logged after the end."""
        for component in components:
            count = len(component.take())
            for delivery in self._deliveries:
                delivery.tally.refuse("closed", count)

    def end_pass(self) -> None:
        """Ends the running validation or test pass: its means, and what is pending of it, are written."""
        if self._in_pass and self._state is not None:
            self._deliver_pass(self._state)
            if self._across is not None:
                self._across.end_pass(self._state)

    def discard_pass(self) -> None:
        """Ends the running pass without its means."""
        if self._in_pass and self._state is not None:
            for delivery in self._deliveries:
                delivery.discard_reductions(self._state.phase)
            self._deliver_pass(self._state)
            if self._across is not None:
                self._across.discard_pass(self._state)

    def send_pending(self) -> None:
        """Sends what is pending, of windows that are open; moves no clock."""
        if self._state is not None:
            self._take_in()
            for delivery in self._deliveries:
                delivery.send_pending(self._state)

    def secure(self) -> None:
        """Sends what was accepted in training, of open windows too; runs no callable."""
        if self._state is not None:
            self._take_in()
            with self._snapshots:
                for delivery in self._deliveries:
                    delivery.end_step(self._state._replace(phase="train"), self._snapshots, due=True)

    def end_windows(self, timeout_s: float) -> None:
        """Nothing more comes: ends the open step and the running pass, and sends what open windows hold.

        Args:
            timeout_s: How long other ranks are waited for.
        """
        if self._state is None:
            return
        self.end(list(self._components), self._state, force=True)
        self.end_pass()
        if self._across is not None:
            self._across.close(timeout_s)
            self._take_in(are_last=True)
        with self._snapshots:
            for delivery in self._deliveries:
                delivery.end_windows(self._state, self._snapshots)

    def count(self) -> None:
        """Counts at the backends what no window needed since this was last called."""
        self._offers.tell_limited()

    def _deliver_pass(self, state: State) -> None:
        self._in_pass = False
        self._offers.unsettle()
        with self._snapshots:
            for delivery in self._deliveries:
                delivery.end_pass(state, self._snapshots)

    def _take_in(self, *, are_last: bool = False) -> None:
        """Gives the backends the values over all ranks that came in."""
        if self._across is not None:
            self._offers.give_late(self._across.arrived(), are_last=are_last)

    def _in_order(self, state: State) -> State:
        """Returns the state as every backend can write it; a count that is none is reported once."""
        made = normalized(state)
        if made is not state:
            for name, was, now in zip(State._fields, state, made, strict=True):
                if was != now and name != "time_s":
                    # The type alone: repr() refuses whole numbers of more than 4,300 digits.
                    problem = f"a {type(was).__name__} that cannot be written as it is, {now} is written"
                    error = LogValueError(problem, "Give a number of 64 bits.")
                    located = error.located(f"State.{name}")
                    self._reporter.report("values", str(located), located, about=name)
        return made
