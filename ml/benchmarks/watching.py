"""One metric of one measured call: begun, sampled, ended. Nothing it does reaches the function that is measured."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ml.benchmarks.measurement import Sample
from ml.benchmarks.metric import Finding, Metric, Probe
from ml.benchmarks.series import Series
from ml.io.sampler import Subscription, process_sampler

CHUNK_SAMPLES = 1000
"""Samples of a running call that are kept here before they are handed on."""

MAX_ERROR = 4000
"""Characters of an error's text that are kept: each row of a call has them."""


class OpenSeries(Protocol):
    """Where the samples of a call go while it still runs."""

    number: int

    def add(self, samples: Iterable[Sample]) -> None:
        """Takes samples, behind those before."""


class Watch:
    """Has a metric measure one call.

    Args:
        metric: Begins here.
        elapsed_s: Monotonic seconds since the run began.
        open_series: Begins to keep the samples of this metric and call.
        fail: Told what the metric did, and the error.

    Attributes:
        probe: ``None`` where the metric could not begin.
        opened: Where samples were handed on to, if they were.
    """

    __slots__ = ("_elapsed_s", "_fail", "_open_series", "_problem", "_subscription", "metric", "opened", "probe")

    def __init__(
        self,
        metric: Metric,
        elapsed_s: Callable[[], float],
        open_series: Callable[[Metric], OpenSeries],
        fail: Callable[[Metric, str, Exception], None],
    ) -> None:
        self.metric, self._elapsed_s, self._open_series, self._fail = metric, elapsed_s, open_series, fail
        self.probe: Probe | None = None
        self.opened: OpenSeries | None = None
        self._subscription: Subscription | None = None
        self._problem = ""
        try:
            probe = metric.begin()
            if probe.interval_s is not None:
                self._subscription = process_sampler().subscribe(probe.interval_s, self._sample, metric.description)
            self.probe = probe
        except Exception as error:
            self._note("begin", error)

    def stop(self) -> None:
        """Has it sampled no more; at once."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not subscription.stop():
            self._problem = self._problem or "its sample does not return"

    def last_sample(self) -> None:
        """Samples once more, on this thread, if it is sampled at all; that includes ``stop``."""
        if self._subscription is not None:
            self.stop()
            self._sample()

    def end(self, duration_s: float) -> Sequence[Finding]:
        """Returns what was found; where the metric failed, why."""
        if self.probe is not None and not self._problem:
            try:
                return [_sound(finding) for finding in self.probe.end(duration_s)]
            except Exception as error:
                self._note("end", error)
        return [Finding(None, "unavailable", self._problem)]

    def is_opened(self, finding: Finding) -> bool:
        """Whether a finding's samples are those of which some were handed on."""
        return self.opened is not None and self.probe is not None and finding.samples is self.probe.series

    def _sample(self) -> None:
        if self.probe is None or self._problem:
            return
        try:
            self.probe.sample(self._elapsed_s())
            if self.probe.series is not None and len(self.probe.series) >= CHUNK_SAMPLES:
                self._hand_on(self.probe.series)
        except Exception as error:
            self._note("sample", error)

    def _hand_on(self, series: Series) -> None:
        if self.opened is None:
            self.opened = self._open_series(self.metric)
        self.opened.add(series.take())

    def _note(self, did: str, error: Exception) -> None:
        self._problem = f"{did} failed: {described(error)}"
        self._fail(self.metric, did, error)


def described(error: BaseException) -> str:
    """Returns the type and text of an error, as much as is worth keeping; its text may be anybody's code, and raise."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        return name
    if len(text) > MAX_ERROR:
        text = f"{text[:MAX_ERROR]}… ({len(text)} characters)"
    return f"{name}: {text}" if text else name


def _sound(finding: Finding) -> Finding:
    """A value that is no number is found here, where it costs its metric alone."""
    value = finding.value
    return finding if value is None or type(value) is float else finding._replace(value=float(value))
