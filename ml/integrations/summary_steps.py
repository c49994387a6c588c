"""The steps of a run whose values come one by one, each with its step, as torch's ``SummaryWriter`` is given them."""

import logging
import math
from collections.abc import Callable
from types import TracebackType

from ml.integrations.summary_logger import EVENTS, Events
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.worker import Lock, Worker
from ml.loggers.entry import Ident, shown
from ml.loggers.kinds import Kind
from ml.session import Run

_log = logging.getLogger("ml")

HOLD_S = 0.05
"""How long numbers are held, so that many steps are handed on as one."""

MAX_HELD = 1000


class SummarySteps:
    """Begins a step of a run when a value of another one comes, or of a tag that the open step has a value of.

    What may change after the call ends its step at once: then it is copied. Threads may share it.

    Args:
        start: Starts a run, which takes the values and is closed with this. Called once more for what comes after
            that, as torch's writer goes on in another file.

    Attributes:
        lock: Held from the beginning of a step until a value of it is logged.
        run: The run that was started last.
    """

    def __init__(self, start: Callable[[], Run]) -> None:
        self.lock = Lock()
        self.run, self._start = start(), start
        self._step = 0
        self._walltime: float | None = None
        self._tags: set[str] = set()
        self._is_open = self._is_closed = self._is_inert = False
        self._warned: set[str] = set()
        self._held: list[tuple[int, float, Ident, float]] = []
        self._time_s = 0.0
        self._timer = self._start_timer()
        tell_after_fork(self)
        self._at_exit = _AtExit(self)
        close_at_exit(self._at_exit)  # before the run, which is older

    def add_number(self, tag: str, number: float, step: object, walltime: float | None) -> None:
        """Holds a number that cannot change; with others it is handed on at the price of one step.

        That is within 50 ms, and before anything else is.
        """
        if type(step) is not int:
            step = self.whole(step)
        if walltime is not None:
            walltime = self._time_of(walltime)
        with self.lock:
            if self._is_closed:
                self._reopen()
            tags = self._tags
            if step != self._step or walltime != self._walltime or self._is_open or tag in tags or not tags:
                self.end()
                tags.clear()
                if len(self._held) >= MAX_HELD:
                    self.hand_on()
                self._step, self._walltime, self._time_s = step, walltime, self._time_of(walltime)
            tags.add(tag)
            self._held.append((step, self._time_s, self.run.logger.scalar_ident(tag), number))
            if self._is_closed:
                self.hand_on()
            elif len(self._held) == 1:
                self._timer.submit(None, size_bytes=0)

    def hand_on(self, timeout_s: float | None = None) -> None:
        """Hands on the numbers that are held; they wait on while a callable runs, or a pass.

        Args:
            timeout_s: How long to wait for a step that another thread is ending.
        """
        if not self._held:
            return
        held, self._held = self._held, []
        self._tags.clear()
        taken = False
        try:
            taken = self.run.write_numbers(held, timeout_s=timeout_s)
        finally:
            if not taken:  # nor by a call that a Ctrl-C has ended
                self._held = held + self._held

    def log(
        self, kind: Kind, tag: str, value: object, step: object, walltime: float | None, options: object = None
    ) -> None:
        """Logs a value that may change after the call, or a callable, which is called now."""
        with self.lock:
            self.enter(tag, step, walltime)
            self.run.logger.log(kind, tag, value, options=options)
            self.end()

    def log_events(self, name: str, build: Callable[[], Events]) -> None:
        """Logs events that have a step of their own, or none; ``build`` is called now."""
        with self.lock:
            if not self._is_open:
                self._begin(self._step, None)
            self.run.logger.log(EVENTS, name, build)
            self.end()

    def enter(self, tag: str, step: object, walltime: float | None) -> None:
        """Has a step open that the next value is to be of. The lock is held until it is logged.

        Args:
            tag: The tag of the value.
            step: A whole number; ``None`` is 0.
            walltime: Unix seconds; ``None`` is when the step begins.
        """
        if type(step) is not int:
            step = self.whole(step)
        if walltime is not None:
            walltime = self._time_of(walltime)
        if type(tag) is not str:
            tag = shown(tag)
        if step != self._step or walltime != self._walltime or not self._is_open or tag in self._tags:
            self._begin(step, walltime)
        self._tags.add(tag)

    def leave(self, *, is_kept: bool) -> None:
        """A value was logged. If it may change (not ``is_kept``) its step ends, and if nothing takes it any more."""
        if not is_kept or self._is_closed:
            self.end()

    def end(self) -> None:
        """Ends the open step, if there is one; what is held is older or of another one."""
        if self._is_open:
            self._is_open = False
            self._tags.clear()
            self.run.step()

    def whole(self, step: object) -> int:
        """Returns the step that torch's writer makes of what it is given; of what is no number, the last one."""
        if step is None:
            return 0
        try:
            return int(step)  # type: ignore[call-overload,no-any-return]
        except Exception:  # of what is no number anything may come
            kind = type(step).__name__
            self._warn_once("step", f"In {self.run.path}, global_step is a {kind}, no whole number: the last is taken.")
            return self._step

    def close(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the open step and the run, as failed if there is an error."""
        with self.lock:
            was_closed, self._is_closed = self._is_closed, True
            self.hand_on()
            self.end()
            forget_at_exit(self._at_exit)
            self.run.__exit__(kind, error, trace)
            self.hand_on()  # what no step could take is counted
        if not was_closed:  # without the lock, which its thread may wait for
            self._timer.stop(0.0)

    def after_fork_in_child(self) -> None:
        """Makes a new lock, as a thread of the parent may have held it; the run discards by itself."""
        self.lock = Lock()
        self._held = []
        self._is_inert = True

    def _start_timer(self) -> Worker[None]:
        return Worker("ml-summary", self._hand_on_late, max_bytes=1, linger_s=HOLD_S)

    def _hand_on_late(self, signals: list[None]) -> float | None:
        with self.lock:
            # A signal handler may add a number while its thread ends a step, and waits for this lock then.
            self.hand_on(timeout_s=0.0)
            return HOLD_S if self._held and not self._is_closed else None

    def _time_of(self, walltime: float | None) -> float:
        is_time = isinstance(walltime, int | float) and math.isfinite(walltime)
        return float(walltime) if is_time and walltime is not None else self.run.context.wall_clock()

    def _reopen(self) -> None:
        """Goes on in a further attempt of the run; where no thread can be started any more, what comes is counted."""
        if not self._is_inert and "closed" not in self._warned:
            try:
                self.run = self._start()
            except Exception as error:  # the interpreter ends, or the directory is not there any more
                reason = f"it cannot go on ({error})"
                self._warn_once(
                    "closed", f"The SummaryWriter of {self.run.path} was closed, and {reason}: it discards."
                )
            else:
                self._is_closed = False
                self._timer = self._start_timer()
                close_at_exit(self._at_exit)

    def _begin(self, step: int, walltime: float | None) -> None:
        self.hand_on()
        self.end()
        if self._is_closed:
            self._reopen()
        self.run.begin_step(step, time_s=self._time_of(walltime))
        self._step, self._walltime, self._is_open = step, walltime, True

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            _log.warning(message)


class _AtExit:
    """Hands on what is held when the interpreter ends; the run is closed after that."""

    def __init__(self, steps: SummarySteps) -> None:
        self._steps = steps

    def close(self) -> None:
        with self._steps.lock:
            self._steps.hand_on()
