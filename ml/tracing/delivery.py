"""Where the inferences of a call go: to be saved, and to whoever listens."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ml.tracing.failures import Failures
from ml.tracing.record import Inference

Listener: TypeAlias = Callable[[Sequence[Inference]], None]


class Delivery:
    """Hands on the inferences of each call, on its thread.

    Args:
        save: Has them saved; never raises.
        failures: Counts what a listener raises.
    """

    def __init__(self, save: Listener, failures: Failures) -> None:
        self._save, self._failures = save, failures
        self._listeners: tuple[Listener, ...] = ()

    def listen(self, listener: Listener) -> None:
        """Adds one."""
        self._listeners += (listener,)

    def __call__(self, inferences: Sequence[Inference]) -> None:
        """Hands some on."""
        self._save(inferences)
        for listener in self._listeners:
            try:
                listener(inferences)
            except Exception as error:  # it costs neither what is saved, nor the others
                self._failures.add("listener", error)
