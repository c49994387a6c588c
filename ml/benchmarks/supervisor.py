"""Measures every call of a function, or a block, by several metrics: one measurement each, of each call.

::

    supervisor = BenchmarkSupervisor([TimeMetric("load"), MemoryMetric("load")], benchmark)

    @supervisor
    def load(path): ...

    with supervisor.measure("warm up"):
        ...

What the function returns or raises is not touched, whatever a metric does. One that fails gives a measurement without
a value, with the reason, and is told once. Around the function it is: metrics begin, the clock, the function, the
clock, last samples, metrics end.

A coroutine is measured from its first step to its end, with what other tasks do meanwhile; a generator from the first
item that is asked for until it ends or is closed, with what its consumer does between two items.
"""

import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from ml.benchmarks.calls import Running
from ml.benchmarks.measurement import Measurement, Status
from ml.benchmarks.metric import Metric
from ml.benchmarks.watching import OpenSeries, Watch, described
from ml.benchmarks.wrapping import wrap
from ml.core.errors import ConfigError
from ml.core.run import RunContext
from ml.io.sampler import process_sampler
from ml.loggers import MultiLogger

NAMESPACE = "benchmark"
"""Of what is logged: ``benchmark/<method>/<type>``."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_log = logging.getLogger("ml")


@runtime_checkable
class Recorder(Protocol):
    """Where measurements go; a ``Benchmark`` is one."""

    sampler_cpu_s: float

    @property
    def context(self) -> RunContext:
        """Rank and clocks."""

    def elapsed_s(self) -> float:
        """Returns the monotonic seconds since the run began.

        Raises:
            ConfigError: It keeps nothing: it is open for reading.
        """

    def record(self, measurements: Iterable[Measurement]) -> None:
        """Keeps measurements. Never waits, and never raises."""

    def begin_series(self, measurement: Measurement) -> OpenSeries:
        """Begins to keep the samples of a call that is still running."""


class BenchmarkSupervisor:
    """Measures calls: decorates functions and methods, and gives context managers. Calls may nest, and run in threads.

    Calls are numbered from 1 for each method, in the order they began.

    Args:
        metrics: What is measured of every call. They begin in this order, and are last sampled in the opposite one.
        benchmark: Where measurements go.
        logger: Gets every value too, as the scalar ``benchmark/<method>/<type>``; of two metrics of one type, as
            ``benchmark/<method>/<type>/<description>``.
        name: Of the method, instead of the decorated function's own.

    Raises:
        ConfigError: ``metrics`` are none, or the benchmark is none, or open for reading.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        benchmark: Recorder,
        *,
        logger: MultiLogger | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(metrics, Metric) or not isinstance(metrics, Iterable):
            raise ConfigError(f"A supervisor takes a list of metrics, got {metrics!r:.80}. Write [...].")
        for metric in metrics:
            if not isinstance(metric, Metric):
                cure = f"Write {metric.__name__}(...)." if isinstance(metric, type) else "See ml.benchmarks.Metric."
                raise ConfigError(f"A supervisor takes metrics, got {metric!r}. {cure}")
        if not isinstance(benchmark, Recorder):
            raise ConfigError(f"A supervisor needs a Benchmark that keeps what it measures, got {benchmark!r:.80}.")
        benchmark.elapsed_s()  # now, and not when the first function is called: it may be open for reading
        self.metrics, self.benchmark, self.logger, self.name = tuple(metrics), benchmark, logger, name
        self._counts: dict[str, itertools.count[int]] = {}
        self._told: set[object] = set()
        types = [metric.type for metric in metrics]
        self._ambiguous = {type_ for type_ in types if types.count(type_) > 1}

    def __call__(self, function: FunctionT) -> FunctionT:
        """Returns the function, measured: of the same kind, with its name, documentation and signature.

        Raises:
            ConfigError: It is no function or method.
        """
        if isinstance(function, staticmethod | classmethod):
            return cast(FunctionT, type(function)(self(function.__func__)))
        if isinstance(function, type) or not callable(function):
            raise ConfigError(f"A supervisor decorates functions and methods, got {function!r}: decorate its methods.")
        name = self.name or str(getattr(function, "__qualname__", type(function).__qualname__))
        measured = wrap(function, functools.partial(Call, self, name))
        return cast(FunctionT, functools.wraps(function)(measured))

    def measure(self, name: str) -> AbstractContextManager[None]:
        """Returns a context manager that measures its block as a call of the method ``name``.

        Raises:
            ConfigError: The name is no text.
        """
        if not isinstance(name, str):
            raise ConfigError(f"A block is measured under a name, got {name!r:.80}.")
        return _Block(self, name)

    def next_call(self, method: str) -> int:
        """Counts a call."""
        return next(self._counts.setdefault(method, itertools.count(1)))

    def tell(self, metric: Metric, did: str, error: Exception) -> None:
        """Says what a metric failed at, once."""
        what = f"{type(metric).__name__} '{metric.description}' failed in {did}; its measurement has no value"
        self._tell_once((id(metric), did), what, error)

    def keep(self, measurements: Sequence[Measurement]) -> None:
        """Hands on the measurements of a call. What that raises is told once, and goes no further."""
        try:
            self.benchmark.sampler_cpu_s = process_sampler().cost_s
            self.benchmark.record(measurements)
        except Exception as error:
            self._tell_once("benchmark", f"The benchmark failed to keep {len(measurements)} measurements", error)
        try:
            self._log_values(measurements)
        except Exception as error:
            self._tell_once("logger", "The logger of a supervisor failed to log what was measured", error)

    def _log_values(self, measurements: Sequence[Measurement]) -> None:
        for row in measurements:
            if self.logger is not None and row.value is not None:
                key = f"{row.method}/{row.type}"
                key = f"{key}/{row.description}" if row.type in self._ambiguous else key
                self.logger.log_scalar(key, row.value, namespace=NAMESPACE)

    def _tell_once(self, key: object, what: str, error: Exception) -> None:
        if key not in self._told:
            self._told.add(key)
            _log.warning("%s. What is measured goes on: %r", what, error, exc_info=error)


