"""Ctrl-C and SIGTERM as a request: the step is finished, and a checkpoint is left."""

import signal
from types import FrameType, TracebackType


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is only noted; the next one does what it did before.

    Outside the main thread, where Python has no signals, it notes nothing.

    Attributes:
        received: The number of the signal that came, or ``None``.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._note)  # type: ignore[assignment]
            except ValueError:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
