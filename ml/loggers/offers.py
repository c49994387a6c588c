"""Finds out who gets each value of a step, and has it computed for them, once.

Three answers are remembered. A ``Route`` says who takes a series at all; it holds
as long as the group. An ``Audience`` says which of those are due; it holds for one
step. A series is *settled* when no window needs it any more; that holds until a
window opens, and is what makes a call that nobody needs cost next to nothing.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ml.core.errors import LogValueError
from ml.core.state import Phase, State
from ml.loggers.compute import ComputeError, compute_contribution, compute_value
from ml.loggers.delivery import Delivery
from ml.loggers.entry import Entry, Ident, across_ranks_of, origin_of, reduce_of
from ml.loggers.kinds import STRING
from ml.loggers.reduce import AcrossRanks, Reduce, ReduceOptions
from ml.loggers.report import Reporter, text_of
from ml.loggers.route import Audience, Route
from ml.loggers.snapshot import Snapshots
from ml.loggers.stats import Failed
from ml.loggers.values import Row

if TYPE_CHECKING:
    from ml.loggers.across import Across
    from ml.loggers.multi import MultiLogger

_MIXED = LogValueError(
    "it is logged with reduce elsewhere (or across_ranks), and here without", "Use one key for each."
)


class Offers:
    """Offers the values of a step to the deliveries of a group.

    Args:
        deliveries: The backends; which of them are due is asked anew at every step.
        snapshots: Takes the copies.
        reporter: Takes the failures of values.
        across: Takes what is reduced over ranks; ``None``: no other can be asked, and a value is that of this one.
    """

    def __init__(
        self, deliveries: list[Delivery], snapshots: Snapshots, reporter: Reporter, across: "Across | None" = None
    ) -> None:
        self._deliveries, self._snapshots, self._reporter = deliveries, snapshots, reporter
        self._across = across
        self._routes: dict[Ident, Route] = {}
        self._audiences: dict[tuple[Delivery, ...], Audience] = {}
        self._settled: dict[Ident, Route] = {}
        self._alone: set[Ident] = set()

    def tell_limited(self) -> None:
        """Counts at the backends what no window needed."""
        for route in self._settled.values():
            route.tell_limited()

    def unsettle(self) -> None:
        """A window opened: no series is known any more to be kept everywhere."""
        self.tell_limited()
        self._settled.clear()

    def wanted(self, components: "list[MultiLogger]", phase: Phase) -> list[Entry]:
        """Returns what the components logged, less what was overwritten and what every backend has already."""
        settled = self._settled
        step = object()
        wanted: list[Entry] = []
        ends = []
        for component in components:
            for entry in component.take():
                route = settled.get(entry[0])
                if route is None or type(entry[2]) is ReduceOptions:
                    wanted.append(entry)
                elif route.step is step:
                    component.overwritten += 1
                else:
                    route.step = step
                    route.limited += 1
            ends.append(len(wanted))
        latest = {entry[0]: entry for entry in wanted}
        if len(latest) == len(wanted):
            return wanted
        kept: list[Entry] = []
        first = 0
        for component, end in zip(components, ends, strict=True):
            before = len(kept)
            kept += [
                entry
                for entry in wanted[first:end]
                if latest[entry[0]] is entry or not entry[0][0].limited or reduce_of(entry, phase) is not None
            ]
            component.overwritten += end - first - (len(kept) - before)
            first = end
        return kept

    def offer(self, entries: list[Entry], state: State) -> None:
        """Gives the values of a step to those that are to get them.

        What interrupts one passes when all were offered: none may be computed later.
        """
        interruption: BaseException | None = None
        for audience in self._audiences.values():
            audience.begin_step()
        offer = self._offer_number if state.phase == "train" else self._offer
        for entry in entries:
            try:
                offer(entry, state)
            except BaseException as error:
                interruption = error
        for audience in self._audiences.values():
            audience.give_rows(state.phase)
        if interruption is not None:
            try:
                raise interruption
            finally:
                del interruption  # its traceback holds this frame

    def _offer_number(self, entry: Entry, state: State) -> None:
        """Offers a value of a training step: most are plain numbers, which go the short way."""
        ident, value, options, held = entry
        route = self._routes.get(ident)
        if route is None or not route.is_straight or options is not None:
            self._offer(entry, state)
            return
        audience = route.audience
        waiting = audience.waiting
        keepers = [delivery for delivery in waiting if delivery.keep(ident, "train")] if waiting else waiting
        if not audience.due:
            if not keepers:
                self._settled[ident] = route
                return
        else:
            audience.idents.append(ident)
        if type(value) is not float or held is not None:
            try:
                value = compute_value(entry, route.path, self._snapshots)
            except ComputeError as failure:
                self._fail([*audience.due, *keepers], failure.reason, failure.error, entry, route)
                return
            except BaseException:
                _count_failed([*audience.due, *keepers], "callable")
                raise
        row = (*route.ident, value)
        audience.rows.append(row)
        for delivery in keepers:
            delivery.give(row)

    def _offer(self, entry: Entry, state: State) -> None:
        """Has a value computed if a backend is to get it, and gives it to those that are."""
        ident = entry[0]
        route = self._routes.get(ident)
        if route is None:
            route = self._route(ident)
        if route.refusals:
            route.tell_refused()
        if route.problem is not None:
            self._fail(route.receivers, "value", route.problem, entry, route)
            return
        kind = ident[0]
        if type(entry[2]) is ReduceOptions and entry[2].across_ranks is not None:
            try:
                across_ranks = across_ranks_of(entry, state.phase)
            except LogValueError as problem:
                self._fail(route.receivers, "value", problem, entry, route)
                return
            if self._across is not None and across_ranks is not None:
                self._share(entry, across_ranks, self._across, route, state)
                return
            self._tell_alone(route, state)
        if kind.reducible and (entry[2] is not None or state.phase != "train"):
            reduce = reduce_of(entry, state.phase)
            if reduce is not None:
                self._reduce(entry, reduce, route, state)
                return
        if route.is_reduced:
            self._fail(route.receivers, "value", _MIXED, entry, route)
            return
        takers = list(route.receivers)
        if kind.limited:
            takers = [delivery for delivery in takers if delivery.keep(ident, state.phase)]
            if not takers:
                self._settled[ident] = route
                return
        if kind.droppable:
            takers = [delivery for delivery in takers if not self._refused_media(delivery)]
        if not takers:
            return
        try:
            row: Row = (*route.ident, compute_value(entry, route.path, self._snapshots))
        except ComputeError as failure:
            self._fail(takers, failure.reason, failure.error, entry, route)
        except BaseException:
            _count_failed(takers, "callable")
            raise
        else:
            for delivery in takers:
                delivery.give(row)

    def give_late(self, values: "Iterable[tuple[State, Ident, object]]", *, are_last: bool = False) -> None:
        """Gives values of earlier steps to those that take them.

        In training these are those whose window has not kept the key yet, or all if none will come after the values.
        """
        for state, of_state in groupby(values, itemgetter(0)):
            rows: dict[Delivery, list[Row]] = {}
            for _, ident, value in of_state:
                limited = ident[0].limited and state.phase == "train" and not are_last
                for delivery in (self._routes.get(ident) or self._route(ident)).receivers:
                    if not limited or delivery.keep(ident, "train"):
                        rows.setdefault(delivery, []).append((*ident, value))
            for delivery, given in rows.items():
                delivery.give_late(state, given)

    def give_all(self, numbers: Sequence[tuple[State, Ident, float]]) -> None:
        """Gives numbers of training, each with the state of its step, to all that take their series."""
        for state, of_state in groupby(numbers, itemgetter(0)):
            rows: dict[tuple[Delivery, ...], list[Row]] = {}
            for _, ident, number in of_state:
                route = self._routes.get(ident) or self._route(ident)
                if route.refusals:
                    route.tell_refused()
                if route.problem is not None:
                    self._fail(route.receivers, "value", route.problem, (ident, number, None, None), route)
                    continue
                rows.setdefault(route.receivers, []).append((*route.ident, number))
            for receivers, given in rows.items():
                for delivery in receivers:
                    delivery.give_late(state, given)

    def _route(self, ident: Ident) -> Route:
        redact = self._reporter.redactor.redact_text
        route = self._routes[ident] = Route(ident, self._deliveries, self._audiences, redact)
        return route

    def _share(self, entry: Entry, across_ranks: AcrossRanks, across: "Across", route: Route, state: State) -> None:
        """Has a value computed and kept for when the ranks' values are put together."""
        reduce = reduce_of(entry, state.phase)
        try:
            if state.phase == "train":
                self._reduces(entry[0], route)
                across.add(
                    route.ident, across_ranks, *compute_contribution(entry, across_ranks, self._snapshots), state
                )
            else:
                assert reduce is not None, "a pass reduces every number"
                contribution = compute_contribution(entry, reduce, self._snapshots)
                across.add_to_pass(route.ident, across_ranks, reduce, *contribution, state)
        except ComputeError as failure:
            self._fail(route.receivers, failure.reason, failure.error, entry, route)
        except Exception as error:
            self._fail(route.receivers, "value", error, entry, route)
        except BaseException:
            _count_failed(route.receivers, "callable")
            raise
        else:
            for delivery in route.receivers:
                delivery.tally.skip("reduced")

    def _tell_alone(self, route: Route, state: State) -> None:
        """Says, once a series, that a value across ranks is that of this rank: no other one can be asked."""
        num_ranks = max((delivery.backend.context.world_size for delivery in route.receivers), default=1)
        if num_ranks == 1 or route.ident in self._alone:
            return
        self._alone.add(route.ident)
        self._reporter.notice(
            "ranks",
            f"Values across ranks hold this rank alone, 1 of {num_ranks}: there was no process group when logging"
            " started. Call torch.distributed.init_process_group before start_run.",
        )
        _, namespace, key = route.ident
        self._offer(((STRING, namespace, f"{key}.ranks"), f"1/{num_ranks} ranks", None, None), state)

    def _reduces(self, ident: Ident, route: Route) -> None:
        """A series turns out to be one that is reduced in training."""
        route.is_reduced, route.is_straight = True, False
        route.tell_limited()  # it may have been settled until now, and is told no other time
        self._settled.pop(ident, None)

    def _reduce(self, entry: Entry, reduce: Reduce, route: Route, state: State) -> None:
        """Has a value computed and added to the windows that reduce it."""
        if not route.receivers:
            return
        if state.phase == "train":
            self._reduces(entry[0], route)
        try:
            number, weight = compute_contribution(entry, reduce, self._snapshots)
        except ComputeError as failure:
            self._fail(route.receivers, failure.reason, failure.error, entry, route)
        except BaseException:
            _count_failed(route.receivers, "callable")
            raise
        else:
            for delivery in route.receivers:
                try:
                    delivery.reduce(route.ident, reduce, number, weight, state)
                except Exception as error:  # numbers of two devices, say
                    self._fail([delivery], "value", error, entry, route)

    def _refused_media(self, delivery: Delivery) -> bool:
        reason = delivery.media_refusal()
        if reason is not None:
            delivery.tally.refuse(reason, 1)
        return reason is not None

    def _fail(
        self, takers: Sequence[Delivery], reason: Failed, error: BaseException, entry: Entry, route: Route
    ) -> None:
        _count_failed(takers, reason)
        origin = origin_of(entry)
        if isinstance(error, LogValueError):
            located = error.located(route.path, origin)
            self._reporter.report("values", str(located), located, about=route.path)
        else:
            raised = f"{type(error).__name__}: {text_of(error)}"
            text = f"Cannot log '{route.path}': its value raised {raised.removesuffix('.')}. (Logged at {origin}.)"
            self._reporter.report("values", text, error, about=route.path)


def _count_failed(takers: Sequence[Delivery], reason: Failed) -> None:
    for delivery in takers:
        delivery.tally.accept(1)
        delivery.tally.fail(reason)
