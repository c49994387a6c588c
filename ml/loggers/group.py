"""Ends steps: asks every backend once whether it is due, computes every value once, gives each what it is to get.

::

    with LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], RunContext("runs/demo")) as logs:
        logs.write([model.logger, task.logger, trainer.logger], state)

What a value goes through is drawn in ``values.py``'s terms: an entry of a
``MultiLogger`` becomes a row, rows become a batch of each ``Delivery``.
"""

import os
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ml.core.errors import ConfigError, LogValueError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.io.worker import Lock, close_at_exit, tell_after_fork
from ml.loggers.base import AnyLogger
from ml.loggers.delivery import Delivery, Ident
from ml.loggers.off import OffLogger
from ml.loggers.reduce import REDUCES, Reduce, ReduceOptions
from ml.loggers.report import OnError, Reporter
from ml.loggers.runner import InPlace, Task
from ml.loggers.snapshot import CollectiveError, Snapshots, copy_bytes, version
from ml.loggers.stats import Failed, LoggerStats
from ml.loggers.values import Lazy, Row

if TYPE_CHECKING:
    from ml.loggers.multi import Entry, Held, MultiLogger


class Route:
    """Who gets the values of one series. ``limited`` counts those that no one needed, until they are told."""

    __slots__ = ("limited", "path", "problem", "receivers", "refusals")

    def __init__(self, ident: Ident, deliveries: list[Delivery]) -> None:
        kind, namespace, key = ident
        self.path = f"{namespace}/{key}" if namespace else key
        self.problem = _problem(namespace, key)
        refusals = [(delivery, delivery.refusal(kind, self.path)) for delivery in deliveries]
        self.receivers = [delivery for delivery, refusal in refusals if refusal is None]
        self.refusals = [(delivery, refusal) for delivery, refusal in refusals if refusal is not None]
        self.limited = 0

    def tell_limited(self) -> None:
        """Counts what was not needed."""
        count, self.limited = self.limited, 0
        if count:
            for delivery in self.receivers:
                delivery.tally.skip("rate_limited", count)
            self.tell_refused(count)

    def tell_refused(self, count: int = 1) -> None:
        """Counts values at the backends that never get them."""
        for delivery, refusal in self.refusals:
            delivery.tally.skip(refusal, count)


