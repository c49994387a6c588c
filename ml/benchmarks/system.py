"""The callback ``system``: logs what the machine does while a trainer trains, in the namespace ``system``.

``scripts/train +callbacks=system callbacks.system.every_n_seconds=5`` turns it on. Everything is read on the sampler's
thread; a training step only takes over what was read last, so that a value belongs to the step that ends after it was
read. Of several ranks the primary reads: only what it logs is written. ``system/sampling_cpu_percent`` is what reading
costs. What is read: ``ml.benchmarks.system_reader``.
"""

import math
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from ml.benchmarks.config import SystemCallbackConfig
from ml.benchmarks.nvml import open_nvml
from ml.benchmarks.system_reader import SystemReader
from ml.core.config import BaseObject
from ml.core.errors import ConfigError
from ml.core.registry import register_callback
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.sampler import Subscription, process_sampler
from ml.loggers import MultiLogger

NAMESPACE = "system"

_FIRST_S = 1.0


class Attempt(Protocol):
    """What is known of a trainer's attempt."""

    @property
    def context(self) -> RunContext:
        """Its rank."""


class Trainer(Protocol):
    """What is known of a trainer."""

    logger: MultiLogger
    attempt: Attempt


@register_callback("system", SystemCallbackConfig)
class SystemCallback(BaseObject[SystemCallbackConfig]):
    """Logs CPU, memory, disks, network and GPUs every n seconds."""

    def __init__(self, config: SystemCallbackConfig) -> None:
        super().__init__(config)
        every_s = config.every_n_seconds
        if not 0 < every_s < math.inf:
            raise ConfigError(f"callbacks.system.every_n_seconds must be above 0, got {every_s!r}.")
        # It looks every second or so, for the first values to come soon: most short runs are over before the second.
        self._ticks = max(1, math.ceil(every_s / _FIRST_S))
        self._tick = 0
        self._reader: SystemReader | None = None
        self._subscription: Subscription | None = None
        self._read: deque[dict[str, float]] = deque(maxlen=1)

    def on_start(self, trainer: Trainer) -> None:
        """Begins to read."""
        if trainer.attempt.context.is_primary:
            tick_s = self.config.every_n_seconds / self._ticks
            self._subscription = process_sampler().subscribe(tick_s, self._look, "the system", first_s=0.0)

    def on_step_end(self, trainer: Trainer, state: State) -> None:
        """Logs what was read since the last step, if something was."""
        with suppress(IndexError):
            trainer.logger.log_scalars(self._read.pop(), namespace=NAMESPACE)

    def on_valid_end(self, trainer: Trainer, state: State, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def on_close(self, trainer: Trainer) -> None:
        """Reads no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.stop()

    def _look(self) -> None:
        if self._reader is None:
            self._reader = SystemReader(open_nvml() if self.config.gpus else None)
            return
        self._tick += 1
        if self._tick == 1 or self._tick % self._ticks == 0:
            self._read.append(self._reader.read())
