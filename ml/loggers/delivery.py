"""One backend of a group, as the training thread sees it: which values it gets, and what waits for it.

Everything here runs on the training thread and decides; what is decided goes
through a queue to a ``Runner``, which calls the backend on its own thread.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ml.core.errors import LogValueError
from ml.core.state import PHASES, Phase, State
from ml.loggers.base import AnyLogger
from ml.loggers.entry import Ident
from ml.loggers.kinds import Kind
from ml.loggers.reduce import Reduce, Reduction
from ml.loggers.report import Reporter, text_of
from ml.loggers.runner import Item, Queue, Runner, Task
from ml.loggers.selection import refusal
from ml.loggers.stats import LoggerStats, Tally
from ml.loggers.values import Batch, Pending, Row, series_path

if TYPE_CHECKING:
    from ml.loggers.reduce import Number
    from ml.loggers.snapshot import Snapshots


class Delivery:
    """Decides what one backend gets, and hands it over.

    Args:
        backend: The backend, initialized.
        reporter: Takes its failures.
        make_queue: What leads to the backend: ``Runner.start`` for a thread, ``InPlace`` for none.

    Attributes:
        due: Whether the running step is written at its end.
    """

    def __init__(
        self, backend: AnyLogger, reporter: Reporter, make_queue: Callable[[Runner], Queue] = Runner.start
    ) -> None:
        self.backend = backend
        self.tally = Tally()
        self._reporter = reporter
        self._runner = Runner(backend, self.tally, reporter)
        self._queue = make_queue(self._runner)
        self._kept: dict[Phase, tuple[set[Ident], set[Ident]]] = {phase: (set(), set()) for phase in PHASES}
        self._reductions: dict[Phase, dict[Ident, Reduction]] = {phase: {} for phase in PHASES}
        self._pending = Pending()
        self._plain: list[Row] = []
        self._media: list[Row] = []
        self._text_bytes = 0
        self._accepted = self._limited = self._reduced = 0
        self._media_open = False
        self._deadline_s: float | None = None
        self.due = False

    @property
    def thread_id(self) -> int | None:
        """What ``get_ident()`` returns on the backend's own thread; ``None`` where it runs on the caller's."""
        return self._queue.thread_id

    # which values

    def refusal(self, kind: Kind, path: str) -> Literal["unsupported", "excluded"] | None:
        """Returns why this backend never gets values of this kind and key; ``None``: it does."""
        return refusal(self.backend, kind, path)

    def media_refusal(self) -> Literal["media_budget", "disk_low"] | None:
        """Returns why no media are taken at present."""
        return self._runner.media.refusal

    def is_due(self, state: State) -> bool:
        """Asks the backend whether it wants ``state``."""
        try:
            return self.backend.should_write(state)
        except Exception as error:
            self._reporter.report(
                self.backend.id, f"should_write of '{self.backend.id}' raised: {text_of(error)}", error
            )
            return False

    def open_windows(self, state: State, *, force: bool) -> None:
        """A write of ``state`` begins: its keys are kept. A pass is one window of media, whatever is written inside."""
        plain, media = self._kept[state.phase]
        plain.clear()
        if state.phase == "train" and (force or self.backend.limits.media_due(state)):
            media.clear()
            self._media_open = True

    def keep(self, ident: Ident, phase: Phase) -> bool:
        """Whether the running window had no value of this key yet; from now on it has."""
        kept = self._kept[phase][ident[0].droppable]
        if ident in kept:
            self._limited += 1
            return False
        kept.add(ident)
        return True

    # values

    def give(self, row: Row) -> None:
        """Takes a value of the running step."""
        self._accepted += 1
        if isinstance(row[3], str):
            self._text_bytes += len(row[3])
        (self._media if row[0].droppable else self._plain).append(row)

    def give_plain(self, rows: list[Row], idents: list[Ident], phase: Phase) -> None:
        """Takes numbers of a step that opens a window, and keeps the keys of those that it had, or failed to have."""
        self._accepted += len(rows)
        self._plain += rows
        self._kept[phase][False].update(idents)

    def give_late(self, state: State, rows: list[Row]) -> None:
        """Takes numbers and texts of an earlier step, or of an ended pass; they wait for the next write."""
        self._accepted += len(rows)
        self.count()
        self._pending.add(state, rows, [], text_bytes=sum(len(row[3]) for row in rows if isinstance(row[3], str)))
        self._bound()

    def reduce(self, ident: Ident, reduce: Reduce, number: "Number", weight: "Number", state: State) -> None:
        """Takes one contribution to a reduced value."""
        reductions = self._reductions[state.phase]
        reduction = reductions.get(ident)
        if reduction is None:
            reduction = reductions[ident] = Reduction(reduce)
        elif reduction.reduce != reduce:
            raise LogValueError(
                f"it is reduced as '{reduction.reduce}' in this window, and now as '{reduce}'", "Use one key for each."
            )
        # Counted first: an interruption may leave a value that never comes, but none that was not counted.
        is_first = not reduction.is_open
        self._accepted += is_first
        try:
            reduction.add(number, weight, state)
        except Exception:
            self._accepted -= is_first
            raise
        self._reduced += not is_first

    # handing over

    def end_step(self, state: State, snapshots: "Snapshots", *, due: bool) -> None:
        """Puts the step's values behind what is pending; where the backend is due, hands everything over."""
        if due and self._reductions[state.phase]:
            self._take_reductions(state, snapshots)
            if state.phase == "train":
                self._reductions["train"].clear()
        self.collect(state)
        if due:
            snapshots.launch()  # before anyone may wait for its copies
            self.hand_over(state)
        elif self._pending.size_bytes:
            self._bound()

    def collect(self, state: State) -> None:
        """Puts the values of a step behind what is pending."""
        self.count()
        if self._plain or self._media:
            plain, media, text_bytes = self._plain, self._media, self._text_bytes
            # First: what an interruption leaves here would be written twice.
            self._plain, self._media, self._text_bytes = [], [], 0
            self._pending.add(state, plain, media, text_bytes=text_bytes)

    def end_pass(self, state: State, snapshots: "Snapshots") -> None:
        """The pass whose last step was ``state`` is over: writes its reductions and what is pending."""
        self._take_reductions(state, snapshots)
        self._reductions[state.phase].clear()
        self.collect(state)
        for kept in self._kept[state.phase]:
            kept.clear()
        snapshots.launch()
        self.hand_over(state)

    def discard_reductions(self, phase: Phase) -> None:
        """Forgets what the windows of a phase have reduced so far."""
        reductions, self._reductions[phase] = self._reductions[phase], {}
        self.count()
        self.tally.drop("closed", sum(reduction.is_open for reduction in reductions.values()))

    def begin_close(self, deadline_s: float) -> None:
        """From now on nothing waits longer than until ``deadline_s`` (of ``time.monotonic``), and no retry at all."""
        self._deadline_s = deadline_s
        self._queue.drain(0.0)

    def take_back_close(self) -> None:
        """It is not closed after all."""
        self._deadline_s = None

    def end_windows(self, state: State, snapshots: "Snapshots") -> None:
        """Nothing more comes: writes what open windows still hold, of every phase."""
        for phase in PHASES:
            self._take_reductions(state._replace(phase=phase), snapshots)
            self._reductions[phase].clear()
        self.collect(state)
        snapshots.launch()
        self.hand_over(state)

    def hand_over(self, state: State) -> None:
        """Sends what is pending to the backend as one write of ``state``, and moves its clocks."""
        if self._pending.size_bytes:
            # A later write of the same window moves no clock: keys that are new each time would keep it open for ever.
            if self._media_open and self._pending.has_media:
                self.backend.limits.mark_media(state)
                self._media_open = False
            self.backend.limits.mark(state)
            self.send_pending(state)

    def send_pending(self, state: State) -> None:
        """Sends what is pending to the backend as one write of ``state``."""
        size_bytes = self._pending.size_bytes
        batches = self._pending.take()
        if not batches:
            return
        if batches[-1].state is not state:
            batches.append(Batch(state, [], 0))  # what ends the run says which state is written
        waits, max_bytes = self.backend.config.on_full == "wait", self.backend.config.max_queue_bytes
        # More than the queue can hold at once is written piece by piece, where it is waited for.
        in_pieces = waits and size_bytes > max_bytes
        if waits and not in_pieces:
            self._wait_for_room(max_bytes - size_bytes)
        for batch in batches:
            if in_pieces:
                self._wait_for_room(max_bytes - batch.size_bytes)
            more = not in_pieces and batch is not batches[-1]
            dropped = self._queue.submit(batch, size_bytes=batch.size_bytes, droppable=batch.is_media, more=more)
            if dropped:
                self._drop(dropped)

    def _wait_for_room(self, max_bytes: int) -> None:
        wait_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
        self._queue.wait_for_room(max(0, max_bytes), wait_s)

    def submit(self, task: Task) -> bool:
        """Has the backend's thread do something after what it was given; False: it never will."""
        return not self._queue.submit(task, size_bytes=0)

    def begin_flush(self) -> Task:
        """Has everything sent so far made durable; the task's ``done`` tells when."""
        task = Task(self._runner.flush)
        if not self.submit(task):
            task.done.set()
            task.error = RuntimeError("closed")
        self._queue.drain(0.0)  # what waits to be retried is retried now, while others are waited for
        return task

    def wait_for(self, task: Task, deadline_s: float) -> bool:
        """Waits until the backend's thread has done ``task``; False: not before ``deadline_s``."""
        return self._queue.wait_until(task.done.is_set, max(0.0, deadline_s - time.monotonic()))

    @property
    def is_durable(self) -> bool:
        """Whether the backend has ended, and could say that all it was given is durable."""
        return self._runner.is_durable

    @property
    def lost(self) -> int:
        """How many values were given up, or failed to be written."""
        stats = self.tally.stats()
        return sum(stats.dropped.values()) + stats.failed.get("write", 0)

    def wind_down(self) -> None:
        """Has the backend end when everything is written, and waits for nothing."""
        self._queue.wind_down()

    def end(self, deadline_s: float) -> None:
        """Ends the backend; what is not written at ``deadline_s`` (of ``time.monotonic``) is given up."""
        self._queue.end(max(0.0, deadline_s - time.monotonic()))

    def settle(self, deadline_s: float) -> None:
        """Waits until ``deadline_s`` for the thread that was told to end; then no count changes any more."""
        self._queue.join(max(0.0, deadline_s - time.monotonic()))
        self.count()  # what a Ctrl-C at the end of the last step has left uncounted
        if count := self.tally.finish():
            self._reporter.notice(
                self.backend.id, f"'{self.backend.id}' did not write {count} values before closing had to end: lost."
            )

    # counting

    def count(self) -> None:
        """Brings the tally up to date with what was decided since the last time."""
        self.tally.offered = (self._accepted, self._limited, self._reduced)

    def stats(self) -> LoggerStats:
        """Returns what became of the backend's values."""
        self.count()
        return self.tally.stats()

    def _take_reductions(self, state: State, snapshots: "Snapshots") -> None:
        earlier: dict[State, list[Row]] = {}
        for (kind, namespace, key), reduction in self._reductions[state.phase].items():
            if reduction.is_open:
                try:
                    row: Row = (kind, namespace, key, snapshots.scalar(reduction.take()))
                except Exception as error:  # a sum may grow beyond every number
                    path = series_path(namespace, key)
                    known = error if isinstance(error, LogValueError) else LogValueError(f"it raised {text_of(error)}")
                    self.tally.fail("value")
                    self._reporter.report("values", str(known.located(path)), error, about=path)
                    continue
                if reduction.state == state:
                    self._plain.append(row)
                else:
                    earlier.setdefault(reduction.state, []).append(row)
        for last_state in sorted(earlier, key=lambda state: (state.num_steps, state.time_s)):
            self._pending.add(last_state, earlier[last_state], [])

    def _bound(self) -> None:
        max_bytes = self.backend.config.max_queue_bytes
        for only_media in (True, False):  # of each, what is queued is older than what is pending
            if self._pending.size_bytes + self._queue.queued_bytes > max_bytes:
                queue_bytes = max(0, max_bytes - self._pending.size_bytes)
                self._drop(self._queue.shrink(queue_bytes, only_droppable=only_media))
                pending_bytes = max(0, max_bytes - self._queue.queued_bytes)
                self._drop(self._pending.shrink(pending_bytes, only_media=only_media))

    def _drop(self, dropped: "list[Item] | list[Batch]") -> None:
        for item in dropped:
            if isinstance(item, Batch):
                self.tally.drop("queue_full", len(item.rows))
        if dropped and not self.tally.is_finished:
            config = self.backend.config
            self._reporter.notice(
                self.backend.id,
                f"'{self.backend.id}' has more to write than max_queue_bytes={config.max_queue_bytes} can hold: the "
                f"oldest media are dropped, then the oldest others, and counted as queue_full. Raise max_queue_bytes, "
                "log less media, or set on_full='wait'.",
            )
