"""What a metric is: it begins a probe for each call, which is asked now and then while the call runs, and at its end.

::

    class OpenFilesMetric(Metric):
        type, unit = "open_files", "files"

        def begin(self) -> Probe:
            return OpenFiles()

A metric keeps nothing of a call itself, so calls may nest, recurse and run side by side.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from ml.benchmarks.measurement import Sample
from ml.benchmarks.series import Series
from ml.core.errors import ConfigError


class Finding(NamedTuple):
    """What a probe found out about a call; a metric may have several, of different types.

    Attributes:
        type: What was measured; ``""`` is the metric's own type.
        value: The number, or ``None``.
        unit: ``""`` is the metric's own.
        source: Where it comes from, see ``Measurement``.
        reason: Why there is no value, or what it was estimated from.
        samples: The time series behind it.
    """

    value: float | None
    source: str = "process"
    reason: str = ""
    type: str = ""
    unit: str = ""
    samples: Sequence[Sample] = ()


class Probe(ABC):
    """Measures one call. Made right before it, on the thread that makes the call.

    Attributes:
        interval_s: How often ``sample`` is called; ``None``: never. It is called once more when the call ends, so a
            short one has a sample too.
        series: Where ``sample`` adds to, if the samples of a long call may be handed on before it ends; its findings
            have it as their ``samples``. ``added``, ``total`` and ``highest`` know also those that were handed on.
    """

    interval_s: float | None = None
    series: Series | None = None

    def sample(self, at_s: float) -> None:  # noqa: B027  # most probes need none
        """Reads once. On the sampler's thread, or at the end of the call on the caller's, never on both at a time.

        Args:
            at_s: Monotonic seconds since the run of the benchmark began, for the ``Sample``.
        """

    @abstractmethod
    def end(self, duration_s: float) -> Sequence[Finding]:
        """Returns what was found; called once, after the call and the last sample, on the caller's thread.

        Args:
            duration_s: How long the call took.
        """


class Metric(ABC):
    """One thing that a supervisor measures of every call.

    Args:
        description: What its measurements are called in the database.

    Raises:
        ConfigError: The description is no text.
    """

    type: ClassVar[str]
    unit: ClassVar[str]

    def __init__(self, description: str) -> None:
        if not isinstance(description, str):
            raise ConfigError(f"The description of a {type(self).__name__} is a text, got {description!r:.80}.")
        self.description = description

    @abstractmethod
    def begin(self) -> Probe:
        """Returns what measures one call. What it raises costs this metric of this call, and is told once."""
