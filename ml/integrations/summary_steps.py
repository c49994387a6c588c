"""The steps of a run whose values come one by one, each with its step, as torch's ``SummaryWriter`` is given them."""

import logging
from collections.abc import Callable
from types import TracebackType

from ml.integrations.summary_logger import EVENTS, Events
from ml.io.lifetime import tell_after_fork
from ml.io.worker import Lock
from ml.loggers.kinds import Kind
from ml.session import Run

_log = logging.getLogger("ml")


class Steps:
    """Begins a step of a run when a value of another one comes, or of a tag that the open step has a value of.

    What may change after the call ends its step at once: then it is copied. Threads may share it.

    Args:
        run: Takes the values, and is closed with this.

    Attributes:
        lock: Held from the beginning of a step until a value of it is logged.
    """

    def __init__(self, run: Run) -> None:
        self.lock = Lock()
        self._run = run
        self._step = 0
        self._walltime: float | None = None
        self._tags: set[str] = set()
        self._is_open = self._is_closed = False
        self._warned: set[str] = set()
        tell_after_fork(self)

    def log(
        self, kind: Kind, tag: str, value: object, step: object, walltime: float | None, options: object = None
    ) -> None:
        """Logs a value that may change after the call, or a callable, which is called now."""
        with self.lock:
            self.enter(tag, step, walltime)
            self._run.logger.log(kind, tag, value, options=options)
            self.end()

    def log_events(self, name: str, build: Callable[[], Events]) -> None:
        """Logs events that have a step of their own, or none; ``build`` is called now."""
        with self.lock:
            if not self._is_open:
                self._begin(self._step, None)
            self._run.logger.log(EVENTS, name, build)
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
        if type(tag) is not str:
            tag = repr(tag)
        if step != self._step or walltime != self._walltime or not self._is_open or tag in self._tags:
            self._begin(step, walltime)
        self._tags.add(tag)

    def leave(self, *, is_kept: bool) -> None:
        """A value was logged. If it may change (not ``is_kept``) its step ends, and if nothing takes it any more."""
        if not is_kept or self._is_closed:
            self.end()

    def end(self) -> None:
        """Ends the open step, if there is one."""
        if self._is_open:
            self._is_open = False
            self._tags.clear()
            self._run.step()

    def whole(self, step: object) -> int:
        """Returns the step that torch's writer makes of what it is given; of what is no number, the last one."""
        if step is None:
            return 0
        try:
            return int(step)  # type: ignore[call-overload,no-any-return]
        except (TypeError, ValueError, OverflowError):
            kind = type(step).__name__
            self._warn_once(
                "step", f"In {self._run.path}, global_step is a {kind}, no whole number: the last is taken."
            )
            return self._step

    def close(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the open step and the run, as failed if there is an error."""
        with self.lock:
            self.end()
            self._is_closed = True
        self._run.__exit__(kind, error, trace)

    def after_fork_in_child(self) -> None:
        """Makes a new lock, as a thread of the parent may have held it; the run discards by itself."""
        self.lock = Lock()

    def _begin(self, step: int, walltime: float | None) -> None:
        self.end()
        if self._is_closed:
            self._warn_once("closed", f"The SummaryWriter of {self._run.path} is closed: it counts, and discards.")
        self._run.begin_step(step, time_s=self._run.context.wall_clock() if walltime is None else walltime)
        self._step, self._walltime, self._is_open = step, walltime, True

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            _log.warning(message)
