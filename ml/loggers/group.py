"""The backends of a run, from their start to their end.

::

    with LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], RunContext("runs/demo")) as logs:
        logs.write([model.logger, task.logger, trainer.logger], state)

What happens at the end of a step is in ``steps.py``. Here is who may call what and when: several
threads, callables and backends that call back, a close that interrupts, the end of the process.
"""

import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from ml.core.errors import ConfigError
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.rankstore import RankStore
from ml.io.worker import LAST_JOIN_S, Lock, get_ident
from ml.loggers.base import AnyLogger
from ml.loggers.delivery import Delivery
from ml.loggers.entry import Ident
from ml.loggers.off import OffLogger
from ml.loggers.report import OnError, Reporter, text_of
from ml.loggers.runner import InPlace, Task
from ml.loggers.snapshot import Snapshots
from ml.loggers.stats import LoggerStats
from ml.loggers.steps import Steps

if TYPE_CHECKING:
    from ml.loggers.across import Across
    from ml.loggers.multi import MultiLogger


class LoggerGroup:
    """The backends of a run: fan-out, lifetime, failure policy, statistics. A context manager.

    Only the primary rank has backends, but for those with ``all_ranks``; a rank without any computes nothing
    but its part of values across ranks.

    Args:
        loggers: The backends; their ids differ.
        context: The run that they belong to.
        store: What the ranks share: that of the process group. Without one, a value across ranks is that of the
            primary rank, and says so.
        on_error: ``"warn"``: a failure is reported and training goes on. ``"raise"``, for tests:
            the first failure is raised by the group's next call, by ``close`` at the latest.
        close_timeout_s: How long ``close`` may take, all backends together; also at the interpreter's exit.
        audit_syncs: Names every callable that waits for an accelerator, see ``SyncAudit``. Slow: for a few steps.

    Raises:
        ConfigError: See ``check``; or a backend cannot work as it is configured.
    """

    _across: "Across | None"

    def __init__(
        self,
        loggers: Iterable[AnyLogger],
        context: RunContext,
        *,
        store: RankStore | None = None,
        on_error: OnError = "warn",
        close_timeout_s: float = 10.0,
        audit_syncs: bool = False,
    ) -> None:
        loggers = list(loggers)
        self.check(loggers, on_error, close_timeout_s)
        self._begin(context, on_error, close_timeout_s)
        if audit_syncs:
            from ml.loggers.audit import SyncAudit

            self._snapshots.audit = SyncAudit(self._reporter.notice)
        deliveries = self._start(_of_this_rank(loggers, context))
        if store is not None and context.world_size > 1:
            from ml.loggers.across import Across

            self._across = Across(context, store, self._reporter)
        self._serve(deliveries)
        close_at_exit(self)

    @staticmethod
    def check(loggers: Iterable[AnyLogger], on_error: OnError, close_timeout_s: object) -> None:
        """Finds what a group refuses, before anything is made.

        Raises:
            ConfigError: Two backends share an id, ``on_error`` is no policy, or the timeout no number of seconds.
        """
        if not isinstance(close_timeout_s, (int, float)) or not 0 <= close_timeout_s < math.inf:
            raise ConfigError(f"close_timeout_s is a number of seconds, 0 or more, got {close_timeout_s!r}.")
        if on_error not in ("warn", "raise"):
            raise ConfigError(f"on_error is 'warn' or 'raise', got {on_error!r}.")
        ids = [backend.id for backend in loggers]
        for identity in ids:
            if ids.count(identity) > 1:
                raise ConfigError(f"Two backends are called '{identity}'. Give one of them an id of its own.")

    @classmethod
    def in_place(cls, loggers: Iterable[AnyLogger]) -> "LoggerGroup":
        """Returns a group of loggers that were initialized already and run on the caller's thread."""
        loggers = list(loggers)
        for backend in loggers:
            if not hasattr(backend, "limits"):
                raise ConfigError(f"'{backend.id}' was not initialized. Call its initialize(context) first.")
        group = cls.__new__(cls)
        group._begin(loggers[0].context if loggers else RunContext("."), "warn", 0.0)
        loggers = _of_this_rank(loggers, group.context)
        group._serve([Delivery(backend, group._reporter, InPlace) for backend in loggers])
        return group

    def _begin(self, context: RunContext, on_error: OnError, close_timeout_s: float) -> None:
        self.context, self._close_timeout_s = context, close_timeout_s
        from ml.core.redact import Redactor  # its patterns take longer to compile than the rest to import

        self._redactor = Redactor(os.environ)
        self._redactor.learn_argv(sys.argv)
        self._reporter = Reporter(context, self._redactor, on_error)
        self._snapshots = Snapshots(context.world_size)
        self._across = None
        self._serve([])
        self._lock = Lock()
        self._lost_told = 0  # at the last flush
        self._writing = self._closing = self._closed = self._stopped = False
        tell_after_fork(self)

    def _start(self, loggers: list[AnyLogger]) -> list[Delivery]:
        started: list[AnyLogger] = []
        for backend in loggers:
            try:
                backend.initialize(self.context)
                if not hasattr(backend, "limits"):
                    raise ConfigError(f"initialize of '{backend.id}' must call super().initialize(context).")
            except ConfigError:
                for other in started:
                    other.close()
                raise
            except Exception as error:
                text = f"'{backend.id}' cannot start and stays off: {text_of(error)}"
                self._reporter.report(backend.id, text, error)
                backend = OffLogger(backend, self.context)
            started.append(backend)
        return [Delivery(backend, self._reporter) for backend in started]

    def _serve(self, deliveries: list[Delivery]) -> None:
        self._deliveries = deliveries
        self._threads = frozenset(delivery.thread_id for delivery in deliveries)
        self._steps = Steps(deliveries, self._snapshots, self._reporter, self.context.wall_clock, self._across)

    def log_config(self, config: object) -> DictConfig:
        """Gives every backend the run's configuration, secrets taken out. Call it once, before the first step.

        Args:
            config: A ``DictConfig``, a mapping, or a configuration dataclass.

        Returns:
            What the backends are given.
        """
        self._redactor.learn_config(config)
        typed = self._redactor.redact_config(config)
        with self._lock:
            self._reporter.raise_first()
            for delivery in self._deliveries:
                delivery.submit(Task(partial(self._log_config, delivery.backend, typed)))
        return typed

    def _log_config(self, backend: AnyLogger, config: DictConfig) -> None:
        try:
            backend.log_config(config)
        except Exception as error:
            text = f"'{backend.id}' cannot log the configuration: {text_of(error)}"
            self._reporter.report(backend.id, text, error)

    def write(self, components: "Iterable[MultiLogger]", state: State, *, force: bool = False) -> None:
        """Ends a step.

        Args:
            components: What logged in it, each given once.
            state: Where training stands, this step included.
            force: Makes every backend due.

        Raises:
            ConfigError: The state has no known phase.
        """
        if self.is_backend_here:  # the loop may hold the lock, and wait for room that this very thread makes
            self._reporter.notice("values", "A backend ended a step of the group that it belongs to: ignored.")
            return
        with self._lock:
            if self._writing:
                self._reporter.notice("values", "A logged callable ended a step while one was being ended: ignored.")
                return
            try:
                self._writing = True
                self._reporter.raise_first()
                if self._closed:
                    self._steps.refuse(components)
                else:
                    self._steps.end(components, state, force=force)
            finally:
                self._writing = False
                self._snapshots.restore()

    def write_numbers(self, numbers: "Sequence[tuple[State, Ident, float]]", timeout_s: float | None = None) -> bool:
        """Ends steps of training that held plain numbers alone: all of them, at about the price of one step.

        Args:
            numbers: Each with the state of its step, in order; every backend that takes its series gets it.
            timeout_s: How long to wait for a step that another thread is ending; ``None``: as long as that takes.

        Returns:
            False where a step is being ended, or a backend calls: nothing was taken.
        """
        if self.is_backend_here or not self._lock.acquire(timeout=-1 if timeout_s is None else timeout_s):
            return False
        try:
            if self._writing:
                return False
            try:
                self._writing = True
                self._reporter.raise_first()
                if self._closed:
                    for delivery in self._deliveries:
                        delivery.tally.refuse("closed", len(numbers))
                elif numbers:
                    self._steps.end_numbers(numbers)
            finally:
                self._writing = False
        finally:
            self._lock.release()
        return True

    def end_pass(self) -> None:
        """Ends the running validation or test pass: its means, and what is pending of it, are written."""
        with self._lock:
            self._steps.end_pass()

    def discard_pass(self) -> None:
        """Ends the running validation or test pass without its means: it was not finished. They count as ``closed``."""
        with self._lock:
            self._steps.discard_pass()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Sends what is pending and waits until all is durable; moves no clock.

        Args:
            timeout_s: How long to wait; by default as long as ``close`` may take.

        Returns:
            True only when everything that was accepted since the last ``flush``, and is in no open window, is
            durable: none was dropped, none failed to be written. False inside of a logged callable and on a
            backend's own thread, which cannot wait for itself.
        """
        if get_ident() in self._threads:
            return False
        deadline_s = time.monotonic() + (self._close_timeout_s if timeout_s is None else timeout_s)
        with self._lock:
            if self._writing:
                return False
            self._reporter.raise_first()
            is_closed = self._closed  # which left nothing to do
            if not is_closed:
                self._steps.send_pending()
        durable = self._ended_durably if is_closed else self._make_durable(deadline_s)
        told, self._lost_told = self._lost_told, self._lost
        return durable and told == self._lost_told

    def secure(self, timeout_s: float) -> bool:
        """Writes what was accepted, of open windows too, and waits until all is durable: the process may end soon.

        Any thread may call it; it runs no callable, and does not wait longer for a thread that is stuck in a
        step. The mean of a pass that is running is left out: it is none yet.

        Args:
            timeout_s: How long that may take.

        Returns:
            True only when everything that was accepted since the last ``flush`` is durable.
        """
        deadline_s = time.monotonic() + timeout_s
        # Whoever closes does all this; one who is stuck in a step, waiting for room, must not take all the time.
        is_free = self._lock.acquire(timeout=timeout_s if self._closing else timeout_s / 2)
        is_closed = False
        if is_free:
            try:
                is_closed = self._closed
                if not is_closed:
                    self._steps.secure()
            finally:
                self._lock.release()
        durable = self._ended_durably if is_closed else self._make_durable(deadline_s)
        return durable and is_free and self._lost == self._lost_told

    def _make_durable(self, deadline_s: float) -> bool:
        tasks = [delivery.begin_flush() for delivery in self._deliveries]
        durable = True
        for delivery, task in zip(self._deliveries, tasks, strict=True):
            done = delivery.wait_for(task, deadline_s)
            if task.error is not None:
                identity = delivery.backend.id
                self._reporter.report(identity, f"'{identity}' cannot flush: {text_of(task.error)}", task.error)
            durable = durable and done and task.error is None
        return durable

    @property
    def _ended_durably(self) -> bool:
        return all(delivery.is_durable for delivery in self._deliveries)

    @property
    def _lost(self) -> int:
        return sum(delivery.lost for delivery in self._deliveries)

    def begin_close(self, timeout_s: float | None = None) -> None:
        """``close`` will follow: from now on nothing waits longer than until it has to be done."""
        deadline_s = time.monotonic() + (self._close_timeout_s if timeout_s is None else timeout_s)
        for delivery in self._deliveries:
            delivery.begin_close(deadline_s)

    def close(self, timeout_s: float | None = None) -> dict[str, LoggerStats]:
        """Ends the open step and the running pass, writes everything, and closes every backend.

        Args:
            timeout_s: How long that may take, all backends together. What is not written then is
                counted as dropped, ``deadline``. By default the group's ``close_timeout_s``.

        Returns:
            What became of every value. Closing twice is closing once.
        """
        if self._closing and get_ident() in self._threads:  # whoever closes waits for this very thread
            return self._tallies()
        timeout_s = self._close_timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + timeout_s
        self.begin_close(timeout_s)
        if not self._lock.acquire(timeout=timeout_s):
            # A thread is stuck in a step, in a callable or waiting for room: what it holds is lost, the rest is not.
            self._closing = True
            self._stop(deadline_s)
            return self._tallies()
        try:
            if not self._stopped and not self._writing:  # once more, if a Ctrl-C has ended an earlier try
                self._closing = True
                try:
                    self._end_windows(deadline_s)
                finally:
                    self._stop(deadline_s)
            elif not self._stopped:  # inside of a step: it is not closed
                for delivery in self._deliveries:
                    delivery.take_back_close()
            stats = self.stats()
            self._reporter.raise_first()
        finally:
            self._lock.release()
        return stats

    def _stop(self, deadline_s: float) -> None:
        """Ends every backend at one deadline, which a Ctrl-C brings to now; then says what is lost."""
        self._closed = True
        for delivery in self._deliveries:  # all at once: one that blocks takes no time from the others
            delivery.wind_down()
        try:
            if self._across is not None:
                self._across.stop(0.0)
            for delivery in self._deliveries:
                delivery.end(deadline_s)
        except BaseException:
            deadline_s = 0.0
            for delivery in self._deliveries:
                delivery.end(deadline_s)
            raise
        finally:
            last_s = max(deadline_s, time.monotonic() + LAST_JOIN_S)
            for delivery in self._deliveries:
                delivery.settle(last_s)
            self._threads = frozenset()
            self._reporter.close(max(0.0, deadline_s - time.monotonic()))
            self._stopped = True
            forget_at_exit(self)

    def end_windows(self) -> None:
        """Writes what was logged since the last step, the running pass, and what open windows hold."""
        self._end_windows(time.monotonic())

    def _end_windows(self, deadline_s: float) -> None:
        with self._lock:
            if self._writing:
                return
            try:
                self._writing = True
                # Other ranks may be dead: half of the time is the backends' own.
                self._steps.end_windows(max(0.0, deadline_s - time.monotonic()) / 2)
            finally:
                self._writing = False
                self._snapshots.restore()

    @property
    def is_backend_here(self) -> bool:
        """Whether the caller runs on the thread of one of the backends: what it logs would come back to it."""
        return get_ident() in self._threads

    def keep(self, source: str, level: str, about: str, message: str, trace: str = "") -> str | None:
        """Keeps in ``errors.jsonl`` what other code has said; see ``Reporter.keep``. Any thread may call it.

        Args:
            source: Through what it was said, e.g. ``logging``.
            level: How grave it is, e.g. ``WARNING``.
            about: Who said it.
            message: What was said; secrets are taken out, and what is past 65,536 characters is cut.
            trace: A traceback; likewise.

        Returns:
            All of it as it may be shown, or ``None`` when nothing is kept any more: the group is closed.
        """
        return self._reporter.keep(source, level, about, message, trace)

    def stats(self) -> dict[str, LoggerStats]:
        """Returns what became of every value so far, by backend id."""
        if get_ident() in self._threads:
            return self._tallies()
        with self._lock:
            self._steps.count()
            return {delivery.backend.id: delivery.stats() for delivery in self._deliveries}

    def _tallies(self) -> dict[str, LoggerStats]:
        return {delivery.backend.id: delivery.tally.stats() for delivery in self._deliveries}

    def __enter__(self) -> "LoggerGroup":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else what ended the loop is raised; this one was reported
                raise

    def after_fork_in_child(self) -> None:
        """Makes the child's copy inert: it discards what it is given."""
        self._lock = Lock()
        self._across = None
        self._serve([])
        self._closed, self._stopped, self._writing = True, True, False


def _of_this_rank(loggers: Iterable[AnyLogger], context: RunContext) -> list[AnyLogger]:
    return [backend for backend in loggers if context.is_primary or backend.config.all_ranks]
