"""Lets other threads have the interpreter, from within work that goes on for long.

A thread that is busy in Python keeps another waiting for it five milliseconds at
every turn, which makes a training step of small operations a hundred times longer.
"""

import time

_BUSY_S, _REST_S = 0.001, 0.0002


class Breath:
    """Called now and then by a thread that works: it rests a moment once a millisecond. Each thread has its own."""

    def __init__(self) -> None:
        self._rested_s = 0.0

    def __call__(self) -> None:
        """Rests, if that is due."""
        if time.monotonic() - self._rested_s > _BUSY_S:
            time.sleep(_REST_S)
            self.rested()

    def rested(self) -> None:
        """The thread has waited for something: it need not rest until it was busy again."""
        self._rested_s = time.monotonic()
