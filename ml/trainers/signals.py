"""Ctrl-C and SIGTERM as a request: the step is finished, and a checkpoint is left."""

import signal
from types import FrameType, TracebackType

from ml.io.signals import Handler


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is only noted; the next one does what it did before.

    Outside the main thread, where Python has no signals, it notes nothing.

    Attributes:
        received: The number of the signal that came, or ``None``.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._handlers: list[Handler] = []

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = Handler(number, self._note)
            try:
                handler.install()
            except ValueError:
                break
            self._handlers.append(handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        handlers, self._handlers = self._handlers, []
        for handler in handlers:
            handler.restore()