class Call:
    """One measured call; its clock runs when it is made."""

    __slots__ = ("_began_s", "_method", "_number", "_process", "_running", "_started_s", "_supervisor", "_watches")

    def __init__(self, supervisor: BenchmarkSupervisor, method: str) -> None:
        self._supervisor, self._method = supervisor, method
        self._number, self._process = supervisor.next_call(method), os.getpid()
        benchmark = supervisor.benchmark
        self._began_s = benchmark.elapsed_s()
        self._watches: list[Watch] = []
        try:
            for metric in supervisor.metrics:
                self._watches.append(Watch(metric, benchmark.elapsed_s, self._open_series, supervisor.tell))
        except BaseException:  # Ctrl-C
            self._stop()
            raise
        self._running = Running([(watch.metric, watch.probe) for watch in self._watches if watch.probe is not None])
        self._started_s = benchmark.context.clock()

    def enter(self) -> None:
        """From here on it is the running call of this context."""
        self._running.enter()

    def leave(self) -> None:
        """It is not the running call any more, or for now."""
        self._running.leave()

    def end(self, error: BaseException | None) -> None:
        """Records it. Raises nothing but what comes from outside, such as Ctrl-C."""
        duration_s = self._supervisor.benchmark.context.clock() - self._started_s
        self._running.leave()
        if os.getpid() != self._process:
            return  # it began in the parent, who records it
        try:
            for watch in reversed(self._watches):
                watch.last_sample()
            self._supervisor.keep(self._measurements(duration_s, error))
        finally:
            self._stop()

    def _stop(self) -> None:
        for watch in self._watches:
            watch.stop()

    def _measurements(self, duration_s: float, error: BaseException | None) -> list[Measurement]:
        context = self._supervisor.benchmark.context
        status: Status = "ok" if error is None else "error"
        text = "" if error is None else described(error)
        time_s = context.wall_clock()
        rows = []
        for watch in self._watches:
            metric = watch.metric
            for found in watch.end(duration_s):
                opened = watch.opened if watch.is_opened(found) else None
                rows.append(
                    Measurement(
                        metric.description,
                        found.type or metric.type,
                        found.value,
                        found.unit or metric.unit,
                        found.source,
                        found.reason,
                        self._method,
                        self._number,
                        status,
                        text,
                        context.rank,
                        self._began_s,
                        duration_s,
                        time_s,
                        None,
                        found.samples,
                        0 if opened is None else opened.number,
                    )
                )
        return rows

    def _open_series(self, metric: Metric) -> OpenSeries:
        context = self._supervisor.benchmark.context
        return self._supervisor.benchmark.begin_series(
            Measurement(
                metric.description,
                metric.type,
                None,
                metric.unit,
                method=self._method,
                call=self._number,
                status="running",
                rank=context.rank,
                at_s=self._began_s,
                time_s=context.wall_clock(),
            )
        )


class _Block(AbstractContextManager[None]):
    def __init__(self, supervisor: BenchmarkSupervisor, name: str) -> None:
        self._supervisor, self._name = supervisor, name
        self._calls: list[Call] = []

    def __enter__(self) -> None:
        call = Call(self._supervisor, self._name)
        self._calls.append(call)
        call.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._calls.pop().end(error)