class LoggerGroup:
    """The backends of a run: fan-out, lifetime, failure policy, statistics. A context manager.

    Only the primary rank has backends; on other ranks a group computes nothing.

    Args:
        loggers: The backends; their ids differ.
        context: The run that they belong to.
        on_error: ``"warn"``: a failure is reported and training goes on. ``"raise"``, for tests:
            the first failure is raised by the group's next call, by ``close`` at the latest.
        close_timeout_s: How long ``close`` may take, all backends together; also at the interpreter's exit.

    Raises:
        ConfigError: Two backends share an id, or one cannot work as it is configured.
    """

    def __init__(
        self,
        loggers: Iterable[AnyLogger],
        context: RunContext,
        *,
        on_error: OnError = "warn",
        close_timeout_s: float = 10.0,
    ) -> None:
        self._begin(context, on_error, close_timeout_s)
        loggers = list(loggers)
        ids = [backend.id for backend in loggers]
        for identity in ids:
            if ids.count(identity) > 1:
                raise ConfigError(f"Two backends are called '{identity}'. Give one of them an id of its own.")
        if context.is_primary:
            self._start(loggers)
        close_at_exit(self)

    @classmethod
    def in_place(cls, loggers: Iterable[AnyLogger]) -> "LoggerGroup":
        """Returns a group of loggers that were initialized already and run on the caller's thread."""
        loggers = list(loggers)
        for backend in loggers:
            if not hasattr(backend, "limits"):
                raise ConfigError(f"'{backend.id}' was not initialized. Call its initialize(context) first.")
        group = cls.__new__(cls)
        group._begin(loggers[0].context if loggers else RunContext("."), "warn", 0.0)
        group._deliveries = [Delivery(backend, group._reporter, InPlace) for backend in loggers]
        return group

    def _begin(self, context: RunContext, on_error: OnError, close_timeout_s: float) -> None:
        self.context, self._close_timeout_s = context, close_timeout_s
        self._redactor = Redactor(os.environ)
        self._reporter = Reporter(context, self._redactor, on_error)
        self._snapshots = Snapshots(context.world_size)
        self._deliveries: list[Delivery] = []
        self._lock = Lock()
        self._components: dict[MultiLogger, None] = {}
        self._routes: dict[Ident, Route] = {}
        self._settled: dict[Ident, Route] = {}
        self._state: State | None = None
        self._in_pass = False
        self._writing = self._closed = False
        tell_after_fork(self)

    def _start(self, loggers: list[AnyLogger]) -> None:
        started: list[AnyLogger] = []
        for backend in loggers:
            try:
                backend.initialize(self.context)
            except ConfigError:
                for other in started:
                    other.close()
                raise
            except Exception as error:
                self._reporter.report(backend.id, f"'{backend.id}' cannot start and stays off: {error}", error)
                backend = OffLogger(backend, self.context)
            started.append(backend)
        self._deliveries = [Delivery(backend, self._reporter) for backend in started]

    def log_config(self, config: object) -> None:
        """Gives every backend the run's configuration, secrets taken out. Call it once, before the first step.

        Args:
            config: A ``DictConfig``, a mapping, or a configuration dataclass.
        """
        redacted = self._redactor.redact_config(config)
        typed = redacted if isinstance(redacted, DictConfig) else OmegaConf.create(redacted)
        with self._lock:
            self._reporter.raise_first()
            for delivery in self._deliveries:
                delivery.submit(Task(partial(self._log_config, delivery.backend, typed)))

    def _log_config(self, backend: AnyLogger, config: DictConfig) -> None:
        try:
            backend.log_config(config)
        except Exception as error:
            self._reporter.report(backend.id, f"'{backend.id}' cannot log the configuration: {error}", error)

    def write(self, components: "Iterable[MultiLogger]", state: State, *, force: bool = False) -> None:
        """Ends a step.

        Args:
            components: What logged in it, each given once.
            state: Where training stands, this step included.
            force: Makes every backend due.
        """
        with self._lock:
            if self._writing:
                self._reporter.notice("values", "A logged callable ended a step while one was being ended: ignored.")
                return
            self._writing = True
            try:
                self._reporter.raise_first()
                self._write(components, state, force)
            finally:
                self._writing = False

    def end_pass(self) -> None:
        """Ends the running validation or test pass: its means, and what is pending of it, are written."""
        with self._lock:
            if self._in_pass and self._state is not None:
                self._in_pass = False
                with self._snapshots.step():
                    for delivery in self._deliveries:
                        delivery.end_pass(self._state, self._snapshots)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Sends what is pending and waits until all is durable; moves no clock.

        Args:
            timeout_s: How long to wait; by default as long as ``close`` may take.

        Returns:
            True only when everything that was accepted, and is in no open window, is durable.
        """
        deadline_s = time.monotonic() + (self._close_timeout_s if timeout_s is None else timeout_s)
        with self._lock:
            self._reporter.raise_first()
            if self._state is not None:
                for delivery in self._deliveries:
                    delivery.send_pending(self._state)
            tasks = [delivery.begin_flush() for delivery in self._deliveries]
        durable = True
        for delivery, task in zip(self._deliveries, tasks, strict=True):
            done = delivery.wait_for(task, deadline_s)
            if task.error is not None:
                self._reporter.report(
                    delivery.backend.id, f"'{delivery.backend.id}' cannot flush: {task.error}", task.error
                )
            durable = durable and done and task.error is None and not delivery.lost_since_last_asked()
        return durable

    def close(self, timeout_s: float | None = None) -> dict[str, LoggerStats]:
        """Ends the open step and the running pass, writes everything, and closes every backend.

        Args:
            timeout_s: How long that may take, all backends together. What is not written then is
                counted as dropped, ``deadline``. By default the group's ``close_timeout_s``.

        Returns:
            What became of every value. Closing twice is closing once.
        """
        deadline_s = time.monotonic() + (self._close_timeout_s if timeout_s is None else timeout_s)
        with self._lock:
            if not self._closed and not self._writing:
                if self._state is not None:
                    self._write(list(self._components), self._state, force=True)
                    self.end_pass()
                    with self._snapshots.step():
                        for delivery in self._deliveries:
                            delivery.end_windows(self._state, self._snapshots)
                self._closed = True
                for delivery in self._deliveries:
                    delivery.stop(deadline_s)
                self._reporter.close(max(0.0, deadline_s - time.monotonic()))
            stats = self.stats()
            self._reporter.raise_first()
        return stats

    def stats(self) -> dict[str, LoggerStats]:
        """Returns what became of every value so far, by backend id."""
        with self._lock:
            for route in self._settled.values():
                route.tell_limited()
            return {delivery.backend.id: delivery.stats() for delivery in self._deliveries}

    def __enter__(self) -> "LoggerGroup":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def after_fork_in_child(self) -> None:
        """Makes the child's copy inert: it discards what it is given."""
        self._lock = Lock()
        self._deliveries = []
        self._routes, self._settled = {}, {}
        self._closed, self._writing = True, False

    # a step

    def _write(self, components: "Iterable[MultiLogger]", state: State, force: bool) -> None:
        if not state.time_s:
            state = state._replace(time_s=self.context.wall_clock())
        components = list(components)
        for component in components:
            self._components[component] = None
        if self._closed or not self._deliveries:
            self._refuse(components)
            return
        if self._state is not None and state.phase != self._state.phase:
            self.end_pass()
            self._unsettle()
        self._state, self._in_pass = state, state.phase != "train"
        due = [force or delivery.is_due(state) for delivery in self._deliveries]
        if any(due):
            self._unsettle()
            for delivery, is_due in zip(self._deliveries, due, strict=True):
                if is_due:
                    delivery.open_windows(state)
        wanted = [entry for component in components for entry in self._wanted(component, state.phase)]
        if not wanted and not any(due):
            return
        with self._snapshots.step():
            try:
                for entry in wanted:
                    self._offer(entry, state)
            finally:
                for delivery, is_due in zip(self._deliveries, due, strict=True):
                    delivery.end_step(state, self._snapshots, due=is_due)

    def _refuse(self, components: "list[MultiLogger]") -> None:
        for component in components:
            count = len(component.take())
            for delivery in self._deliveries:
                delivery.tally.refuse("closed", count)

    def _unsettle(self) -> None:
        """A window opened: no series is known any more to be kept everywhere."""
        for route in self._settled.values():
            route.tell_limited()
        self._settled.clear()

    def _wanted(self, component: "MultiLogger", phase: Phase) -> "list[Entry]":
        """Returns what the component logged, less what was overwritten and what every backend has already."""
        entries = component.take()
        latest = {entry[0]: entry for entry in entries}
        if len(latest) < len(entries):
            kept = [
                entry
                for entry in entries
                if latest[entry[0]] is entry or not entry[0][0].limited or _reduce_of(entry, phase) is not None
            ]
            component.overwritten += len(entries) - len(kept)
            entries = kept
        settled = self._settled
        wanted = []
        for entry in entries:
            route = settled.get(entry[0])
            if route is None or type(entry[2]) is ReduceOptions:
                wanted.append(entry)
            else:
                route.limited += 1
        return wanted

    def _offer(self, entry: "Entry", state: State) -> None:
        """Has a value computed if a backend is to get it, and gives it to those that are."""
        ident = entry[0]
        route = self._routes.get(ident)
        if route is None:
            route = self._routes[ident] = Route(ident, self._deliveries)
        if route.refusals:
            route.tell_refused()
        if route.problem is not None:
            self._fail(route.receivers, "value", route.problem, entry, route)
            return
        reduce = _reduce_of(entry, state.phase)
        if reduce is not None:
            self._reduce(entry, reduce, route, state)
            return
        kind = ident[0]
        takers = route.receivers
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
            value = self._compute(entry)
            value = kind.select(self._snapshots, value, entry[2])
            if kind.droppable:
                value = self._lazy(entry, route.path, value)
        except _Failure as failure:
            self._fail(takers, failure.reason, failure.error, entry, route)
        except CollectiveError as error:
            self._fail(takers, "collective", error, entry, route)
        except Exception as error:
            self._fail(takers, "value", error, entry, route)
        else:
            row: Row = (kind, ident[1], ident[2], value)
            for delivery in takers:
                delivery.give(row)

    def _reduce(self, entry: "Entry", reduce: Reduce, route: Route, state: State) -> None:
        if not route.receivers:
            return
        weight = entry[2].weight if isinstance(entry[2], ReduceOptions) else 1.0
        try:
            if reduce not in REDUCES:
                raise LogValueError(f"reduce is one of {', '.join(REDUCES)}, got {reduce!r}")
            if not weight >= 0:
                raise LogValueError(f"a weight is 0 or more, got {weight!r}")
            number = self._snapshots.number(self._compute(entry))
        except _Failure as failure:
            self._fail(route.receivers, failure.reason, failure.error, entry, route)
        except Exception as error:
            self._fail(route.receivers, "value", error, entry, route)
        else:
            for delivery in route.receivers:
                delivery.reduce(entry[0], reduce, number, weight, state)

    def _compute(self, entry: "Entry") -> object:
        _, value, _, held = entry
        if held is not None and held.version is not None and held.version != version(value):
            raise _Failure("mutated", LogValueError("it was changed in place before the step ended", _CLONE))
        if not callable(value):
            return value
        try:
            return self._snapshots.compute(value)
        except CollectiveError as error:
            raise _Failure("collective", error) from error
        except Exception as error:
            raise _Failure("callable", error) from error

    def _lazy(self, entry: "Entry", path: str, copied: object) -> Lazy:
        return Lazy(
            entry[0][0], copied, entry[2], path=path, origin=_origin(entry), size_bytes=copy_bytes(copied)
        )

    def _refused_media(self, delivery: Delivery) -> bool:
        reason = delivery.media_refusal()
        if reason is not None:
            delivery.tally.refuse(reason, 1)
        return reason is not None

    def _fail(
        self, takers: list[Delivery], reason: Failed, error: BaseException, entry: "Entry", route: Route
    ) -> None:
        for delivery in takers:
            delivery.tally.accept(1)
            delivery.tally.fail(reason)
        origin = _origin(entry)
        if isinstance(error, LogValueError):
            located = error.located(route.path, origin)
            self._reporter.report("values", str(located), located, about=route.path)
        else:
            text = f"Cannot log '{route.path}': its value raised {type(error).__name__}: {error}. (Logged at {origin}.)"
            self._reporter.report("values", text, error, about=route.path)


_CLONE = "Log a callable, or a copy: .clone()."


class _Failure(Exception):
    """A value could not be had, for this reason."""

    def __init__(self, reason: Failed, error: Exception) -> None:
        super().__init__(reason)
        self.reason, self.error = reason, error


def _reduce_of(entry: "Entry", phase: Phase) -> Reduce | None:
    """Returns how a value is reduced over its window; ``None``: not at all."""
    if not entry[0][0].reducible:
        return None
    asked = entry[2].reduce if isinstance(entry[2], ReduceOptions) else None
    if phase == "train":
        return None if asked == "last" else asked
    return asked or "mean"


def _origin(entry: "Entry") -> str:
    """Returns ``file.py:line`` of the callable, or of the line that logged the value."""
    value, held = entry[1], entry[3]
    code = getattr(value, "__code__", None)
    text = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else held.origin if held is not None else ""
    return os.path.basename(text)


def _problem(namespace: object, key: object) -> LogValueError | None:
    if not isinstance(key, str) or not key:
        return LogValueError(f"a key is a text that is not empty, got {key!r}")
    if not isinstance(namespace, str) or "/" in namespace:
        return LogValueError(f"a namespace is a text without '/', got {namespace!r}", "Put the '/' into the key.")
    return None
