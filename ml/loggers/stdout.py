"""Prints scalars and strings, one line a write, and keeps the same lines in ``stdout.log``.

On a terminal there are colours and, when ``total_steps`` is known, a progress bar
with the time left; elsewhere lines are plain::

    train  step 120  epoch 2  0:00:12  task/loss 0.2531  task/accuracy 0.9219 @100

A value that was logged at another step than the line's says at which, as accuracy
does here. A long text is cut where it is printed, never in the file. The file is
only appended to; a resumed run continues it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from ml.core.errors import ConfigError
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.io.durable import DurableFile
from ml.io.segments import open_log
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.lines import Line, LineFormat, Logged
from ml.loggers.terminal import open_output
from ml.loggers.values import series_path

_MAX_PRECISION = 17  # digits, beyond which a 64-bit float has none


@dataclass
class StdoutLoggerConfig(BaseLoggerConfig):
    """What the terminal can be told.

    Attributes:
        precision: Significant digits of numbers, 1 to 17. Whole numbers are shown in full.
        total_steps: Training steps of the whole run, for the progress bar and the time left.
        max_string_length: Characters of a text that are printed; ``stdout.log`` has all of it.
    """

    precision: int = 4
    total_steps: int | None = None
    max_string_length: int = 500


@register_logger("stdout", StdoutLoggerConfig)
class StdoutLogger(BaseLogger[StdoutLoggerConfig]):
    """Prints what happens to standard output as it is when the run begins.

    A stream that is closed, or breaks, is given up with one notice; one that has
    not all characters gets escapes. Either way ``stdout.log`` goes on.

    Raises:
        ConfigError: A setting is out of its range.
    """

    def __init__(self, config: StdoutLoggerConfig) -> None:
        super().__init__(config)
        if not 1 <= config.precision <= _MAX_PRECISION:
            raise ConfigError(f"precision of '{self.id}' must be in 1 ... {_MAX_PRECISION}, got {config.precision!r}.")
        if config.total_steps is not None and config.total_steps < 1:
            raise ConfigError(f"total_steps of '{self.id}' must be 1 or more, got {config.total_steps!r}.")
        if config.max_string_length < 1:
            raise ConfigError(f"max_string_length of '{self.id}' must be 1 or more, got {config.max_string_length!r}.")

    def initialize(self, context: RunContext) -> None:
        self.attach(context)
        self._start_s = context.clock()
        self._rows: list[tuple[State, Logged]] = []
        total_steps = self.config.total_steps
        self._format = LineFormat(precision=self.config.precision, step_width=len(str(total_steps or 0)))
        # One rank has the terminal: of several at once nobody could read a line, let alone a progress bar.
        rank = "" if context.is_primary else f"-rank-{context.rank}"
        path = context.directory / f"{self.id}{rank}.log"
        self._file = DurableFile(open_log(path))
        output = getattr(sys, "stdout", None) if context.is_primary else None  # some programs delete it
        self._output = open_output(output, total_steps=total_steps, clock=context.clock, elsewhere=str(path))

    def default_write_every_n_seconds(self, state: State) -> float:
        """Seconds between two writes in training if nothing is configured: 1, and 10 once the run is a minute old."""
        age_s = max(state.elapsed_time_s, self.context.clock() - self._start_s)
        return 1.0 if age_s < 60 else 10.0

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        self._rows.append((state, Logged(state.num_steps, series_path(namespace, key), value())))

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        self._rows.append((state, Logged(state.num_steps, series_path(namespace, key), value())))

    def write(self, state: State) -> None:
        rows, self._rows = self._rows, []
        lines = self._lines(rows, state)
        if lines:
            self._file.append("".join(f"{line}\n" for line in lines).encode())
        self._output.show([line.shortened(self.config.max_string_length) for line in lines], state)

    def flush(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._output.end()
        self._file.close()

    def _lines(self, rows: list[tuple[State, Logged]], state: State) -> list[Line]:
        """Returns one line, and before it one for each other phase of which values were pending."""
        latest: dict[Phase, State] = {}
        values: dict[Phase, list[Logged]] = {}
        for of_row, logged in rows:
            latest[of_row.phase] = of_row
            values.setdefault(of_row.phase, []).append(logged)
        lines = [self._format.line(latest[phase], values[phase]) for phase in values if phase != state.phase]
        return [*lines, self._format.line(state, values[state.phase])] if state.phase in values else lines
