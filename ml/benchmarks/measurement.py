"""What is kept of a measured call: plain tuples, on their way from a metric to the database and the loggers."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ml.core.plain import Plain

Status = Literal["ok", "error", "running"]
"""How a call ended; ``running`` where it has not, or its process was killed."""


class Sample(NamedTuple):
    """A point of a time series.

    Attributes:
        at_s: Monotonic seconds since the run of the benchmark began.
        value: In the unit of its measurement.
    """

    at_s: float
    value: float


class Measurement(NamedTuple):
    """One row: what one call of one function gave for one metric, or what a tracker was told.

    Attributes:
        description: What the user called it.
        type: What was measured: ``cpu``, ``memory``, ``time``, ``loss``.
        value: The number; ``None`` where there is none: then ``reason`` says why, or ``data`` holds more than a number.
        unit: Of the value and of the samples: ``s``, ``%``, ``MiB``, ``J``, ``W``.
        source: Where it comes from: ``process``, ``rapl``, ``nvml``, ``estimated``, ``unavailable``.
        reason: Why there is no value, or what it was estimated from.
        method: The measured function's qualified name, or the name given to ``measure``.
        call: The number of the call of that function in this run, from 1; 0 of a tracker.
        status: Whether the call returned or raised.
        error: What it raised: the type and text.
        rank: Of the process, among those of ``torch.distributed``.
        at_s: Monotonic seconds since the run began, when the call began.
        duration_s: Of the call.
        time_s: Wall clock, Unix seconds, when it was recorded.
        data: What is no single number: a curve, a matrix with labels, hyperparameters. Plain, as JSON has it.
        samples: The time series behind the value, in order.
        series: The number of the series of ``Benchmark.begin_series`` that this is the end of: its samples are kept
            already, and ``samples`` follow them. 0 where there is none.
    """

    description: str
    type: str
    value: float | None
    unit: str = ""
    source: str = ""
    reason: str = ""
    method: str = ""
    call: int = 0
    status: Status = "ok"
    error: str = ""
    rank: int = 0
    at_s: float = 0.0
    duration_s: float = 0.0
    time_s: float = 0.0
    data: Plain = None
    samples: Sequence[Sample] = ()
    series: int = 0
