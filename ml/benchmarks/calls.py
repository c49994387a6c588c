"""Which measured call is running, as the function inside of it sees it: so that ``track`` finds its probe.

A context variable: threads, tasks and nested calls each have their own.
"""

from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar, Token

from ml.benchmarks.metric import Metric, Probe


class Running:
    """A measured call, and the one around it.

    Args:
        probes: What measures it, each with its metric.
    """

    __slots__ = ("_outer", "_probes", "_token")

    def __init__(self, probes: Sequence[tuple[Metric, Probe]]) -> None:
        self._probes = probes
        self._outer: Running | None = None
        self._token: Token[Running | None] | None = None

    def enter(self) -> None:
        """From here on it is the call that runs in this context."""
        self._outer = _running.get()
        self._token = _running.set(self)

    def leave(self) -> None:
        """It runs no longer, or stands still: a generator that has yielded."""
        token, self._token = self._token, None
        if token is not None:
            with suppress(ValueError):  # a coroutine that nobody finished ends wherever it is collected
                _running.reset(token)

    def probe_of(self, metric: Metric) -> Probe | None:
        """Returns what measures this call for a metric, or else the next call around it that has one."""
        call: Running | None = self
        while call is not None:
            for known, probe in call._probes:
                if known is metric:
                    return probe
            call = call._outer
        return None


_running: ContextVar[Running | None] = ContextVar("ml_benchmarks_running", default=None)


def probe_of(metric: Metric) -> Probe | None:
    """Returns what measures the running call for a metric; ``None`` outside of one that has it."""
    running = _running.get()
    return None if running is None else running.probe_of(metric)
