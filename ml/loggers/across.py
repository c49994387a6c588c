"""Values over all ranks: what this rank keeps of its own, and when the primary one asks for them.

No rank waits for another while it trains. Every rank computes its part of such a
value at every step, and keeps those of the last steps. When a backend of the
primary rank is due, that rank asks for a step a little ahead, so far that all
ranks hear of it before they get there. Each gives its parts of exactly that step
as it passes it; of a key that was not logged in it, of the last step that it was.
The parts are merged on the thread of ``ml.io.ranks``; ``arrived`` gives the values
to the training thread. The end of a pass needs no asking, nor does the end of all.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

from ml.core.errors import LogValueError
from ml.core.run import RunContext
from ml.core.state import PHASES, Phase, State
from ml.io.ranks import Announcement, Ranks
from ml.io.rankstore import RankStore
from ml.loggers.entry import Ident
from ml.loggers.kinds import SCALAR, STRING
from ml.loggers.pace import Pace
from ml.loggers.reduce import AcrossRanks, Reduce, Reduction
from ml.loggers.report import Reporter, text_of
from ml.loggers.shares import Merged, Share, encode, joined, merge
from ml.loggers.snapshot import Snapshots
from ml.loggers.values import series_path

if TYPE_CHECKING:
    from ml.loggers.reduce import Number

STEP_WAIT_S = 0.25
PASS_WAIT_S = 10.0
CLOSE_WAIT_S = 1.0

_LAST = "train/last"
_STEPS_KEPT = 256
_MAX_SERIES = 10_000


class Across:
    """One rank's part in the values over all ranks.

    All of it runs on the training thread, but for ``_message``, ``_settled`` and ``_failed``.

    Args:
        context: Its rank, and its clock for the length of a step.
        store: What the ranks share.
        reporter: Told of ranks that do not answer, and of a store that is gone.
    """

    def __init__(self, context: RunContext, store: RankStore, reporter: Reporter) -> None:
        self._context, self._reporter = context, reporter
        self._snapshots = Snapshots()
        self._ranks = Ranks(
            store,
            rank=context.rank,
            primary_rank=context.primary_rank,
            world_size=context.world_size,
            settled=self._settled,
            failed=self._failed,
        )
        self._series: dict[Ident, deque[Reduction]] = {}
        self._passes: dict[Phase, dict[Ident, tuple[AcrossRanks, Reduction]]] = {phase: {} for phase in PHASES}
        self._passes_ended: Counter[tuple[Phase, int]] = Counter()
        self._answered: Announcement | None = None
        self._is_asking = self._is_wanted = False
        self._pace = Pace(context.clock)
        self._inbox: deque[tuple[str, list[Merged]]] = deque()
        self._merged_steps: dict[tuple[str, str], int] = {}
        self._told_ranks: dict[tuple[str, str], int] = {}
        self._told_missing = self._is_closing = False
        self._unfinished: Mapping[int, str] = {}

    # this rank's numbers

    def add(self, ident: Ident, across_ranks: AcrossRanks, number: "Number", weight: "Number", state: State) -> None:
        """Keeps this rank's number of a training step.

        Raises:
            LogValueError: There are too many keys.
        """
        kept = self._series.get(ident)
        if kept is None:
            if len(self._series) >= _MAX_SERIES:
                raise LogValueError(f"{_MAX_SERIES} keys are reduced over ranks, and no more", "Log it on one rank.")
            kept = self._series[ident] = deque(maxlen=_STEPS_KEPT)
            self._ranks.use()
        reduction = Reduction(across_ranks)
        reduction.add(number, weight, state)
        kept.append(reduction)

    def add_to_pass(
        self,
        ident: Ident,
        across_ranks: AcrossRanks,
        reduce: Reduce,
        number: "Number",
        weight: "Number",
        state: State,
    ) -> None:
        """Adds this rank's number of a validation or test step to what its pass comes to.

        Raises:
            LogValueError: The key was reduced in another way before.
        """
        reductions = self._passes[state.phase]
        if ident not in reductions:
            reductions[ident] = (across_ranks, Reduction(reduce))
            self._ranks.use()
        across_before, reduction = reductions[ident]
        if (across_before, reduction.reduce) != (across_ranks, reduce):
            raise LogValueError(
                f"it is reduced as {reduction.reduce!r} and across ranks as {across_before!r} in this pass, and now"
                f" as {reduce!r} and {across_ranks!r}",
                "Use one key for each.",
            )
        reduction.add(number, weight, state)

    # when they are given

    def end_step(self, state: State, *, due: bool) -> None:
        """A training step ended: gives what is asked for; on the primary rank, asks where a backend is due."""
        asked = self._ranks.announced
        if asked is not None and asked is not self._answered and state.num_steps >= asked.step:
            self._answered = asked
            self._send(asked.name, self._newest(asked.step), STEP_WAIT_S)
        if self._context.is_primary:
            if not self._pace.step(state.num_steps):
                self._is_asking = False  # it may never come to what was asked for
            self._is_wanted = self._is_wanted or due
            if self._is_wanted and self._pace.is_known and not self._is_asking and self._ranks.is_used:
                self._is_wanted, self._is_asking = False, True
                # All ranks hear of that step before they get there.
                self._ranks.announce(state.num_steps + self._pace.ahead(2 * self._ranks.poll_s + 0.02))

    def end_pass(self, state: State) -> None:
        """A validation or test pass ended with ``state``: gives what it comes to here."""
        name = self._pass_name(state)
        reductions, self._passes[state.phase] = self._passes[state.phase], {}
        whole: list[tuple[Ident, Reduction]] = []
        for ident, (across_ranks, reduction) in reductions.items():
            try:
                if reduction.reduce != across_ranks:
                    taken, reduction = reduction.take(), Reduction(across_ranks)
                    reduction.add(taken, 1.0, state)
            except Exception as error:  # a sum may grow beyond every number
                self._cannot_give(ident, error)
                continue
            reduction.state = state
            whole.append((ident, reduction))
        if self._ranks.is_used:
            self._send(name, whole, PASS_WAIT_S)

    def discard_pass(self, state: State) -> None:
        """A validation or test pass stopped at ``state`` before its end: this rank has no part in it."""
        self._pass_name(state)  # counts it, as the other ranks do
        self._passes[state.phase].clear()

    def close(self, timeout_s: float) -> None:
        """Gives what is left of the last steps, and ends. The primary rank waits for the others, but not longer."""
        self._is_closing = True
        if self._ranks.is_used:
            self._send(_LAST, self._newest(math.inf), CLOSE_WAIT_S)
        self.stop(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Ends, and gives nothing more. Again does nothing."""
        self._ranks.stop(min(CLOSE_WAIT_S, timeout_s) if self._context.is_primary else 0.0)

    # what they come to

    def arrived(self) -> Iterator[tuple[State, Ident, int | float | str]]:
        """Gives the values that came in since the last call; with a text where their number of ranks has changed."""
        while self._inbox:
            name, values = self._inbox.popleft()
            if self._ranks.announced is not None and name == self._ranks.announced.name:
                self._is_asking = False
            for merged in values:
                series = (merged.namespace, merged.key)
                if merged.state.phase == "train":
                    if self._merged_steps.get(series) == merged.state.num_steps:
                        continue  # a rank that was late gave it again
                    self._merged_steps[series] = merged.state.num_steps
                yield merged.state, (SCALAR, *series), merged.value
                if merged.num_ranks != self._told_ranks.get(series, self._context.world_size):
                    self._told_ranks[series] = merged.num_ranks
                    text = f"{merged.num_ranks}/{self._context.world_size} ranks"
                    yield merged.state, (STRING, merged.namespace, f"{merged.key}.ranks"), text

    # how

    def _pass_name(self, state: State) -> str:
        """Returns the name that all ranks give the exchange about this pass, which ends, and no other one.

        A step may have several, and training may come to it again. Counted for each step: a rank that left one
        out is with the others at the next step.
        """
        ended = (state.phase, state.num_steps)
        self._passes_ended[ended] += 1
        return f"{state.phase}/{state.num_steps}/{self._passes_ended[ended]}"

    def _newest(self, step: float) -> list[tuple[Ident, Reduction]]:
        """Takes of every series the last number up to ``step``; what is older is not needed any more."""
        newest = []
        for ident, kept in self._series.items():
            found = next((number for number in reversed(kept) if number.state.num_steps <= step), None)
            if found is not None:
                while kept.popleft() is not found:
                    pass
                newest.append((ident, found))
        return newest

    def _send(self, name: str, reductions: list[tuple[Ident, Reduction]], wait_s: float) -> None:
        shares: dict[State, list[Share]] = {}
        with self._snapshots:  # which ends before anyone may wait for its copies
            for ident, reduction in reductions:
                try:
                    total, weight = map(self._snapshots.scalar, reduction.partial())
                except Exception as error:  # no copies can be made during a graph's capture, say
                    self._cannot_give(ident, error)
                    continue
                _, namespace, key = ident
                share = Share(namespace, key, cast(AcrossRanks, reduction.reduce), weight, total)
                shares.setdefault(reduction.state, []).append(share)
        self._ranks.send(name, partial(self._message, shares), wait_s=wait_s)

    def _cannot_give(self, ident: Ident, error: Exception) -> None:
        path = series_path(*ident[1:])
        text = f"Cannot give this rank's part of '{path}': {text_of(error)}"
        self._reporter.report("values", text, error, about=path)

    def _message(self, shares: Mapping[State, list[Share]]) -> str:
        try:
            return encode(shares)
        except Exception as error:  # the accelerator is lost, say
            self._reporter.report("ranks", f"This rank cannot give its values: {text_of(error)}", error)
            return encode({})

    def _settled(self, name: str, messages: Mapping[int, str]) -> None:
        if name == _LAST:
            before = self._unfinished
            messages = {**before, **{rank: joined(before.get(rank), message) for rank, message in messages.items()}}
        elif self._is_closing and name.startswith("train/"):
            self._unfinished = messages  # who has not heard of this step yet gives it as a last one
            return
        values: list[Merged] = []
        try:
            values = merge(messages, self._context.primary_rank, self._ranks.breathe)
        except Exception as error:
            self._reporter.report("ranks", f"What the ranks gave cannot be merged: {text_of(error)}", error)
        self._inbox.append((name, values))
        missing = sorted(set(range(self._context.world_size)) - messages.keys())
        if missing and not self._told_missing:
            self._told_missing = True
            shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            self._reporter.notice(
                "ranks",
                f"Of {self._context.world_size} ranks, {len(missing)} did not answer in time ({shown}). Values across"
                " ranks go on without them; the texts '<key>.ranks' say how many each one holds.",
            )

    def _failed(self, error: Exception) -> None:
        self._reporter.report(
            "ranks",
            "The store of the process group does not answer: values across ranks hold those of this rank alone."
            f" {text_of(error)}",
            error,
        )
