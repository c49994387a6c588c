"""What a backend that stalls for 10 s costs a loop that logs 100 times a second, and the backend beside it.

The same loop runs with and without the backend that stalls, in turns. That one writes into a pipe which
nobody reads until the 10 s are over, so its thread stands inside of ``write(2)``, as on a file system that hangs.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLogger, BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig

CALLS_A_SECOND, KEYS = 100, 10
BEFORE_S, AFTER_S = 1.0, 1.0
FILL = bytes(2**16)


class Pipe(BaseLogger[BaseLoggerConfig]):
    """Writes a byte a step into a pipe, and keeps nothing: what it kept would be walked by garbage collection."""

    def initialize(self, context: RunContext) -> None:
        self.attach(context)
        self.reader, self.writer = os.pipe()

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        value()

    def write(self, state: State) -> None:
        os.write(self.writer, b"x")

    def stall(self, seconds: float) -> None:
        """Fills the pipe; in so many seconds somebody reads it."""
        os.set_blocking(self.writer, False)
        try:
            while True:
                os.write(self.writer, FILL)
        except BlockingIOError:
            os.set_blocking(self.writer, True)
        threading.Timer(seconds, self.drain).start()

    def drain(self) -> None:
        os.set_blocking(self.reader, False)
        try:
            while True:
                os.read(self.reader, len(FILL))
        except BlockingIOError:
            pass


class Timed(JsonLogger):
    """A JSON backend that knows how long after the end of its step a value is handed to the kernel."""

    def initialize(self, context: RunContext) -> None:
        super().initialize(context)
        self.late_s: list[float] = []

    def write(self, state: State) -> None:
        super().write(state)
        self.late_s.append(time.time() - state.time_s)


class Seen(NamedTuple):
    """Seconds: of each call of ``log_scalar``, of each end of a step, and until the other backend had written."""

    calls_s: list[float]
    steps_s: list[float]
    late_s: list[float]


def loop(directory: Path, stall_s: float, *, stalls: bool) -> Seen:
    """Logs ``KEYS`` numbers and ends a step, 100 times a second, while a backend stalls or there is none."""
    timed = Timed(JsonLoggerConfig("json", write_every_n_seconds=0))
    pipe = Pipe(BaseLoggerConfig("pipe", write_every_n_seconds=0))
    model, keys = MultiLogger("model"), [f"key_{index}" for index in range(KEYS)]
    seen = Seen([], [], timed_late := [])
    clock = time.perf_counter
    with LoggerGroup([timed, pipe] if stalls else [timed], RunContext(directory), close_timeout_s=60) as logs:
        count = round((BEFORE_S + stall_s + AFTER_S) * CALLS_A_SECOND)
        start_s = clock()
        for number in range(count):
            if stalls and number == round(BEFORE_S * CALLS_A_SECOND):
                pipe.stall(stall_s)
            for key in keys:
                before_s = clock()
                model.log_scalar(key, 0.5)
                seen.calls_s.append(clock() - before_s)
            before_s = clock()
            logs.write([model], State(num_steps=number + 1))
            seen.steps_s.append(clock() - before_s)
            time.sleep(max(0.0, start_s + (number + 1) / CALLS_A_SECOND - clock()))
    timed_late += timed.late_s
    return seen


def row(name: str, values_s: list[float], scale: float) -> str:
    ordered = sorted(values_s)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return f"  {name:36s} {scale * statistics.median(ordered):10.1f} {scale * p99:10.1f} {scale * ordered[-1]:10.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stall", type=float, default=10.0, help="seconds that the backend stalls (10)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each loop runs (3)")
    arguments = parser.parse_args()
    without, beside = Seen([], [], []), Seen([], [], [])
    with tempfile.TemporaryDirectory(prefix="ml-stall-") as directory:
        for repeat in range(arguments.repeats):
            for stalls, into in ((False, without), (True, beside)):
                seen = loop(Path(directory) / f"{repeat}-{stalls}", arguments.stall, stalls=stalls)
                for all_of_them, some in zip(into, seen, strict=True):
                    all_of_them += some
    print(f"A stall of {arguments.stall:g} s, {CALLS_A_SECOND} steps of {KEYS} values a second")
    print(f"  {'':36s} {'median':>10s} {'p99':>10s} {'longest':>10s}")
    for name, seen in (("without", without), ("beside the stalled backend", beside)):
        print(f" {name}")
        print(row("a call of log_scalar (us)", seen.calls_s, 1e6))
        print(row("the end of a step, write (us)", seen.steps_s, 1e6))
        print(row("the other backend has written (ms)", seen.late_s, 1e3))
    longest_ms = 1e3 * (max(beside.calls_s + beside.steps_s) - max(without.calls_s + without.steps_s))
    print(f" the longest call beside it is {longest_ms:+.1f} ms against without (goal: within 10)")


if __name__ == "__main__":
    main()
