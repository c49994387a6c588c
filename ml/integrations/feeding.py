"""What the adapters of loops have in common: a run, or what starts one, and the step that is being fed to it.

A step goes on until something of another step is logged, and until ``end``. So what a
framework logs of one step in several calls is one step here too.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ml.core.errors import ConfigError
from ml.integrations.metrics import log_metrics
from ml.loggers.multi import MultiLogger
from ml.session import Run

RunSource = Run | Callable[[], Run]
"""A run, or what starts one when it is first needed: by then a framework knows its ranks, in whatever process."""

CHECKPOINT = "checkpoint"
"""The key of the text that notes a checkpoint."""

_MAX_EPOCHS = 100_000

_log = logging.getLogger("ml")


class Feed:
    """Feeds a run with what a framework logs, at the framework's own steps. Pickled, it carries an inert run.

    A run that is given stays open. One that was started here is closed when the interpreter ends, as every run is,
    or by ``close``; in a worker process, which ends without that, by ``end``.

    Args:
        source: A run of ``ml.start_run``, or what starts one: ``partial(ml.start_run, "runs/demo")``.

    Raises:
        ConfigError: It is neither.
    """

    def __init__(self, source: RunSource) -> None:
        if not isinstance(source, Run) and not callable(source):
            raise ConfigError(
                "An adapter takes a run, ml.start_run(...), or what starts one, partial(ml.start_run, ...);"
                f" got a {type(source).__name__}."
            )
        self._source, self._run = source, source if isinstance(source, Run) else None
        self._step: int | None = None
        self._is_open = self._warned = False
        self._process = os.getpid()

    @property
    def run(self) -> Run:
        """The run; it is started if it was not yet.

        Raises:
            ConfigError: What was given does not start one.
        """
        if self._run is None:
            assert not isinstance(self._source, Run)
            started = self._source()
            if not isinstance(started, Run):
                raise ConfigError(f"What was given to start a run returned a {type(started).__name__}, no run.")
            self._run = started
        return self._run

    def log(self, step: int | None, metrics: Mapping[str, object], *, epochs: object = None) -> None:
        """Logs metrics.

        Args:
            step: The framework's counter. ``None``: the step after the last one, so nothing is overwritten.
            metrics: See ``log_metrics``.
            epochs: Finished epochs, if they are known; of 1.5 that is 1.
        """
        step = self._begin(self._last_step + 1 if step is None else step)
        self._end_epochs(epochs)
        log_metrics(self.run, step, metrics)

    @contextmanager
    def media(self, step: int | None) -> Iterator[MultiLogger]:
        """Gives what logs pictures and their like; they are taken before it ends, so they may be changed afterwards.

        Args:
            step: The framework's counter. ``None``: the last one; before the first of a resumed run, the first one that
                comes, since nobody knows yet where training stands.
        """
        if step is None and self._step is None and self.run.context.attempt > 1:
            yield self.run.logger
            return
        self._begin(self._last_step if step is None else step)
        yield self.run.logger
        self.end_step()

    def note_checkpoint(self, step: int | None, path: str, score: tuple[str, object] | None) -> None:
        """Logs a text ``checkpoint``: ``runs/demo/checkpoints/last.ckpt (val_loss 0.25)``.

        Args:
            step: The last step that it holds. ``None``: the last one that is known.
            path: Where it is.
            score: The metric that it was judged by, and its value.
        """
        self._begin(self._last_step if step is None else step)
        judged = "" if score is None else f" ({score[0]} {_shown(score[1])})"
        self.run.logger.log_string(CHECKPOINT, f"{path}{judged}")

    def end_step(self) -> None:
        """Ends the open step, if there is one."""
        if self._is_open:
            self._is_open = False
            self.run.step()

    def end(self) -> None:
        """Ends the open step, and waits until all is durable: training, or a part of it, is over."""
        if self._run is None:
            return
        self.end_step()
        self._run.flush()
        if os.getpid() != self._process:
            self.close()

    def close(self) -> None:
        """Closes the run if it was started here; one that was given stays open."""
        self.end_step()
        if self._run is not None and self._run is not self._source:
            self._run.close()

    @property
    def _last_step(self) -> int:
        return self.run.state.num_steps if self._step is None else self._step

    def _begin(self, step: int) -> int:
        try:
            number = int(step)
        except Exception:  # of what is no number anything may come
            number = step = self._last_step + 1
            if not self._warned:
                self._warned = True
                _log.warning(
                    "A framework's step is a whole number, and one is not: the next one, %d, is taken.", number
                )
        self.run.begin_step(step)
        self._step, self._is_open = number, True
        return step

    def _end_epochs(self, epochs: object) -> None:
        if not isinstance(epochs, int | float) or not 0 < epochs < _MAX_EPOCHS:
            return
        for _ in range(int(epochs) - self.run.state.num_epochs):
            self.run.end_epoch()


def _shown(value: object) -> str:
    try:
        return f"{float(value):.6g}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)
